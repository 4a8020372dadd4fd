"""One conformance suite for every connector, through the importer that parses them at a pod."""

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from podsql.connectors.registry import kind_of, open_source
from podsql.engine.snapshot import Snapshot, TableSource, ViewSource, build_snapshot
from podsql.errors import InterfaceError, OperationalError

CANARY = "canary-3b9d"
PLAIN = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": pa.array([CANARY, None, "c"]),
        "x": pa.array([1.5, None, -2.0]),
        "ok": pa.array([True, False, None]),
        "day": pa.array([dt.date(2020, 1, 2), None, dt.date(1999, 12, 31)]),
    }
)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def write_csv(table: pa.Table, path: Path) -> None:
    pa_csv.write_csv(table, path)


def write_json(table: pa.Table, path: Path) -> None:
    path.write_text("\n".join(json.dumps(row, default=str) for row in table.to_pylist()))


def write_duckdb(table: pa.Table, path: Path) -> None:
    path.unlink(missing_ok=True)
    con = duckdb.connect(str(path))
    con.register("given", table)
    con.execute("CREATE TABLE t AS SELECT * FROM given")
    con.close()


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)


KINDS: dict[str, tuple[str, Callable[[pa.Table, Path], None]]] = {
    "parquet": ("t.parquet", write_parquet),
    "csv": ("t.csv", write_csv),
    "json": ("t.jsonl", write_json),
    "duckdb": ("t.duckdb", write_duckdb),
    "arrow": ("t.arrow", write_arrow),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request) -> str:
    return request.param


def write(kind: str, table: pa.Table, folder: Path) -> Path:
    name, writer = KINDS[kind]
    writer(table, folder / name)
    return folder / name


def snapshot(path: Path, folder: Path, *, isolated: bool = False, **declared) -> Snapshot:
    table = TableSource(name="main.t", path=str(path), **declared)
    return build_snapshot([table], [], folder / "state", isolated=isolated)


def rows(made: Snapshot, sql: str = "SELECT * FROM main.t ORDER BY id") -> list[tuple]:
    con = duckdb.connect(str(made.path), read_only=True)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


def refusal(call) -> InterfaceError:
    with pytest.raises((InterfaceError, OperationalError)) as caught:
        call()
    assert CANARY not in str(caught.value)
    return caught.value


def test_rows_nulls_and_types_arrive_as_declared(kind, tmp_path):
    made = snapshot(
        write(kind, PLAIN, tmp_path),
        tmp_path,
        columns={"id": "BIGINT", "name": "VARCHAR", "x": "DOUBLE", "ok": "BOOLEAN", "day": "DATE"},
    )
    assert rows(made) == [tuple(row.values()) for row in PLAIN.to_pylist()]
    assert [f.type for f in made.schemas["main.t"]] == [
        "BIGINT",
        "VARCHAR",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
    ]
    assert made.rows == {"main.t": 3}


def test_the_sandboxed_import_reads_the_same(kind, tmp_path):
    path = write(kind, PLAIN, tmp_path)
    here = snapshot(path, tmp_path)
    apart = snapshot(path, tmp_path, isolated=True)
    assert rows(apart) == rows(here)
    assert apart.version == here.version
    assert apart.layers


def test_a_declared_type_wins_over_what_the_file_says(kind, tmp_path):
    table = pa.table({"id": pa.array(["007", "008"])})
    made = snapshot(write(kind, table, tmp_path), tmp_path, columns={"id": "VARCHAR"})
    assert rows(made) == [("007",), ("008",)]
    made = snapshot(write(kind, table, tmp_path), tmp_path, columns={"id": "DECIMAL(5,1)"})
    assert rows(made) == [(Decimal("7.0"),), (Decimal("8.0"),)]


def test_a_value_that_does_not_fit_is_counted_and_never_quoted(kind, tmp_path):
    table = pa.table({"id": [1, 2, 3], "name": ["1", CANARY, "x"]})
    fault = refusal(
        lambda: snapshot(write(kind, table, tmp_path), tmp_path, columns={"name": "INTEGER"})
    )
    assert fault.code == "SOURCE"
    assert "name" in fault.message
    assert "2" in fault.message


def test_a_marker_for_null_becomes_null(kind, tmp_path):
    table = pa.table({"id": [1, 2], "age": ["-9", "40"]})
    made = snapshot(
        write(kind, table, tmp_path),
        tmp_path,
        columns={"age": "INTEGER"},
        null_values={"age": "-9"},
    )
    assert rows(made) == [(1, None), (2, 40)]


def test_an_empty_table_keeps_its_columns(kind, tmp_path):
    if kind == "json":
        pytest.skip("an empty JSON file names no columns")
    made = snapshot(
        write(kind, PLAIN.slice(0, 0), tmp_path), tmp_path, columns={"id": "BIGINT", "x": "DOUBLE"}
    )
    assert rows(made) == []
    assert [f.name for f in made.schemas["main.t"]] == PLAIN.column_names
    assert any("empty" in note.text for note in made.notes)


def test_an_undeclared_column_name_is_refused_with_the_nearest(kind, tmp_path):
    fault = refusal(
        lambda: snapshot(write(kind, PLAIN, tmp_path), tmp_path, columns={"nam": "VARCHAR"})
    )
    assert fault.code == "SOURCE"
    assert "name" in fault.hint


def test_a_missing_file_is_named_with_the_nearest(kind, tmp_path):
    path = write(kind, PLAIN, tmp_path)
    fault = refusal(lambda: snapshot(path.with_name("x" + path.name), tmp_path))
    assert fault.code == "SOURCE"
    assert path.name in fault.hint


def test_attack_68_a_damaged_file_is_refused_and_nothing_is_left_behind(kind, tmp_path):
    path = write(kind, PLAIN, tmp_path)
    whole = path.read_bytes()
    damaged = b"\x00\xff" * 40 if kind in ("csv", "json") else whole[: len(whole) // 2]
    path.write_bytes(damaged)
    if kind == "csv":
        path.write_bytes(b"id,name\n1," + CANARY.encode() + b"\xff\xfe\n")
    fault = refusal(lambda: snapshot(path, tmp_path, isolated=True))
    assert fault.code == "SOURCE"
    assert list((tmp_path / "state").iterdir()) == []


def test_the_content_hash_ignores_the_order_of_rows_and_nothing_else(kind, tmp_path):
    one = snapshot(write(kind, PLAIN, tmp_path), tmp_path, kind="reference")
    turned = PLAIN.take([2, 0, 1])
    two = snapshot(write(kind, turned, tmp_path), tmp_path, kind="reference")
    other = PLAIN.set_column(0, "id", pa.array([1, 2, 4], pa.int64()))
    three = snapshot(write(kind, other, tmp_path), tmp_path, kind="reference")
    assert one.hashes == two.hashes
    assert one.hashes != three.hashes


def test_a_kind_is_known_by_its_suffix_or_named(kind, tmp_path):
    path = write(kind, PLAIN, tmp_path)
    assert kind_of(path) == kind
    renamed = path.rename(path.with_name("data.bin"))
    assert open_source(renamed, format=kind).kind == kind
    assert refusal(lambda: open_source(renamed)).code == "SOURCE"
    assert "parquet" in refusal(lambda: open_source(renamed, format="parqet")).hint


def test_views_are_datasets_of_their_own_in_any_order(tmp_path):
    made = build_snapshot(
        [TableSource(name="main.t", path=str(write("parquet", PLAIN, tmp_path)))],
        [
            ViewSource(name="clinic.top", sql="SELECT max(id) AS id FROM clinic.some"),
            ViewSource(name="clinic.some", sql="SELECT id FROM main.t WHERE id < 3"),
        ],
        tmp_path / "state",
        isolated=False,
    )
    assert rows(made, "SELECT * FROM clinic.top") == [(2,)]
    assert made.rows["clinic.some"] == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nothing FROM main.t",
        "SELECT 1; SELECT 2",
        "DROP TABLE main.t",
        "SELEC",
        "SELECT * FROM absent.t",
    ],
)
def test_a_view_that_cannot_be_computed_is_named(sql, tmp_path):
    fault = refusal(
        lambda: build_snapshot(
            [TableSource(name="main.t", path=str(write("parquet", PLAIN, tmp_path)))],
            [ViewSource(name="clinic.v", sql=sql)],
            tmp_path / "state",
            isolated=False,
        )
    )
    assert fault.code == "SOURCE"
    assert "clinic.v" in fault.message


def test_several_files_and_a_folder_are_one_table(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        pq.write_table(PLAIN, folder / f"p{number}.parquet")
    assert snapshot(folder, tmp_path).rows == {"main.t": 9}
    assert snapshot(folder / "p[01].parquet", tmp_path).rows == {"main.t": 6}


def test_rows_without_a_privacy_unit_are_noted(tmp_path):
    made = snapshot(write("parquet", PLAIN, tmp_path), tmp_path, privacy_unit="name")
    assert [note.text for note in made.notes] == ["1 of 3 rows have no name"]
