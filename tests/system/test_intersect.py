"""Scenario A14: the analyst's own table against a pod's, and nothing else of it."""

import json
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pytest

import podsql
from podsql.analyst import intersecting
from podsql.cli.app import run
from podsql.engine.psi.points import POINT_BYTES, multiply_points, new_secret
from podsql.engine.psi.ring import in_order
from podsql.errors import Error
from podsql.policy.audit import lines as lines_of

POLICY = """
version = 1
name = "psi"
people = "*"
[output]
min_units = {least}
{more}
[intersect]
answer = "{answer}"
{rules}
[tables.psi_demo]
allow = ["intersect"]
[tables.psi_demo.columns]
col1 = {{roles = ["entity_key", "join_key"]}}
[tables.people]
allow = ["intersect"]
[tables.people.columns]
name = {{roles = ["entity_key", "join_key"]}}
"""


def demo(numbers):
    return {
        "psi_demo": pa.table({"col1": list(numbers)}),
        "people": pa.table({"name": [f"Zo\u00eb {n}" for n in numbers]}),
    }


@contextmanager
def serving(tmp_path, *, least=1, answer="rows", more="", rules="", **pods):
    tables = {pod: demo(found) for pod, found in pods.items()}
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(least=least, answer=answer, more=more, rules=rules))
    with podsql.local(tables, policy=path, isolation="thread") as federation:
        yield federation


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("a14"), north=[1, 3, 5, 7, 9]) as found:
        yield found


MINE = pa.table({"col1": [3, 4, 5, 6, 7], "note": list("abcde")})


def refusal(act):
    with pytest.raises(Error) as caught:
        act()
    return caught.value


def test_a14_three_rows_match_and_no_other_key_is_told(federation):
    con = federation.connect()
    rows = con.intersect(MINE, "psi_demo", key="col1", mode="rows")
    assert rows.to_pydict() == {"col1": [3, 5, 7], "note": ["a", "c", "e"]}
    assert con.intersect(MINE, "north.main.psi_demo", key="col1") == 3
    fault = refusal(lambda: con.execute("SELECT count(*) FROM psi_demo"))
    assert fault.code == "UNKNOWN_TABLE"
    entry = [line.entry for line in lines_of(federation.pods["north"].place / "audit.jsonl")][-1]
    assert (entry.decision, entry.brought, entry.met, entry.rows) == ("allow", 5, 5, 1)
    assert entry.tables == ("main.psi_demo",)
    assert entry.statement == "INTERSECT: how many of 5 keys are in main.psi_demo.col1"


def test_own_keys_may_be_spelled_repeated_missing_and_of_another_width(federation):
    con = federation.connect()
    mine = pd.DataFrame({"who": ["Zoe\u0308 3", "Zo\u00eb 3", None, "zo\u00eb 5", "Zo\u00eb 9"]})
    rows = con.intersect(mine, "people", key="name", own_key="who", mode="rows")
    assert rows["who"].to_pylist() == ["Zoe\u0308 3", "Zo\u00eb 3", "Zo\u00eb 9"]
    small = pa.table({"k": pa.array([7, 7, 8], pa.uint8())})
    assert con.intersect(small, "psi_demo", key="col1", own_key="k") == 1


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"name": "nothing", "key": "col1"}, "UNKNOWN_TABLE"),
        ({"name": "south.main.psi_demo", "key": "col1"}, "UNKNOWN_TABLE"),
        ({"name": "psi_demo", "key": "other", "own_key": "col1"}, "UNKNOWN_COLUMN"),
        ({"name": "people", "key": "name", "own_key": "col1"}, "ARGUMENT"),
        ({"name": "psi_demo", "key": "col1", "own_key": "other"}, "ARGUMENT"),
        ({"name": "psi_demo", "key": "col1", "mode": "all"}, "ARGUMENT"),
    ],
)
def test_what_cannot_be_met_is_refused_by_name(given, code, federation):
    assert refusal(lambda: federation.connect().intersect(MINE, **given)).code == code


def test_rows_of_several_pods_but_no_sum_of_their_counts(tmp_path):
    with serving(tmp_path, north=[1, 3], south=[3, 4]) as federation:
        con = federation.connect()
        rows = con.intersect(MINE, "psi_demo", key="col1", mode="rows")
        assert rows["col1"].to_pylist() == [3, 4]
        fault = refusal(lambda: con.intersect(MINE, "psi_demo", key="col1"))
        assert (fault.code, "north.main.psi_demo" in fault.hint) == ("NOT_EXACT", True)
        assert con.intersect(MINE, "south.main.psi_demo", key="col1") == 2


def test_small_matches_are_withheld_and_rows_are_told_only_where_the_policy_says_so(tmp_path):
    mine = pa.table({"col1": range(95, 200)})
    with serving(tmp_path, least=10, answer="count", north=range(100)) as federation:
        con = federation.connect()
        fault = refusal(lambda: con.intersect(mine, "psi_demo", key="col1"))
        assert fault.code == "WITHHELD"
        assert con.intersect(pa.table({"col1": range(80, 99)}), "psi_demo", key="col1") == 19
        # Few candidates are a question about each of them, and rows were not granted.
        few = pa.table({"col1": range(9)})
        assert refusal(lambda: con.intersect(few, "psi_demo", key="col1")).code == "DENIED"
        fault = refusal(lambda: con.intersect(mine, "psi_demo", key="col1", mode="rows"))
        assert fault.code == "DENIED"
        reasons = [
            line.entry.reason for line in lines_of(federation.pods["north"].place / "audit.jsonl")
        ]
        assert {"FEW_KEYS", "PSI_PROBE", "ROW_LEVEL"} <= set(reasons)


def test_keys_of_a_day_are_counted(tmp_path):
    rules = "max_candidates = 8\ncandidates_per_day = 12"
    with serving(tmp_path, rules=rules, north=range(9)) as federation:
        con = federation.connect()
        assert con.intersect(MINE, "psi_demo", key="col1") == 5
        assert con.intersect(MINE, "psi_demo", key="col1") == 5
        assert refusal(lambda: con.intersect(MINE, "psi_demo", key="col1")).code == "QUOTA"
        many = pa.table({"col1": range(9)})
        assert refusal(lambda: con.intersect(many, "psi_demo", key="col1")).code == "DENIED"


def test_answers_are_figures_of_a_cap(tmp_path):
    with serving(tmp_path, more="caps = {per_day = 1, total = 1}", north=range(9)) as federation:
        con = federation.connect()
        con.intersect(MINE, "psi_demo", key="col1")
        assert refusal(lambda: con.intersect(MINE, "psi_demo", key="col1")).code == "QUOTA"


CHEATS = {
    "a key of the pod left out": lambda found: found[POINT_BYTES:],
    "a key twice": lambda found: found[:POINT_BYTES] + found[:-POINT_BYTES],
    "no points": lambda found: bytes(len(found)),
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
def test_an_analyst_who_cheats_gets_no_answer(cheat, federation, monkeypatch):
    monkeypatch.setattr(intersecting, "in_order", lambda parts: cheat(in_order(parts)))
    con = federation.connect()
    assert refusal(lambda: con.intersect(MINE, "psi_demo", key="col1")).code == "BAD_MESSAGE"


def test_an_analyst_who_multiplies_by_two_secrets_is_found_out(federation, monkeypatch):
    other = new_secret()

    def cheat(secret, found):
        half = len(found) // 2
        return multiply_points(secret, found[:half]) + multiply_points(other, found[half:])

    monkeypatch.setattr(intersecting, "multiply_points", cheat)
    con = federation.connect()
    assert refusal(lambda: con.intersect(MINE, "psi_demo", key="col1")).code == "BAD_MESSAGE"


def test_the_command_line_prints_the_number_or_the_rows(federation, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("podsql.driver.connect", lambda *_, **__: federation.connect())
    mine = tmp_path / "mine.csv"
    mine.write_text("id,note\n1,a\n2,b\n3,c\n")
    given = ["intersect", str(mine), "psi_demo", "--key", "col1", "--own-key", "id"]
    assert run(given) == 0
    assert capsys.readouterr().out == "2\n"
    assert run([*given, "--rows", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"id": 1, "note": "a"}, {"id": 3, "note": "c"}]


def test_large_lists_travel_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("podsql.engine.psi.ring.PART_POINTS", 64)
    with serving(tmp_path, north=range(0, 600, 2)) as federation:
        con = federation.connect()
        mine = pa.table({"col1": range(300)})
        assert con.intersect(mine, "psi_demo", key="col1") == 150
        rows = con.intersect(mine, "psi_demo", key="col1", mode="rows")
        assert rows["col1"].to_pylist() == list(range(0, 300, 2))
