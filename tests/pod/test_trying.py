"""``podsql policy test``: a statement judged by a policy file, without data."""

import json

import pytest

from podsql.cli.app import run

POLICY = """
version = 1
name = "clinic"
people = {ana = "*"}
purposes = ["audit"]
release = "sdc_local"
[dp]
epsilon_per_query = 0.5
epsilon_budget = 3
delta = 1e-6
[tables.visits.columns]
id = {roles = ["entity_key"]}
age = {roles = ["measure"], bounds = [0, 120]}
ward = {roles = ["dimension", "filter"]}
"""
SCHEMA = """
[tables.visits]
privacy_unit = "id"
[tables.visits.columns]
id = "INTEGER"
age = "integer"
ward = "VARCHAR"
name = "VARCHAR"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "schema.toml").write_text(SCHEMA)
    return tmp_path


def judged(capsys, sql, *more, schema="schema.toml", purpose="audit"):
    arguments = ["policy", "test", "--schema", schema, "--purpose", purpose, "--sql", sql, *more]
    code = run([*arguments, "--json"])
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert code == (0 if part["allow"] else 1)
    return part


def test_an_allowed_statement_shows_what_leaves_and_what_runs(folder, capsys):
    part = judged(capsys, "SELECT ward, avg(age) FROM visits GROUP BY ward")
    assert part["release"] == "sdc_local"
    assert part["min_units"] == 10
    assert "_ok" in part["sql"]
    assert "name" not in part["sql"]


def test_a_price_is_told(folder, capsys):
    part = judged(capsys, "SELECT sum(age) FROM visits WITH (privacy = 'dp')")
    assert part["release"] == "dp"
    assert 0.4 < part["epsilon"] <= 0.5


@pytest.mark.parametrize(
    ("sql", "more", "rule"),
    [
        ("SELECT count(*) FROM visits WHERE age > 3", (), "FILTER_ROLE"),
        ("SELECT ward, count(*) FROM visits WHERE id = 3 GROUP BY ward", (), "FILTER_KEY_LITERAL"),
        ("SELECT name FROM visits", (), "UNKNOWN_COLUMN"),
        ("SELECT ward FROM", (), "SYNTAX"),
        ("SELECT count(*) FROM visits", ("--purpose", "other"), "PURPOSE"),
        ("SELECT count(*) FROM visits", ("--as", "eve"), "PERSON"),
    ],
)
def test_a_refusal_names_its_rule(folder, capsys, sql, more, rule):
    assert judged(capsys, sql, *more)["rule"].startswith(rule)


def test_the_schema_may_be_the_pods_own(folder, capsys):
    (folder / "v.csv").write_text("id,age,ward\n1,30,a\n")
    (folder / "pod.toml").write_text(
        '[tables.visits]\npath = "v.csv"\nprivacy_unit = "id"\n[policy]\nfile = "policy.toml"\n'
    )
    assert judged(capsys, "SELECT count(*) FROM visits", schema="pod.toml")["allow"]


def test_bad_files_are_errors_with_a_code(folder, capsys):
    for text in ("[tables", "[tables.t]\n", '[tables.t.columns]\na = "NOTYPE"\n'):
        (folder / "schema.toml").write_text(text)
        assert run(["policy", "test", "--schema", "schema.toml", "--sql", "SELECT 1"]) == 2
        assert "CONFIG" in capsys.readouterr().err


def test_words_and_findings_print(folder, capsys):
    assert run(["policy", "explain"]) == 0
    assert "Only these people may ask: ana." in capsys.readouterr().out
    assert run(["policy", "check"]) == 0
    assert "output.complement" in capsys.readouterr().out
    (folder / "policy.toml").write_text(POLICY + "\n[tables.visits.columns.x]\nbounds = [3, 1]\n")
    assert run(["policy", "check"]) == 2
