"""The statements around SELECT, over a real federation: what they say, keep, write and refuse."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql

NORTH = pa.table(
    {
        "visit_id": [1, 2, 3],
        "sex": ["f", "m", "f"],
        "age": pa.array([34, 51, 47], pa.int32()),
    }
)
SOUTH = pa.table({"visit_id": [4, 5], "sex": ["m", "f"], "age": [29, 62], "note": ["a", None]})
BY_SEX = "SELECT sex, count(*) AS n, sum(age) AS s FROM visits GROUP BY sex"


@pytest.fixture(scope="module")
def federation():
    with podsql.local(
        {"north": {"visits": NORTH}, "south": {"visits": SOUTH}},
        reference={"words": pa.table({"sex": ["f", "m"], "word": ["female", "male"]})},
        local_keys={"visits": ["visit_id"]},
        privacy_unit={"visits": "visit_id"},
        isolation="thread",
    ) as made:
        yield made


@pytest.fixture
def con(federation):
    with federation.connect() as made:
        yield made


def rows(con, sql, parameters=()):
    return con.execute(sql, parameters).fetch_arrow_table().to_pylist()


def refused(con, sql, code):
    with pytest.raises(podsql.Error) as caught:
        con.execute(sql)
    assert caught.value.code == code
    return caught.value


# -- what the pods offer -----------------------------------------------------------------------


def test_show_pods_says_who_is_there(con):
    found = rows(con, "/* who */ SHOW PODS -- now")
    assert [(row["pod"], row["state"], row["tables"]) for row in found] == [
        ("north", "ready", 2),
        ("south", "ready", 2),
    ]
    assert all(row["offer_until"] is not None for row in found)


def test_show_tables_lists_the_pods_tables_and_then_the_connections_own(con):
    con.execute("CREATE TEMP TABLE x AS SELECT 1 AS one")
    found = con.execute("SHOW TABLES").fetchall()
    assert found == [
        ("main.visits", "federated", 4, None, "north, south", "rows"),
        ("main.words", "reference", 2, None, "north, south", "rows"),
        ("x", "temporary", 1, 1, "", "exact"),
    ]


def test_describe_says_who_deviates_and_how(con):
    found = {row["column_name"]: row for row in rows(con, "DESCRIBE visits")}
    assert list(found) == ["visit_id", "sex", "age", "note"]
    assert found["visit_id"]["local_key"]
    assert found["visit_id"]["privacy_unit"]
    assert not found["sex"]["local_key"]
    assert found["sex"]["deviations"] is None
    assert found["age"]["column_type"] == "BIGINT"
    assert found["age"]["deviations"] == "north: has type INTEGER"
    assert (found["note"]["pods"], found["note"]["nullable"]) == ("south", True)
    assert found["note"]["deviations"] == "north: has no such column"
    assert found["sex"]["roles"] == "any"


@pytest.mark.parametrize("sql", ["DESCRIBE vists", "SUMMARIZE vists", "DESC main.vists"])
def test_an_unknown_table_gets_the_nearest_name(con, sql):
    assert "visits" in refused(con, sql, "UNKNOWN_TABLE").hint


def test_show_grants_says_what_may_leave_and_for_what(federation):
    with federation.connect(purpose="care", project="p1") as con:
        found = rows(con, "SHOW GRANTS")
    assert [(row["table"], row["pod"]) for row in found] == [
        ("main.visits", "north"),
        ("main.visits", "south"),
        ("main.words", "north"),
        ("main.words", "south"),
    ]
    assert (found[0]["release"], found[0]["purpose"], found[0]["project"]) == ("rows", "care", "p1")
    assert [row["columns"] for row in found] == [3, 4, 2, 2]
    assert "additive" in found[0]["classes"].split(", ")


@pytest.mark.parametrize(("policy", "release"), [("standard", "sdc_local"), ("dp", "dp")])
def test_a_threshold_and_what_may_leave_are_shown(policy, release):
    table = pa.table({"id": list(range(20)), "g": ["a"] * 20})
    with (
        podsql.local(
            {"north": {"t": table}},
            privacy_unit={"t": "id"},
            policy=policy,
            isolation="thread",
        ) as federation,
        federation.connect() as con,
    ):
        (grant,) = rows(con, "SHOW GRANTS")
        assert (grant["release"], grant["min_units"]) == (release, 10)
        assert "rows" not in grant["classes"]
        assert (grant["classes"] == "noised") == (release == "dp")
        assert rows(con, "SHOW TABLES")[0]["release"] == release


def test_a_silent_pod_is_shown_and_ends_what_needs_every_offer():
    with (
        podsql.local(
            {"north": {"visits": NORTH}, "south": {"visits": SOUTH}}, isolation="thread"
        ) as federation,
        federation.connect(timeout=4) as con,
    ):
        federation.pods["south"].stop()
        cursor = con.execute("SHOW PODS")
        assert [(pod, state == "ready") for pod, state, *_ in cursor.fetchall()] == [
            ("north", True),
            ("south", False),
        ]
        assert cursor.missing == ("south",)
        assert "south" in refused(con, "SHOW TABLES", "PODS_MISSING").message
        cursor = con.execute("DESCRIBE visits WITH (allow_partial = 1)")
        assert [row[0] for row in cursor.fetchall()] == ["visit_id", "sex", "age"]
        assert cursor.missing == ("south",)


def test_options_that_mean_nothing_to_a_statement_are_refused(con):
    refused(con, "SHOW PODS WITH (pods = 'north')", "OPTION")


# -- temporary tables --------------------------------------------------------------------------


def test_a_temporary_table_keeps_an_answer_and_what_was_said_of_it(con):
    made = con.execute(f"CREATE TEMP TABLE x AS {BY_SEX}")
    assert (made.rowcount, made.description, made.pods) == (2, None, ("north", "south"))
    with pytest.raises(podsql.ProgrammingError):
        made.fetchall()
    cursor = con.execute("SELECT sex, s FROM x WHERE n > ? ORDER BY sex", (2,))
    assert cursor.fetchall() == [("f", 143)]
    assert [column[:2] for column in cursor.description] == [("sex", "VARCHAR"), ("s", "HUGEINT")]
    assert (cursor.pods, cursor.release, cursor.receipt) == (("north", "south"), "exact", ())
    assert con.execute("DESCRIBE x").fetchall()[0][:2] == ("sex", "VARCHAR")


def test_temporary_tables_are_joined_and_made_from_each_other(con):
    con.execute("CREATE TEMP TABLE x AS SELECT sex, age FROM visits")
    con.execute("CREATE TEMP TABLE w AS SELECT * FROM words")
    con.execute(
        "CREATE TEMP TABLE x2 AS SELECT word, max(age) AS m FROM x JOIN w USING (sex) GROUP BY word"
    )
    assert con.execute("FROM x2 ORDER BY word").fetchall() == [("female", 62), ("male", 51)]
    con.execute("CREATE OR REPLACE TEMP TABLE x2 AS SELECT count(*) AS n FROM x2")
    assert con.execute("SELECT n FROM x2").fetchall() == [(2,)]


def test_a_temporary_table_belongs_to_its_connection(con, federation):
    con.execute("CREATE TEMP TABLE x AS SELECT 1 AS one")
    with federation.connect() as other:
        refused(other, "SELECT * FROM x", "UNKNOWN_TABLE")


def test_no_row_of_a_temporary_table_goes_to_a_pod(con):
    con.execute(f"CREATE TEMP TABLE x AS {BY_SEX}")
    fault = refused(con, "SELECT * FROM x JOIN visits USING (sex)", "NOT_SUPPORTED")
    assert "CREATE TEMP TABLE" in fault.hint
    refused(con, "SELECT age FROM visits WHERE sex IN (SELECT sex FROM x)", "NOT_SUPPORTED")
    refused(con, "SELECT * FROM x WITH (pods = 'north')", "OPTION")


def test_names_are_taken_once_and_hide_no_table_of_the_pods(con):
    con.execute("CREATE TEMP TABLE x AS SELECT 1 AS one")
    refused(con, "CREATE TEMP TABLE X AS SELECT 2 AS two", "CONFLICT")
    refused(con, "CREATE TEMP TABLE Visits AS SELECT 2 AS two", "CONFLICT")
    con.execute("DROP TABLE x")
    refused(con, "DROP TABLE x", "UNKNOWN_TABLE")
    con.execute("DROP TABLE IF EXISTS x")
    con.execute("CREATE TEMP TABLE x AS SELECT 2 AS two")
    assert con.execute("SELECT two FROM x").fetchall() == [(2,)]


def test_a_failed_replacement_leaves_the_table(con):
    con.execute("CREATE TEMP TABLE x AS SELECT 1 AS one")
    refused(con, "CREATE OR REPLACE TEMP TABLE x AS SELECT nope FROM visits", "UNKNOWN_COLUMN")
    assert con.execute("SELECT one FROM x").fetchall() == [(1,)]


def test_groups_that_are_withheld_are_missing_from_no_table_unknowingly():
    many = pa.table({"id": list(range(40)), "g": ["a"] * 30 + ["b"] * 10})
    few = pa.table({"id": list(range(40, 55)), "g": ["a"] * 12 + ["b"] * 3})
    with (
        podsql.local(
            {"north": {"t": many}, "south": {"t": few}},
            privacy_unit={"t": "id"},
            policy="standard",
            isolation="thread",
        ) as federation,
        federation.connect() as con,
    ):
        sql = "CREATE TEMP TABLE x AS SELECT g, count(*) AS n FROM t GROUP BY g"
        assert "omit" in refused(con, sql, "WITHHELD").hint
        con.execute(f"{sql} WITH (withheld = 'omit')")
        cursor = con.execute("SELECT sum(n) FROM x")
        assert cursor.fetchall() == [(42,)]
        assert cursor.withheld == 1


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["(SELECT visit_id FROM visits)", "ids", "visits"])
def test_copy_writes_a_select_a_temporary_table_or_a_table_of_the_pods(con, what, tmp_path):
    con.execute("CREATE TEMP TABLE ids AS SELECT visit_id FROM visits")
    cursor = con.execute(f"COPY {what} TO '{tmp_path}/out.parquet'")
    assert (cursor.rowcount, cursor.description, cursor.pods) == (5, None, ("north", "south"))
    found = pq.read_table(tmp_path / "out.parquet")["visit_id"].to_pylist()
    assert sorted(found) == [1, 2, 3, 4, 5]


def test_copy_replaces_no_file_unless_told(con, tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    sql = f"COPY (SELECT sex FROM visits WHERE age = ?) TO '{path}' (FORMAT json"
    with pytest.raises(podsql.OperationalError) as caught:
        con.execute(f"{sql})", (62,))
    assert caught.value.code == "FILE_EXISTS"
    assert path.read_text() == "mine"
    con.execute(f"{sql}, OVERWRITE)", (62,))
    assert json.loads(path.read_text()) == [{"sex": "f"}]


# -- explanations ------------------------------------------------------------------------------


def test_explain_analyze_adds_what_the_pods_signed(con):
    cursor = con.execute(f"EXPLAIN ANALYZE {BY_SEX}")
    text = "\n".join(line for (line,) in cursor.fetchall())
    assert "    north  2 rows, " in text
    assert "    south  2 rows, " in text
    assert ": 2 rows, exact" in text
    assert [receipt.stage for receipt in cursor.receipt] == ["stage1", "stage1"]
    assert "took" not in con.explain(BY_SEX)


@pytest.mark.parametrize(
    "sql", [BY_SEX, "SELECT age FROM visits", "SELECT median(age) FROM x", "SELECT 1 AS one"]
)
def test_an_explanation_of_a_run_counts_its_rows_bytes_and_times(con, sql):
    con.execute("CREATE TEMP TABLE x AS SELECT age FROM visits")
    expected = con.execute(sql).fetch_arrow_table().num_rows
    shown = json.loads(con.explain(sql, format="json", analyze=True))
    run = shown["run"]
    assert run["rows"] == expected
    assert [stage["stage"] for stage in run["stages"]] == [s["name"] for s in shown["stages"]]
    for stage in run["stages"]:
        assert [part["pod"] for part in stage["pods"]] == ["north", "south"]
        assert all(0 < part["micros"] <= stage["micros"] for part in stage["pods"])
        assert all(part["bytes"] > 0 for part in stage["pods"])
    assert json.loads(con.explain(sql, format="json"))["run"] is None


def test_a_picture_is_had_from_the_cursor(con):
    assert con.cursor().explain(f"EXPLAIN {BY_SEX}", format="svg").startswith("<svg ")
    with pytest.raises(podsql.InterfaceError):
        con.explain(BY_SEX, format="png")


def test_a_statement_over_temporary_tables_asks_no_pod(con):
    con.execute("CREATE TEMP TABLE x AS SELECT age FROM visits")
    assert con.explain("SELECT * FROM x").startswith("no pod is asked")
    assert con.execute("EXPLAIN POLICY SELECT * FROM x").fetchall() == []
    refused(con, "SUMMARIZE x", "NOT_SUPPORTED")


def test_a_cursor_takes_one_statement(con):
    assert refused(con, "SHOW PODS; SHOW TABLES", "MULTI_STATEMENT").hint == "send them one by one"
