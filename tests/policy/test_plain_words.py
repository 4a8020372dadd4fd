"""Plain words and findings: every clause of a document is heard, and the presets say what they do."""

import msgspec
import pytest

from podsql.policy.document import CLAUSES, PRESETS, Policy, load_preset, parse_policy
from podsql.policy.plain_words import plain_words
from podsql.policy.review import review

FULL = """
version = 1
name = "full"
text = "all of it"
people = {ana = "*"}
orgs = ["uni"]
roles = ["analyst"]
purposes = ["cancer"]
projects = ["p1"]
services = ["ps1aaaaaaaaaaaaaaaaaaaa"]
allow = ["select", "intersect", "networks"]
networks = {min_units = 50, rounds = 60, weights = 70}
intersect = {answer = "rows", max_candidates = 8, candidates_per_day = 9}
release = "sdc_local"
valid = {from = 2026-01-01, until = 2026-12-31}
joins = {condition = "JOIN_REQUIRED", pairs = [["a.x", "b.y"]], types = ["inner"], kinds = ["psi_count"], psi_keys = 5}
functions = {scalar = ["abs"], aggregates = ["count"], factors = 1}
filters = {literal = ["a.x"], column = ["a.x"], max_predicates = 3}
limits = {seconds = 9, memory_mb = 8, rows_scanned = 7, queries_per_day = 6, sql_bytes = 5, depth = 4}
[output]
min_units = 12
zero_cells = "hide"
round_base = 5
p_percent = 10
nk = [2, 90]
min_dof = 10
extremes = "deny"
quantile = "binned"
group_levels = 40
overlap_guard = 10
caps = {per_day = 3, total = 9}
complement = true
max_rows = 99
[dp]
epsilon_per_query = 0.5
epsilon_budget = 3
epsilon_total = 8
delta = 1e-6
per = ["purpose"]
period = "year"
max_groups_contributed = 3
max_rows_contributed = 2
noise = "opendp"
[tables.visit]
allow = ["select"]
release = "rows"
rows = ["age"]
privacy_unit = "id"
public = false
[tables.visit.columns.age]
roles = ["measure"]
aggregates = ["sum"]
bounds = [0, 120]
bin = 5
values = [1, 2]
max_distinct = 7
magnitude = true
"""
SILENT = {"name", "text"}
"""Of the document itself: what it is called and what its author says of it."""
OTHER = {
    "people": {"bob": "*"},
    "allow": ("train",),
    "release": "dp",
    "condition": "JOIN_NOT_REQUIRED",
    "scalar": "safe-v1",
    "zero_cells": "show",
    "extremes": "allow",
    "answer": "count",
    "quantile": "exact",
    "period": "month",
    "noise": "python",
    "roles": ("modeller",),
    "types": ("left",),
    "public": True,
    "complement": False,
    "magnitude": False,
    "per": ("project",),
    "nk": (3, 80.0),
    "bounds": (1.0, 2.0),
    "values": ("x",),
    "caps": None,
    "from": "2026-02-02",
    "until": "2026-11-11",
    "delta": 0.25,
    "pairs": (("c.x", "d.y"),),
    "kinds": ("co_located", "psi_count"),
}
COLUMN_ROLES = ("filter",)


def leaves(tree, path=()):
    """Every clause of a document that holds no other."""
    for name, value in tree.items():
        at = (*path, name)
        if isinstance(value, dict) and name not in ("people",):
            yield from leaves(value, at)
        else:
            yield at


def changed(tree, path):
    tree = msgspec.json.decode(msgspec.json.encode(tree))
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    name = path[-1]
    if name == "roles" and "columns" in path:
        inner[name] = COLUMN_ROLES
    elif name in OTHER:
        inner[name] = OTHER[name]
    elif isinstance(inner[name], list):
        inner[name] = ["another"]
    else:
        inner[name] = inner[name] + 1 if not isinstance(inner[name], str) else "another"
    return tree


TREE = msgspec.to_builtins(parse_policy(FULL.encode()))


@pytest.mark.parametrize("path", [p for p in leaves(TREE) if p != ("version",)], ids=".".join)
def test_every_clause_changes_a_sentence(path):
    before = plain_words(msgspec.convert(TREE, Policy))
    after = plain_words(msgspec.convert(changed(TREE, path), Policy))
    assert (before == after) == (path[-1] in SILENT and len(path) == 1)


def test_the_document_above_has_every_clause_there_is():
    named = {step for path in leaves(TREE) for step in path}
    known = {name for kind in CLAUSES for name in kind.__struct_encode_fields__}
    assert known <= named


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_told_in_words_and_reviewed(preset):
    policy = load_preset(preset)
    assert plain_words(policy)
    asked = {finding.check for finding in review(policy)}
    assert all(finding.state != "failed" for finding in review(policy))
    assert {"people", "valid", "purposes", "projects"} <= asked
    if preset in ("strict", "dp"):
        assert not {name for name in asked if name.startswith(("output", "dp"))}
    if preset == "standard":
        assert {"output.complement", "output.overlap_guard", "output.caps"} <= asked


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ('release = "dp"', "dp"),
        ('orgs = ["uni"]', "enforced"),
        ("output = {min_units = 3}", "output.min_units"),
        ('output = {zero_cells = "show"}', "output.zero_cells"),
        ('output = {extremes = "allow"}', "output.extremes"),
        ("dp = {epsilon_per_query = 1, epsilon_budget = 30, delta = 1e-6}", "dp.epsilon_budget"),
        ("dp = {epsilon_per_query = 1, epsilon_budget = 3, delta = 1e-3}", "dp.delta"),
        ("dp = {epsilon_per_query = 1, epsilon_budget = 3, delta = 1e-6}", "dp.epsilon_total"),
        ('tables.t = {columns = {id = {roles = ["entity_key", "measure"]}}}', "tables.t.columns.id.roles"),
        ('tables.t = {columns = {a = {roles = ["measure"]}}}', "tables.t.privacy_unit"),
        ('release = "rows"\ntables.t = {rows = ["*"], columns = {a = {}}}', "tables.t.rows"),
    ],
)  # fmt: skip
def test_what_a_checker_would_ask_is_found(text, check):
    policy = parse_policy(f'version = 1\nname = "x"\n{text}\n'.encode())
    assert check in {finding.check for finding in review(policy)}


def test_a_document_on_totals_says_what_leaves_to_whom():
    head = "version = 1\nname = 'totals'\nrelease = 'sdc_merged'\n"
    policy = parse_policy(f"{head}[output]\nmin_units = 10\noverlap_guard = 12\n".encode())
    said = " ".join(plain_words(policy))
    assert "only counts leave" in said
    assert "at least 12 people stand behind it at all pods together" in said
    assert "up to 6 of each pod" in said
    assert "Medians" not in said
    assert any(found.check == "release" for found in review(policy))
    assert not any(found.check == "output.overlap_guard" for found in review(policy))
