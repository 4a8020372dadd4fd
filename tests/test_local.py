"""``podsql.local``: every kind of table, the cursor's own words, and bad arguments."""

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

import podsql

NORTH = pa.table({"visit_id": [1, 2, 3], "sex": ["f", "m", "f"], "age": [34, 51, 47]})
SOUTH = pa.table({"visit_id": [4, 5], "sex": ["m", "f"], "age": [29, 62]})
SQL = "SELECT sex, count(*), avg(age) FROM visits GROUP BY sex ORDER BY sex"
ANSWER = [("f", 3, 143 / 3), ("m", 2, 40.0)]


def as_path(table, place, kind):
    if kind == "parquet":
        pq.write_table(table, place)
    elif kind == "csv":
        pa_csv.write_csv(table, place)
    else:
        con = duckdb.connect(str(place))
        con.register("given", table)
        con.execute("CREATE TABLE visits AS SELECT * FROM given")
        con.close()
    return str(place)


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


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "parquet", "csv", "duckdb"])
def test_a_table_may_be_a_frame_or_a_path(kind, tmp_path):
    def given(name, table):
        if kind == "arrow":
            return table
        if kind == "pandas":
            return table.to_pandas()
        if kind == "polars":
            return pl.from_arrow(table)
        return as_path(table, tmp_path / f"{name}.{kind}", kind)

    pods = {"north": {"visits": given("north", NORTH)}, "south": {"visits": given("south", SOUTH)}}
    with podsql.local(pods, isolation="thread") as federation, federation.connect() as con:
        assert con.execute(SQL).fetchall() == ANSWER


def test_sandboxed_processes_are_the_default_and_answer_the_same():
    with podsql.local({"north": {"visits": NORTH}, "south": {"visits": SOUTH}}) as federation:
        pod = federation.pods["north"]
        assert pod.config.pod.isolation == "process"
        with federation.connect() as con:
            cursor = con.execute(SQL)
            assert cursor.fetchall() == ANSWER
            assert cursor.pods == ("north", "south")
            assert cursor.release == "exact"
            assert [r.executed for r in cursor.receipt] == [1, 1]
            assert len({r.request_id for r in cursor.receipt}) == 2


def test_a_reference_table_is_joined_anywhere(con):
    sql = "SELECT w.word, max(v.age) FROM visits v JOIN words w ON v.sex = w.sex GROUP BY w.word ORDER BY 1"
    assert con.execute(sql).fetchall() == [("female", 62), ("male", 51)]


def test_rows_come_as_arrow_pandas_polars_and_tuples(con):
    sql = "SELECT visit_id, age FROM visits ORDER BY visit_id"
    assert con.execute(sql).fetch_arrow_table().column_names == ["visit_id", "age"]
    assert isinstance(con.execute(sql).df(), pd.DataFrame)
    assert isinstance(con.execute(sql).pl(), pl.DataFrame)
    cursor = con.execute(sql)
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["visit_id", "age"]
    assert cursor.fetchone() == (1, 34)
    assert cursor.fetchmany(2) == [(2, 51), (3, 47)]
    assert list(cursor) == [(4, 29), (5, 62)]
    assert cursor.fetchone() is None
    assert con.execute(sql).fetch_record_batch().read_all().num_rows == 5


def test_parameters_are_bound_never_pasted(con):
    sql = "SELECT count(*) FROM visits WHERE sex = ? AND age > ?"
    assert con.execute(sql, ("f", 40)).fetchall() == [(2,)]
    assert con.execute(sql, ("' OR 1=1 --", 0)).fetchall() == [(0,)]
    with pytest.raises(podsql.ProgrammingError) as caught:
        con.execute(sql, ("f",))
    assert caught.value.code == "PARAMETERS"


def test_one_pod_may_be_named(con):
    assert con.execute("SELECT count(*) FROM visits WHERE _pod = 'south'").fetchall() == [(2,)]
    assert con.execute("SELECT count(*) FROM north.main.visits").fetchall() == [(3,)]
    cursor = con.execute("SELECT _pod, count(*) FROM visits GROUP BY _pod ORDER BY 1")
    assert cursor.fetchall() == [("north", 3), ("south", 2)]


def test_explain_runs_nothing_and_says_what_would_leave(con):
    text = con.explain("SELECT stddev(age) FROM visits")
    assert "north, south" in text
    assert "[moments]" in text
    rows = con.execute("EXPLAIN SELECT count(*) FROM visits").fetchall()
    assert any("count(*)" in line for (line,) in rows)


@pytest.mark.parametrize(
    ("sql", "kind", "code", "hint"),
    [
        ("SELECT * FROM vists", podsql.ProgrammingError, "UNKNOWN_TABLE", "visits"),
        ("SELECT sx FROM visits", podsql.ProgrammingError, "UNKNOWN_COLUMN", "sex"),
        ("SELECT FROM WHERE", podsql.ProgrammingError, "SYNTAX", ""),
        ("SELECT 1; SELECT 2", podsql.ProgrammingError, "MULTI_STATEMENT", "one by one"),
        ("DELETE FROM visits", podsql.NotSupportedError, "STATEMENT", ""),
        (
            "SELECT reservoir_quantile(age, 0.5) FROM visits",
            podsql.NotSupportedError,
            "NOT_EXACT",
            "",
        ),
        ("SELECT random() FROM visits", podsql.NotSupportedError, "NOT_EXACT", ""),
    ],
)
def test_a_refusal_has_a_class_a_code_and_a_hint(con, sql, kind, code, hint):
    with pytest.raises(kind) as caught:
        con.execute(sql)
    assert caught.value.code == code
    assert hint in caught.value.hint


def test_a_syntax_error_names_its_position(con):
    with pytest.raises(podsql.ProgrammingError) as caught:
        con.execute("SELECT sex\nFROM visits WHRE age > 3")
    assert "line 2" in caught.value.message


def test_the_same_statement_id_attaches_and_nothing_runs_twice(con):
    first = con.execute(SQL)
    assert first.statement_id is not None
    again = con.attach(first.statement_id, SQL)
    assert again.fetchall() == first.fetchall()
    assert [r.executed for r in again.receipt] == [1, 1]
    with pytest.raises(podsql.OperationalError) as caught:
        con.attach(first.statement_id, "SELECT count(*) FROM visits")
    assert caught.value.code == "CONFLICT"


def test_a_policy_of_aggregates_only_refuses_rows_and_withholds_small_groups():
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
        cursor = con.execute("SELECT g, count(*) FROM t GROUP BY g")
        assert cursor.fetchall() == [("a", 42)]
        assert cursor.withheld == 1
        with pytest.raises(podsql.PolicyError) as caught:
            con.execute("SELECT g FROM t")
        assert caught.value.code in ("DENIED", "NOT_SUPPORTED")
        with pytest.raises(podsql.PolicyError) as caught:
            con.execute("SELECT count(*) FROM t WHERE g = 'b'")
        assert caught.value.code == "WITHHELD"
        with pytest.raises(podsql.PolicyError) as caught:
            con.execute("SELECT g, count(*) AS n FROM t GROUP BY g ORDER BY n DESC LIMIT 1")
        assert caught.value.code == "WITHHELD"
        omit = "SELECT g, count(*) AS n FROM t GROUP BY g ORDER BY n DESC LIMIT 1 WITH (withheld = 'omit')"
        assert con.execute(omit).fetchall() == [("a", 42)]


def test_a_pod_that_is_gone_is_named_and_may_be_left_out():
    with (
        podsql.local(
            {"north": {"visits": NORTH}, "south": {"visits": SOUTH}}, isolation="thread"
        ) as federation,
        federation.connect() as con,
    ):
        assert con.execute("SELECT count(*) FROM visits").fetchall() == [(5,)]
        federation.pods["south"].stop()
        with pytest.raises(podsql.OperationalError) as caught:
            con.execute("SELECT sum(age) FROM visits", timeout=4)
        assert "south" in str(caught.value)
        cursor = con.execute("SELECT sum(age) FROM visits WITH (allow_partial = 1)", timeout=4)
        assert cursor.fetchall() == [(132,)]
        assert cursor.pods == ("north",)
        assert cursor.missing == ("south",)


def test_closed_things_say_so(federation):
    con = federation.connect()
    cursor = con.cursor()
    cursor.close()
    with pytest.raises(podsql.InterfaceError):
        cursor.execute("SELECT 1")
    con.close()
    con.close()
    with pytest.raises(podsql.InterfaceError):
        con.execute("SELECT 1")


@pytest.mark.parametrize("bad", [{}, {"north": {"t": 3}}, {"north": {"a b": NORTH}}])
def test_bad_arguments_are_refused_before_anything_runs(bad):
    with pytest.raises(podsql.InterfaceError):
        podsql.local(bad, isolation="thread")


def test_connections_of_one_analyst_work_side_by_side(federation):
    """They share one place at the relay, where a key has one; the last to close gives it up."""
    with federation.connect() as one, federation.connect() as other:
        assert one.execute(SQL).fetchall() == ANSWER
        assert other.execute(SQL).fetchall() == ANSWER
        assert one.execute(SQL).fetchall() == ANSWER
        one.close()
        assert other.execute(SQL).fetchall() == ANSWER
    with federation.connect() as again:
        assert again.execute(SQL).fetchall() == ANSWER
