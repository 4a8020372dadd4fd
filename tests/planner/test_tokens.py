"""The scanner and DuckDB's own agree where one statement ends and the next begins."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.planner.tokens import scan, split_statements

SCRIPTS = (
    "SELECT 1;;SELECT 2;",
    "SELECT 'a;b'; SELECT 2",
    "SELECT 'it''s;'; SELECT 2",
    "SELECT E'a\\';b'; SELECT 2",
    "SELECT 'a\\'; SELECT 2",
    "SELECT $$a;b$$; SELECT 2",
    "SELECT $a1$a;$$;b$a1$; SELECT 2",
    "SELECT $é$;$é$; SELECT 3",
    "SELECT 1 /* ; /* ; */ ; */; SELECT 2",
    "SELECT 1 -- ;\n; SELECT 2",
    "SELECT 1 -- ;\r; SELECT 2",
    'SELECT 1 AS "a;""b"; SELECT 2',
    "SELECT 1 WHERE 1>--;\n0",
    "SELECT $1; SELECT 2",
    "SELECT 1 AS a$b$; SELECT 2 AS c$b$",
    "/* x */; SELECT 1",
    "-- nothing",
    "",
)


def duckdb_splits(con, script):
    found = [statement.query for statement in con.extract_statements(script)]
    return [text.strip().rstrip(";").strip() for text in found]


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as made:
        yield made


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_split_where_duckdb_splits_them(script, con):
    assert split_statements(script) == duckdb_splits(con, script)


PIECES = st.sampled_from(
    ("'", "''", '"', "$$", "$t$", ";", "--", "\n", "/*", "*/", "E'", "\\", " SELECT 1 ", "$", "a")
)


@given(st.lists(PIECES, max_size=10))
@settings(max_examples=400, deadline=None)
def test_what_duckdb_reads_is_split_as_duckdb_does(con, pieces):
    script = "SELECT 1 " + "".join(pieces)
    try:
        expected = duckdb_splits(con, script)
    except duckdb.Error:
        return  # it is no script; some statement of it is refused whichever way it is split
    assert len(split_statements(script)) == len(expected)


@given(st.text(st.sampled_from("'\"$;-/*\\ \n")), st.sampled_from(("'", '"', "$$", "/*")))
def test_nothing_after_an_open_string_is_a_statement_of_its_own(before, opening):
    whole = split_statements(f"{before}{opening}; DROP TABLE x")
    tail = [token for token in scan(f"{before}{opening}; DROP TABLE x") if token.kind == "open"]
    assert not tail or whole[-1].endswith("; DROP TABLE x")
