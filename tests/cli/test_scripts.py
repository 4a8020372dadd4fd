"""``podsql sql`` and ``podsql explain`` over a real federation: scripts, files, forms, exit codes."""

import io
import json
import sys

import pyarrow as pa
import pytest

import podsql
from podsql.cli.app import run
from podsql.membership import membership_text
from podsql.relay.keys import save_keys

TABLE = pa.table({"visit_id": [1, 2, 3], "sex": ["f", "m", "f"]})


@pytest.fixture(scope="module")
def membership():
    """A federation in this process, and the files with which a command line belongs to it."""
    with podsql.local({"north": {"visits": TABLE}}, isolation="thread") as federation:
        with federation.connect() as con:
            member = con.federation.membership
        save_keys(member.path.parent / "keys.json", member.keys)
        member.path.write_text(membership_text(member.file))
        yield str(member.path)


@pytest.fixture(autouse=True)
def here(membership, tmp_path, monkeypatch):
    monkeypatch.setenv("PODSQL_FEDERATION", membership)
    monkeypatch.chdir(tmp_path)


def test_a_script_prints_one_result_after_another(capsys):
    script = "CREATE TEMP TABLE x AS SELECT count(*) AS n FROM visits; -- ;\nSELECT n, ';' AS s FROM x;\nSELECT 2 AS two;"
    assert run(["sql", script, "--json"]) == 0
    streams = capsys.readouterr()
    assert [json.loads(line) for line in streams.out.splitlines()] == [
        [{"n": 3, "s": ";"}],
        [{"two": 2}],
    ]
    assert len(streams.err.splitlines()) == 3


def test_a_script_comes_from_a_file_or_from_stdin(capsys, tmp_path, monkeypatch):
    (tmp_path / "query.sql").write_text("SELECT 1 AS one;\nSHOW PODS")
    assert run(["sql", "query.sql"]) == 0
    assert "north" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 1 AS one; SELECT 2 AS two"))
    assert run(["sql", "-", "--json"]) == 0
    assert capsys.readouterr().out == '[{"one": 1}]\n[{"two": 2}]\n'
    assert run(["sql", "missing.sql"]) == 2


def test_a_script_stops_at_the_first_error_and_says_where(capsys, tmp_path):
    script = "SELECT 1 AS one; SELECT nope FROM visits; COPY (SELECT 1) TO 'never.csv'"
    assert run(["sql", script, "--json"]) == 2
    streams = capsys.readouterr()
    assert streams.out == '[{"one": 1}]\n'
    assert "statement 2 of 3:\nUNKNOWN_COLUMN: " in streams.err
    assert not (tmp_path / "never.csv").exists()


def test_one_statement_has_no_number(capsys):
    assert run(["sql", "SELECT nope FROM visits"]) == 2
    assert "statement 1" not in capsys.readouterr().err


def test_a_file_holds_one_result(capsys, tmp_path):
    two = "SELECT 1 AS one; SELECT 2 AS two"
    for more in (["--format", "csv"], ["--format", "parquet"], ["--output", "out"]):
        assert run(["sql", two, *more]) == 2
        assert "COPY" in capsys.readouterr().err
    made = "CREATE TEMP TABLE x AS SELECT 1 AS one; FROM x; DROP TABLE x"
    assert run(["sql", made, "--format", "csv"]) == 0
    assert capsys.readouterr().out == '"one"\n1\n'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["table", "json", "csv"])
@pytest.mark.parametrize(
    "sql", ["SHOW PODS", "SHOW TABLES", "SHOW GRANTS", "DESCRIBE visits", "EXPLAIN SELECT 1"]
)
def test_what_is_shown_has_every_format(sql, form, capsys):
    assert run(["sql", sql, "--format", form]) == 0
    assert capsys.readouterr().out.strip()


def test_a_file_that_exists_is_a_wrong_usage(capsys):
    assert run(["sql", "COPY (SELECT 1 AS one) TO 'a.csv'"]) == 0
    assert run(["sql", "COPY (SELECT 1 AS one) TO 'a.csv'"]) == 2
    assert "FILE_EXISTS" in capsys.readouterr().err


def test_explain_prints_text_data_or_a_picture(capsys):
    statement = "SELECT sex, count(*) FROM visits GROUP BY sex"
    assert run(["explain", statement]) == 0
    assert capsys.readouterr().out.startswith("gives away: additive\nstage1 at north\n")
    for more in (["--json"], ["--format", "json", "--analyze"]):
        assert run(["explain", statement, *more]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["schema"] == "podsql/explain/1"
        assert ("--analyze" in more) == (shown["run"] is not None)
    assert run(["explain", statement, "--format", "svg"]) == 0
    assert capsys.readouterr().out.startswith("<svg ")
    assert run(["explain", "SELECT 1; SELECT 2"]) == 2
