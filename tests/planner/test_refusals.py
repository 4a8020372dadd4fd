"""Refusals: a stable code, the reason, and what to write or declare instead."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
from splits import build

from podsql.errors import Error
from podsql.planner.planning import plan

REFUSALS = [
    ("SELECT count(* FROM visits", "SYNTAX", "line 1", "cannot be read"),
    ("SELECT 1; SELECT 2", "MULTI_STATEMENT", "2 statements", "one by one"),
    ("DELETE FROM visits", "STATEMENT", "only a SELECT", "by itself"),
    ("SELECT sum(x) FROM visit", "UNKNOWN_TABLE", "no table 'visit'", "'visits'"),
    ("SELECT nope FROM visits", "UNKNOWN_COLUMN", "nope", ""),
    ("SELECT median(w) FROM visits", "NOT_EXACT", "median cannot be merged", "avg"),
    ("SELECT any_value(sex) FROM visits", "NOT_EXACT", "not determined", "min or max"),
    ("SELECT count(DISTINCT sex) FROM visits", "NOT_EXACT", "two pods", "local key"),
    ("SELECT avg(d) FROM visits", "NOT_EXACT", "avg of a date", "epoch"),
    (
        "SELECT count(*) FROM visits JOIN labs ON visits.age = labs.id",
        "NOT_LOCAL",
        "rows of two pods",
        "'id'",
    ),
    (
        "SELECT count(*) FROM codes c LEFT JOIN visits v ON v.code = c.code",
        "NOT_LOCAL",
        "preserved side",
        "start from the federated table",
    ),
    (
        "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM a) SELECT x FROM a",
        "NOT_SUPPORTED",
        "recursive WITH",
        "",
    ),
    (
        "SELECT reservoir_quantile(w, 0.5) FROM visits",
        "NOT_EXACT",
        "sampling is not deterministic",
        "",
    ),
    (
        "SELECT count(*) FROM (SELECT id FROM visits UNION SELECT id FROM labs)",
        "NOT_LOCAL",
        "a subquery is not local",
        "group it by a local key",
    ),
    ("SELECT count(*) FROM visits WITH (nope = 1)", "OPTION", "'nope'", "allow_partial"),
]


@pytest.fixture(scope="module")
def catalog():
    federation = build("random", seed=1, size=4, classes=("additive", "moments"))
    federation.close()
    return federation.catalog


@pytest.mark.parametrize(("sql", "code", "reason", "hint"), REFUSALS)
def test_a_refusal_has_its_code_its_reason_and_a_hint(sql, code, reason, hint, catalog):
    with pytest.raises(Error) as refusal:
        plan(sql, catalog)
    assert refusal.value.code == code
    assert reason in refusal.value.message
    assert hint in refusal.value.hint


def test_a_refusal_never_repeats_a_literal_of_the_statement(catalog):
    with pytest.raises(Error) as refusal:
        plan("SELECT sum('s3cr3t' || sex) FROM visits WHERE median(age) > 1", catalog)
    assert "s3cr3t" not in str(refusal.value)
