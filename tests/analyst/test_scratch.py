"""``scratch.name``: an analyst's own tables, made and changed by ordinary SQL."""

import pyarrow as pa
import pytest

import podsql


@pytest.fixture(scope="module")
def federation():
    table = pa.table({"visit_id": [1, 2, 3], "sex": ["f", "m", "f"], "age": [34, 51, 47]})
    with podsql.local(
        {"north": {"visits": table}, "south": {"visits": table.slice(0, 0)}}, isolation="thread"
    ) as made:
        yield made


@pytest.fixture
def con(federation):
    with federation.connect() as made:
        yield made


def code_of(con, sql, parameters=()):
    with pytest.raises(podsql.Error) as caught:
        con.execute(sql, parameters)
    return caught.value.code


def test_a_table_is_made_filled_changed_and_dropped(con):
    made = con.execute("CREATE TABLE scratch.codes (code VARCHAR PRIMARY KEY, n INTEGER)")
    assert (made.description, made.rowcount) == (None, -1)
    con.execute("CREATE TABLE IF NOT EXISTS scratch.codes (other DATE)")
    assert con.execute("INSERT INTO scratch.codes VALUES ('a', ?), ('b', 2)", (1,)).rowcount == 2
    many = con.cursor().executemany("INSERT INTO codes (code) VALUES (?)", [("c",), ("d",)])
    assert many.rowcount == 2
    assert con.execute("UPDATE scratch.codes SET n = 9 WHERE n IS NULL").rowcount == 2
    assert con.execute("DELETE FROM Codes WHERE code = ?", ("d",)).rowcount == 1
    assert con.execute("SELECT * FROM scratch.codes ORDER BY 1").fetchall() == [
        ("a", 1),
        ("b", 2),
        ("c", 9),
    ]
    assert [row[:2] for row in con.execute("DESCRIBE scratch.codes").fetchall()] == [
        ("code", "VARCHAR"),
        ("n", "INTEGER"),
    ]
    assert ("codes", "temporary", 2, 3, "", "exact") in con.execute("SHOW TABLES").fetchall()
    con.execute("CREATE OR REPLACE TABLE scratch.codes (x INTEGER)")
    assert con.execute("SELECT count(*) FROM codes").fetchall() == [(0,)]
    con.execute("DROP TABLE scratch.codes")
    assert code_of(con, "SELECT * FROM scratch.codes") == "UNKNOWN_TABLE"


def test_what_was_said_of_an_answer_goes_with_its_rows(con):
    con.execute("CREATE TEMP TABLE groups AS SELECT sex, count(*) AS n FROM visits GROUP BY sex")
    con.execute("CREATE TABLE scratch.mine (sex VARCHAR, n BIGINT)")
    assert con.execute("SELECT * FROM mine").pods == ()
    con.execute("INSERT INTO scratch.mine SELECT sex, n FROM scratch.groups")
    cursor = con.execute("SELECT * FROM mine ORDER BY 1")
    assert cursor.fetchall() == [("f", 2), ("m", 1)]
    assert cursor.pods == ("north", "south")
    kept = con.execute("CREATE TABLE scratch.more AS SELECT sex FROM visits")
    assert (kept.rowcount, kept.pods) == (3, ("north", "south"))


def test_nothing_but_own_tables_is_changed_and_no_pod_is_read(con):
    con.execute("CREATE TABLE scratch.own (x VARCHAR UNIQUE)")
    assert code_of(con, "DELETE FROM visits") == "STATEMENT"
    assert code_of(con, "INSERT INTO main.visits VALUES (1)") == "STATEMENT"
    assert code_of(con, "UPDATE nothing SET x = 1") == "STATEMENT"
    assert code_of(con, "CREATE TABLE own2 (x INTEGER)") == "STATEMENT"
    assert code_of(con, "CREATE TABLE scratch.visits (x INTEGER)") == "CONFLICT"
    assert code_of(con, "CREATE TABLE scratch.own (x INTEGER)") == "CONFLICT"
    assert code_of(con, "INSERT INTO scratch.own SELECT sex FROM visits") == "UNKNOWN_TABLE"
    assert code_of(con, "INSERT INTO scratch.own VALUES ('a') RETURNING x") == "STATEMENT"
    assert code_of(con, "SELECT * FROM scratch.own JOIN visits ON x = sex") == "NOT_SUPPORTED"
    assert con.execute("SELECT count(*) FROM scratch.own").fetchall() == [(0,)]


def test_no_file_is_reached_from_scratch(con, tmp_path):
    con.execute("CREATE TABLE scratch.own (x VARCHAR)")
    place = tmp_path / "secret.csv"
    place.write_text("x\n1\n")
    assert code_of(con, f"INSERT INTO scratch.own SELECT * FROM read_csv('{place}')") != "INTERNAL"
    assert con.execute("SELECT count(*) FROM scratch.own").fetchall() == [(0,)]


def test_an_error_names_no_value(con):
    con.execute("CREATE TABLE scratch.own (x INTEGER UNIQUE)")
    con.execute("INSERT INTO scratch.own VALUES (4711)")
    for sql in (
        "INSERT INTO scratch.own VALUES (4711)",
        "INSERT INTO scratch.own VALUES ('canary')",
        "INSERT INTO scratch.own VALUES (4711, 4711)",
    ):
        with pytest.raises(podsql.Error) as caught:
            con.execute(sql)
        assert "4711" not in str(caught.value)
        assert "canary" not in str(caught.value)
    assert code_of(con, "INSERT INTO scratch.own VALUES (4711)") == "DATA"
