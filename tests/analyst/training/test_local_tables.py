"""Scenario A17: predictions over the pods' rows that stay there, and all that an analyst is told of them."""

import json
import stat
import threading
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.analyst.training.local_tables import model_hash
from podsql.errors import Error
from podsql.policy.audit import lines

POLICY = """
version = 1
name = "wards"
people = "*"
roles = ["analyst", "modeller"]
allow = ["select", "train"]
[tables.visits]
allow = ["select", "train", "predict"]
[tables.visits.columns]
id = { roles = ["entity_key", "join_key"] }
age = { roles = ["measure"] }
dose = { roles = ["measure", "filter"] }
site = { roles = ["dimension"], values = ["home", "ward", "icu"] }
smoker = { roles = ["filter"] }
died = { roles = ["measure", "filter"] }
[tables.others.columns]
id = { roles = ["entity_key", "join_key"] }
"*" = { roles = ["measure", "filter", "dimension"] }
"""
COLUMNS = "id, age, dose, site, smoker"
SIZES = {"north": 700, "south": 500}


def visits(first, rows, seed):
    """``mark`` is hidden from everybody; whoever has a high dose is rare."""
    rng = np.random.default_rng(seed)
    age, dose = rng.normal(60, 12, rows), rng.uniform(0, 10, rows)
    site = rng.choice(["home", "ward", "icu"], rows)
    smoker = rng.random(rows) < 0.4
    eta = (age - 60) / 12 + (dose - 5) / 4 + (site == "icu") - smoker
    return pa.table(
        {
            "id": np.arange(first, first + rows),
            "age": age,
            "dose": dose,
            "site": site,
            "smoker": smoker,
            "died": (rng.random(rows) < 1 / (1 + np.exp(-eta))).astype(np.int64),
            "mark": [f"canary-{n}" for n in range(rows)],
        }
    )


@pytest.fixture(scope="module")
def data():
    return {
        "north": visits(0, SIZES["north"], 1),
        "south": visits(10_000, SIZES["south"], 2),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("local")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    made = tmp_path_factory.mktemp("policy") / "policy.toml"
    made.write_text(POLICY)
    return made


@pytest.fixture(scope="module")
def federation(data, folder, policy):
    with podsql.local(
        {pod: {"visits": table, "others": table} for pod, table in data.items()},
        privacy_unit={"visits": "id", "others": "id"},
        policy=policy,
        isolation="thread",
        analysts=("ana", "bob"),
        local_tables=folder,
    ) as made:
        yield made


@pytest.fixture(scope="module")
def con(federation):
    with federation.connect() as made:
        made.execute(
            "TRAIN MODEL risk USING linear_regression PREDICT died"
            f" FROM (SELECT {COLUMNS.removeprefix('id, ')}, died FROM visits)"
        )
        yield made


def predict(con, table, where="true", columns=COLUMNS, source="visits", options=""):
    """The answer's rows by pod: rows and reason."""
    cursor = con.execute(
        f"PREDICT USING MODEL risk FROM (SELECT {columns} FROM {source} WHERE {where})"
        f" INTO LOCAL TABLE {table} {options}"
    )
    return {row[0]: (row[2], row[3]) for row in cursor.fetchall()}


def refused(con, *given, **more):
    with pytest.raises(Error) as caught:
        predict(con, *given, **more)
    return caught.value


def written(folder, table):
    return {pod: pq.read_table(folder / pod / f"{table}.parquet") for pod in SIZES}


def entries(federation, pod, event):
    found = lines(federation.pods[pod].place / "audit.jsonl")
    return [line.entry for line in found if line.entry.event == event]


def test_each_pod_writes_the_predictions_of_its_rows_and_tells_their_number(
    con, federation, folder, data, tmp_path
):
    cursor = con.execute(
        f"PREDICT USING MODEL risk FROM (SELECT {COLUMNS}, age / 10 AS tens FROM visits v"
        " WHERE dose > 0.5) INTO LOCAL TABLE scores WITH (purpose = 'care')"
    )
    answer = cursor.fetch_arrow_table()
    assert answer.column_names == ["pod", "table", "rows", "reason", "model"]
    chosen = {
        pod: duckdb.from_arrow(table).filter("dose > 0.5").to_arrow_table()
        for pod, table in data.items()
    }
    counts = {pod: table.num_rows for pod, table in chosen.items()}
    assert answer["pod"].to_pylist() == ["north", "south"]
    assert answer["rows"].to_pylist() == list(counts.values())
    assert answer["table"].to_pylist() == ["scores"] * 2
    assert answer["reason"].to_pylist() == [None, None]
    (model,) = set(answer["model"].to_pylist())
    # Of the model, whatever it is called and wherever it was.
    con.execute(f"EXPORT MODEL risk TO '{tmp_path / 'risk.json'}'")
    con.execute(f"IMPORT MODEL copied FROM '{tmp_path / 'risk.json'}'")
    assert model_hash(con.bench.shelf.get("copied")) == model
    # What left is one number a pod.
    assert [(r.rows, r.release) for r in cursor.receipt] == [(1, "exact")] * 2
    pooled = pa.concat_tables(data.values())
    fit, *_ = np.linalg.lstsq(features(pooled), pooled["died"].to_numpy())
    for pod, table in written(folder, "scores").items():
        assert table.column_names == [*COLUMNS.split(", "), "tens", "prediction"]
        table = table.sort_by("id")
        assert table.select(COLUMNS.split(", ")).equals(chosen[pod].select(COLUMNS.split(", ")))
        expected = features(chosen[pod]) @ fit
        assert np.allclose(table["prediction"].to_numpy(), expected, rtol=0, atol=1e-9)
        assert np.allclose(table["tens"].to_numpy() * 10, table["age"].to_numpy())
        file = folder / pod / "scores.parquet"
        card = json.loads(file.with_suffix(".json").read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.with_suffix(".json").stat().st_mode) == 0o600
        assert (card["analyst"], card["purpose"], card["model"]) == ("ana", "care", model)
        assert (card["rows"], card["bytes"]) == (counts[pod], file.stat().st_size)
        assert card["statement_id"] == cursor.statement_id.hex()
        assert card["tables"] == ["main.visits"]
        assert card["columns"][0] == "id BIGINT"
        (line,) = [
            one
            for one in entries(federation, pod, "local")
            if one.statement_id == cursor.statement_id.hex()
        ]
        assert (line.reason, line.rows) == ("local table scores", counts[pod])
    # It is the custodian's: no statement knows it.
    with pytest.raises(Error) as caught:
        con.execute("SELECT count(*) FROM scores")
    assert caught.value.code == "UNKNOWN_TABLE"


def features(table):
    site = table["site"].to_numpy(zero_copy_only=False)
    return np.column_stack(
        [
            np.ones(table.num_rows),
            table["age"].to_numpy(),
            table["dose"].to_numpy(),
            site == "ward",
            site == "icu",
            table["smoker"].to_numpy(zero_copy_only=False),
        ]
    ).astype(float)


def test_few_rows_are_written_like_many_but_their_number_stays(con, folder, data):
    edge = sorted(data["south"]["dose"].to_pylist())[-4]
    few = predict(con, "few", f"dose > {edge}")
    # Nobody at all, and one person who does not fit: the answer is the same.
    assert predict(con, "nobody", "dose > 1000") == dict.fromkeys(SIZES, (None, "WITHHELD"))
    assert few["south"] == (None, "WITHHELD")
    rows = {pod: table.num_rows for pod, table in written(folder, "few").items()}
    assert rows["south"] == 3
    assert {table.num_rows for table in written(folder, "nobody").values()} == {0}
    assert written(folder, "nobody")["south"].schema == written(folder, "few")["south"].schema


def test_a_name_that_is_taken_is_refused_alike_whoever_has_it(con, federation, folder):
    assert set(predict(con, "mine")) == set(SIZES)
    before = written(folder, "mine")["north"]
    own = refused(con, "MINE", "dose > 5")
    assert own.code == "FILE_EXISTS"
    with federation.connect("bob") as other:
        other.bench.shelf.put(con.bench.shelf.get("risk"))
        for options in ("", "WITH (overwrite = true)"):
            fault = refused(other, "mine", options=options)
            assert (fault.code, fault.message, fault.hint) == (own.code, own.message, own.hint)
    assert written(folder, "mine")["north"].equals(before)
    again = predict(con, "mine", "dose > 5", options="WITH (overwrite = true)")
    assert written(folder, "mine")["north"].num_rows == again["north"][0] < before.num_rows


def test_a_statement_that_is_sent_anew_finds_what_it_wrote_before(con, federation, policy):
    """South has moved on since its offer, which is seen when north has written."""
    predict(con, "before")
    policy.write_text(POLICY.replace('name = "wards"', 'name = "wards"\ntext = "as it was"'))
    federation.pods["south"].refresh()
    assert predict(con, "anew") == {pod: (rows, None) for pod, rows in SIZES.items()}
    times = {
        pod: [one.reason for one in entries(federation, pod, "local")].count("local table anew")
        for pod in SIZES
    }
    assert times == {"north": 2, "south": 1}


def test_writing_is_a_right_of_its_own(con, federation, folder):
    assert refused(con, "denied", source="others").code == "DENIED"
    asked = "FROM (SELECT {} FROM {}) INTO LOCAL TABLE denied".format
    said = con.execute(
        f"EXPLAIN POLICY PREDICT USING MODEL risk {asked(COLUMNS, 'others')}"
    ).fetch_arrow_table()
    assert said["decision"].to_pylist() == ["deny"] * 2
    assert said["rule"].to_pylist() == ["DENIED_TABLE"] * 2
    said = con.execute(
        f"EXPLAIN POLICY PREDICT USING MODEL risk {asked(COLUMNS, 'visits')}"
    ).fetch_arrow_table()
    assert said["decision"].to_pylist() == ["allow"] * 2
    assert said["min_units"].to_pylist() == [10, 10]
    assert not list(folder.glob("*/denied*"))
    assert {one.reason for one in entries(federation, "north", "query")} >= {"DENIED_TABLE"}


@pytest.mark.parametrize(
    ("columns", "where", "code"),
    [
        (f"{COLUMNS}, mark", "true", "UNKNOWN_COLUMN"),
        (COLUMNS, "mark = 'canary-7'", "UNKNOWN_COLUMN"),
        (f"{COLUMNS}, id = 7 AS his", "true", "DENIED"),
        (f"{COLUMNS}, CASE WHEN age > 90 THEN 1 END AS old", "true", "DENIED"),
        (f"{COLUMNS}, site || site AS twice", "true", "DENIED"),
        (COLUMNS, "age > 90", "DENIED"),
        (COLUMNS, "id = 7", "DENIED"),
        (COLUMNS.replace("dose, ", ""), "true", "UNKNOWN_COLUMN"),
        (f"{COLUMNS}, dose AS prediction", "true", "BINDING"),
        (f"count(*) AS n, {COLUMNS}", "true", "NOT_SUPPORTED"),
    ],
)
def test_columns_keep_to_their_roles(con, folder, columns, where, code):
    assert refused(con, "roles", where, columns=columns).code == code
    assert not list(folder.glob("*/*roles*"))


@pytest.mark.parametrize("name", ['"../outside"', '"a/b"', '"a.parquet"', '"é"', '""', "x" * 64])
def test_a_name_is_no_path(con, folder, name):
    with pytest.raises(Error) as caught:
        predict(con, name)
    assert caught.value.code == "STATEMENT"
    assert not list(folder.parent.glob("outside*"))


def test_what_cannot_be_computed_for_a_row_is_null_there(con, folder):
    columns = f"{COLUMNS}, CAST(site AS INTEGER) AS number, CAST(age * 1e30 AS INTEGER) AS large"
    found = predict(con, "failing", columns=columns)
    assert found == {pod: (rows, None) for pod, rows in SIZES.items()}
    for table in written(folder, "failing").values():
        assert table["number"].null_count == table["large"].null_count == table.num_rows
        assert table["prediction"].null_count == 0


@pytest.fixture(scope="module")
def open_pod(tmp_path_factory):
    """A table of which rows may leave, whose square is larger than what may be written."""
    rows = 4000
    table = pa.table({"x": np.arange(rows, dtype=float), "y": np.arange(rows) * 2.0})
    more = {"more": pa.table({"k": np.arange(rows)})}
    folder = tmp_path_factory.mktemp("open")
    with (
        podsql.local(
            {"north": {"t": table}},
            reference=more,
            policy="open",
            local_tables=folder,
        ) as made,
        made.connect() as con,
    ):
        con.execute("TRAIN MODEL line USING linear_regression PREDICT y FROM (SELECT x, y FROM t)")
        yield con, folder / "north", made


def test_a_statement_that_is_cancelled_leaves_nothing(open_pod):
    con, folder, _ = open_pod
    cursor = con.cursor()
    ended = []

    def run():
        try:
            cursor.execute(
                "PREDICT USING MODEL line FROM (SELECT x, k FROM t CROSS JOIN more WHERE x < 2000) INTO LOCAL TABLE large"
            )
        except Error as fault:
            ended.append(fault.code)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 60
    while not list(folder.glob(".large.*")):
        assert time.monotonic() < deadline
        assert thread.is_alive()
        time.sleep(0.005)
    cursor.cancel()
    thread.join(60)
    assert ended == ["CANCELLED"]
    while list(folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_open_pod_says_what_failed_and_keeps_nothing(open_pod):
    con, folder, _ = open_pod
    for select, code in (
        ("SELECT x, CAST(x * 1e10 AS INTEGER) AS big FROM t", "DATA"),
        ("SELECT x FROM t CROSS JOIN more", "RESULT_TOO_BIG"),
    ):
        with pytest.raises(Error) as caught:
            con.execute(f"PREDICT USING MODEL line FROM ({select}) INTO LOCAL TABLE none")
        assert caught.value.code == code
    assert not list(folder.glob("*none*"))


def test_a_pod_without_a_folder_writes_nothing():
    table = pa.table({"x": np.arange(50.0), "y": np.arange(50.0)})
    with podsql.local({"north": {"t": table}}, isolation="thread") as made, made.connect() as con:
        con.execute("TRAIN MODEL line USING linear_regression PREDICT y FROM (SELECT x, y FROM t)")
        with pytest.raises(Error) as caught:
            con.execute("PREDICT USING MODEL line FROM (SELECT x FROM t) INTO LOCAL TABLE scores")
        assert caught.value.code == "DENIED"
        (line,) = entries(made, "north", "query")[-1:]
        assert line.reason == "NO_LOCAL_TABLES"
