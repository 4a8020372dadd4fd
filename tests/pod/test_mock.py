"""``podsql pod mock``: true to what was declared, and to nothing else."""

import json
from decimal import Decimal

import duckdb
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.cli.app import run
from podsql.engine.mock_rows import MockColumn, write_rows
from podsql.planner.fragment import Field
from podsql.planner.wire_types import FLOATS, INTEGERS, PLAIN
from podsql.pod.config import load_pod_config
from podsql.pod.datasets import Place, freeze
from podsql.pod.mock import mock_columns, write_mock
from podsql.policy.document import parse_policy
from podsql.policy.rights import PodTable

CANARY = "CANARY-7f3a"
NUMBER = 29_989

POD = """
[pod]
isolation = "thread"

[policy]
file = "policy.toml"

[tables."clinic.visits"]
path = "data.duckdb"
source_table = "visits"
privacy_unit = "patient"
local_keys = ["visit"]

[tables."clinic.patients"]
path = "data.duckdb"
source_table = "patients"
privacy_unit = "patient"

[tables.icd]
path = "data.duckdb"
source_table = "icd"
kind = "reference"

[tables.unlisted]
path = "data.duckdb"
source_table = "icd"

[views."clinic.late"]
sql = "SELECT patient, age + 0.5 AS late FROM clinic.visits WHERE age > 1"
privacy_unit = "patient"
"""

POLICY = """
version = 1
name = "mine"
people = "*"

[tables."clinic.visits".columns]
PATIENT = { roles = ["entity_key"] }
visit = { roles = ["join_key"] }
age = { roles = ["measure"], bounds = [18, 90] }
score = { roles = ["measure"], bounds = [-1.5, 2.25] }
price = { roles = ["measure"], bounds = [0.05, 0.95] }
sex = { roles = ["dimension"], values = ["f", "m"] }
level = { roles = ["dimension"], values = [1, 2, 3] }
seen = { roles = ["filter"] }

[tables."clinic.patients".columns]
patient = { roles = ["entity_key"] }
weight = { roles = ["measure"] }

[tables."clinic.late".columns."*"]
roles = ["measure"]

[tables."main.icd".columns."*"]
"""

FILES = [
    "clinic.late.parquet",
    "clinic.patients.parquet",
    "clinic.visits.parquet",
    "main.icd.parquet",
    "pod.toml",
]


def custodian(folder, *, rows: int = 40, number: int = NUMBER, text: str = CANARY):
    """A pod's files; every cell of the data that can be a canary is one."""
    folder.mkdir()
    with duckdb.connect(str(folder / "data.duckdb")) as con:
        con.execute(
            f"CREATE TABLE visits AS SELECT ({number} + i)::INTEGER AS patient,"
            f" '{text}' || i AS visit, {number}::SMALLINT AS age, {number}.5::DOUBLE AS score,"
            f" {number}.34::DECIMAL(9, 2) AS price, '{text}' AS sex, {number}::BIGINT AS level,"
            f" DATE '1924-02-29' + i::INTEGER AS seen, '{text}' AS hidden FROM range({rows}) r(i)"
        )
        con.execute("CREATE TABLE patients AS SELECT patient, score AS weight FROM visits")
        con.execute("CREATE TABLE icd AS SELECT sex AS code, age AS chapter FROM visits")
    (folder / "pod.toml").write_text(POD)
    (folder / "policy.toml").write_text(POLICY)
    return folder / "pod.toml"


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    """The directory of a mock of 500 rows."""
    home = tmp_path_factory.mktemp("mock")
    made = write_mock(custodian(home / "north"), home / "out", rows=500, seed=1)
    assert [path.name for path in made] == FILES
    return home / "out"


def schemas(config_path, folder):
    config = load_pod_config(config_path)
    return freeze(config, Place.of(config, config_path), folder).schemas


def cells(mock, table: str, column: str) -> list:
    return pq.read_table(mock / f"{table}.parquet")[column].to_pylist()


def present(found: list) -> list:
    return [cell for cell in found if cell is not None]


def drawn(tmp_path, kind: str, *, rows: int = 300, **declared) -> list:
    """The cells of one synthetic column."""
    path = tmp_path / "one.parquet"
    write_rows(path, "main.t", [MockColumn(name="x", type=kind, **declared)], rows=rows, seed=3)
    return pq.read_table(path)["x"].to_pylist()


def test_no_canary_of_the_data_is_in_any_byte_or_cell(mock):
    assert sorted(path.name for path in mock.iterdir()) == FILES
    for path in mock.iterdir():
        assert b"CANARY" not in path.read_bytes()
    found = [
        cell
        for path in mock.glob("*.parquet")
        for column in pq.read_table(path).columns
        for cell in present(column.to_pylist())
    ]
    assert len(found) > 500 * 10
    assert not [cell for cell in found if "CANARY" in str(cell) or "1924" in str(cell)]
    numbers = [float(cell) for cell in found if isinstance(cell, int | float | Decimal)]
    assert max(numbers) < NUMBER


def test_other_rows_of_the_same_schema_make_the_same_bytes(mock, tmp_path):
    other = custodian(tmp_path / "other", rows=3, number=12, text="something else")
    for path in write_mock(other, tmp_path / "out", rows=500, seed=1):
        assert path.read_bytes() == (mock / path.name).read_bytes()


def test_another_seed_makes_other_cells_and_other_ids(mock, tmp_path):
    write_mock(custodian(tmp_path / "south"), tmp_path / "out", rows=500, seed=2)
    for column in ("age", "score", "price", "sex", "seen"):
        assert cells(mock, "clinic.visits", column) != cells(
            tmp_path / "out", "clinic.visits", column
        )
    for column in ("patient", "visit"):
        north, south = (set(cells(m, "clinic.visits", column)) for m in (mock, tmp_path / "out"))
        assert len(north | south) == 1000


def test_types_and_names_are_those_of_the_source_without_hidden_columns(mock, tmp_path):
    expected = schemas(custodian(tmp_path / "north"), tmp_path / "a")
    found = schemas(mock / "pod.toml", tmp_path / "b")
    hidden = Field("hidden", "VARCHAR")
    assert hidden in expected["clinic.visits"]
    assert found == {
        name: tuple(field for field in fields if field != hidden)
        for name, fields in expected.items()
        if name != "main.unlisted"
    }


def test_pod_toml_declares_kinds_and_keys(mock):
    tables = load_pod_config(mock / "pod.toml").tables
    assert tables["main.icd"].kind == "reference"
    visits = tables["clinic.visits"]
    assert (visits.privacy_unit, visits.local_keys) == ("patient", ("visit",))


def test_bounds_and_values_hold_and_both_ends_are_neared(mock):
    for column, low, high in (("age", 18, 90), ("score", -1.5, 2.25)):
        found = present(cells(mock, "clinic.visits", column))
        assert low <= min(found) < low + (high - low) / 20
        assert high - (high - low) / 20 < max(found) <= high
    prices = present(cells(mock, "clinic.visits", "price"))
    assert Decimal("0.05") <= min(prices)
    assert max(prices) <= Decimal("0.95")
    assert set(present(cells(mock, "clinic.visits", "sex"))) == {"f", "m"}
    assert set(present(cells(mock, "clinic.visits", "level"))) == {1, 2, 3}
    assert min(present(cells(mock, "clinic.patients", "weight"))) >= 0
    assert max(present(cells(mock, "clinic.patients", "weight"))) <= 100
    days = present(cells(mock, "clinic.visits", "seen"))
    assert {day.year for day in days} == {2020, 2021, 2022, 2023, 2024}


def test_keys_are_distinct_without_nulls_and_meet_across_tables(mock):
    patients = cells(mock, "clinic.visits", "patient")
    assert len(set(patients)) == 500
    assert None not in patients
    assert None not in cells(mock, "clinic.visits", "visit")
    for other in ("clinic.patients", "clinic.late"):
        assert set(cells(mock, other, "patient")) == set(patients)


def test_other_columns_have_a_few_nulls(mock):
    empty = [
        cell is None
        for column in ("age", "score", "sex", "seen")
        for cell in cells(mock, "clinic.visits", column)
    ]
    assert 0.005 < sum(empty) / len(empty) < 0.05


def test_statements_written_on_the_mock_run_on_it(mock, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    tables = {name: mock / f"{name}.parquet" for name in ("clinic.visits", "clinic.patients")}
    sql = """
        SELECT v.sex, count(*) AS n, avg(p.weight) AS weight
        FROM clinic.visits v JOIN clinic.patients p ON v.patient = p.patient
        WHERE v.seen >= DATE '2021-01-01' GROUP BY v.sex ORDER BY v.sex
    """
    with (
        podsql.local(
            {"north": tables},
            privacy_unit={"clinic.visits": "patient", "clinic.patients": "patient"},
            local_keys={"clinic.visits": ["patient"], "clinic.patients": ["patient"]},
            policy="open",
            isolation="thread",
        ) as federation,
        federation.connect() as con,
    ):
        found = con.execute(sql).fetchall()
    with duckdb.connect() as oracle:
        oracle.execute("CREATE SCHEMA clinic")
        for name, path in tables.items():
            oracle.execute(f"CREATE VIEW {name} AS FROM read_parquet('{path}')")
        expected = oracle.execute(sql).fetchall()
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected])
    assert {"f", "m"} <= {row[0] for row in found}


SCALARS = [
    *sorted(PLAIN),
    "DECIMAL(4,2)",
    "DECIMAL(2,2)",
    "DECIMAL(18,0)",
    "DECIMAL(38,10)",
    "DECIMAL(38,38)",
    "ENUM('a', 'it''s', 'c, d')",
]
NESTED = ["INTEGER[]", 'STRUCT(a INTEGER, "b c" VARCHAR)', "MAP(VARCHAR, DATE)", "DOUBLE[3]"]


def test_every_type_a_pod_serves_comes_out_as_declared(tmp_path):
    folder = tmp_path / "north"
    folder.mkdir()
    kinds = [*SCALARS, *NESTED, "JSON", "TIME_NS", "BIGNUM"]
    columns = ", ".join(f"k{at} {kind}, c{at} {kind}" for at, kind in enumerate(kinds))
    with duckdb.connect(str(folder / "data.duckdb")) as con:
        con.execute(f"CREATE TABLE t ({columns})")
    keys = json.dumps([f"k{at}" for at in range(len(kinds))])
    (folder / "pod.toml").write_text(
        f'[pod]\nisolation = "thread"\n[policy]\npreset = "standard"\n'
        f'[tables.t]\npath = "data.duckdb"\nlocal_keys = {keys}\n'
    )
    write_mock(folder / "pod.toml", tmp_path / "out", rows=120, seed=0)
    found = schemas(tmp_path / "out" / "pod.toml", tmp_path / "b")
    assert found == schemas(folder / "pod.toml", tmp_path / "a")
    with duckdb.connect() as con:
        for at, kind in enumerate(kinds):
            counts = con.execute(
                f"SELECT count(c{at}), count(DISTINCT c{at}), count(k{at}), count(DISTINCT k{at})"
                f" FROM read_parquet('{tmp_path}/out/main.t.parquet')"
            ).fetchone()
            assert counts is not None
            filled, several, ids, distinct = counts
            if kind not in SCALARS:
                assert filled == ids == 0
                continue
            assert 100 < filled <= 120, kind
            assert several > 1, kind
            assert ids == 120, kind
            few = {"BOOLEAN": 2, "DECIMAL(2,2)": 99, "DECIMAL(4,2)": 99}.get(kind, 120)
            assert distinct == (3 if kind.startswith("ENUM") else few), kind


@pytest.mark.parametrize("kind", [*INTEGERS, *FLOATS, "DECIMAL(9,3)", "DECIMAL(9,0)"])
def test_a_number_lies_on_the_grid_of_its_bin(tmp_path, kind):
    found = present(drawn(tmp_path, kind, bounds=(9, 61), bin=2.5))
    whole = kind in INTEGERS or kind.endswith(",0)")
    grid = {k * 5.0 for k in range(2, 13)} if whole else {k * 2.5 for k in range(4, 25)}
    assert {float(cell) for cell in found} == grid


@pytest.mark.parametrize(
    ("kind", "bounds", "low", "high"),
    [
        ("TINYINT", (-1e9, 1e9), -128, 127),
        ("UTINYINT", (-5, 3.5), 0, 3),
        ("BIGINT", (1e18, 1e30), 10**18, 2**63 - 1),
        ("HUGEINT", (-1e300, 1e300), -(10**38), 10**38),
        ("DECIMAL(3,1)", (-1e9, 1e9), Decimal("-99.9"), Decimal("99.9")),
        ("DECIMAL(38,38)", (-3, 3), Decimal("-1"), Decimal("1")),
        ("DOUBLE", (0.001, 0.0011), 0.001, 0.0011),
        ("DOUBLE", (-1.7e308, 1.7e308), -1.7e308, 1.7e308),
        ("DOUBLE", (5, 5), 5, 5),
        ("FLOAT", (-1e300, 1e300), -3.5e38, 3.5e38),
    ],
)
def test_bounds_are_narrowed_to_what_the_type_holds(tmp_path, kind, bounds, low, high):
    found = present(drawn(tmp_path, kind, bounds=bounds))
    assert len(found) > 250
    assert all(low <= cell <= high for cell in found)
    assert low == high or len(set(found)) > 3


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        ("INTEGER", {"bounds": (0.2, 0.8)}),
        ("TINYINT", {"bounds": (500, 600)}),
        ("DOUBLE", {"bounds": (3, 2)}),
        ("DATE", {"values": (CANARY,)}),
        ("VARCHAR", {"values": ()}),
    ],
)
def test_what_no_value_can_meet_is_refused_by_name(tmp_path, kind, declared):
    with pytest.raises(podsql.Error) as caught:
        drawn(tmp_path, kind, **declared)
    assert caught.value.code == "POLICY_FILE"
    assert "'x'" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_the_bin_of_a_clause_reaches_its_column():
    text = b"""
        version = 1
        name = "mine"
        [tables.Visits.columns]
        AGE = { bin = 5, bounds = [0, 100] }
        seen = { bin = "month" }
        "*" = {}
    """
    table = PodTable(
        name="main.visits",
        columns=(Field("age", "INTEGER"), Field("seen", "DATE"), Field("id", "BIGINT")),
        privacy_unit="ID",
    )
    age, seen, key = mock_columns(parse_policy(text), table)
    assert (age.bin, age.bounds, age.key) == (5, (0, 100), False)
    assert seen.bin is None
    assert key.key


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(tmp_path):
    config = custodian(tmp_path / "north")
    out = tmp_path / "out"
    out.mkdir()
    (out / "main.icd.parquet").write_text("mine")
    with pytest.raises(podsql.Error) as caught:
        write_mock(config, out, rows=5, seed=1)
    assert (caught.value.code, bool(caught.value.hint)) == ("CONFIG", True)
    assert [path.name for path in out.iterdir()] == ["main.icd.parquet"]
    (out / "main.icd.parquet").unlink()
    (config.parent / "policy.toml").write_text(POLICY.replace("[18, 90]", "[90, 18]"))
    with pytest.raises(podsql.Error) as caught:
        write_mock(config, out, rows=5, seed=1)
    assert caught.value.code == "POLICY_FILE"
    assert list(out.iterdir()) == []


def test_a_policy_that_lists_nothing_makes_no_mock(tmp_path):
    config = custodian(tmp_path / "north")
    (config.parent / "policy.toml").write_text('version = 1\nname = "none"\n')
    with pytest.raises(podsql.Error) as caught:
        write_mock(config, tmp_path / "out", rows=5, seed=1)
    assert caught.value.code == "CONFIG"
    assert not (tmp_path / "out").exists()


def test_the_verb_names_its_files_and_refuses_to_run_twice(tmp_path, capsys):
    config = custodian(tmp_path / "north")
    out = tmp_path / "a [1]"
    arguments = ["pod", "mock", "--config", str(config), "--out", str(out), "--rows", "7"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(out / name) for name in FILES]}
    assert pq.read_metadata(out / "clinic.visits.parquet").num_rows == 7
    assert run(arguments) == 2
    streams = capsys.readouterr()
    assert streams.err.startswith("CONFIG: ")
    assert "hint: " in streams.err
    assert streams.out == ""
