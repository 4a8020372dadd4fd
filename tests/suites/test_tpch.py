"""TPC-H over four pods, spread in two ways: 22 of 22, and what each plan gives away."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
sys.path.insert(0, str(Path(__file__).parent))
from suite import GROUPS_ONLY, TPCH, WITH_ROWS, Suite

from podsql.planner.plan import CLASSES
from podsql.planner.planning import explain, plan

PLANS = Path(__file__).parent / "plans"
STATEMENTS = TPCH["order"].statements()


@pytest.fixture(scope="module")
def suites():
    made = {name: Suite(spread) for name, spread in TPCH.items()}
    yield made
    for suite in made.values():
        suite.close()


def listed(spread, name):
    """The lowest class that is known for a statement."""
    first = (PLANS / f"{spread}_{name}.txt").read_text().splitlines()[0]
    return first.removeprefix("gives away: ")


@pytest.mark.parametrize("classes", [GROUPS_ONLY, WITH_ROWS], ids=["groups", "rows"])
@pytest.mark.parametrize("spread", sorted(TPCH))
def test_every_statement_is_answered_as_by_one_database(suites, spread, classes):
    federation = suites[spread]
    catalog = federation.catalog(classes)
    ended = {}
    for name, sql in STATEMENTS.items():
        verdict, made = federation.judge(sql, catalog)
        ended[name] = verdict
        known = listed(spread, name)
        if known != "public tables only":
            assert made.disclosure in CLASSES[: CLASSES.index(known) + 1], name
        else:
            assert made.disclosure is None, name
    assert set(ended.values()) == {"equal"}, ended
    assert len(ended) == 22


@pytest.mark.parametrize("name", sorted(STATEMENTS))
@pytest.mark.parametrize("spread", sorted(TPCH))
def test_the_plan_is_the_recorded_one(suites, spread, name):
    catalog = suites[spread].catalog(GROUPS_ONLY)
    found = explain(plan(STATEMENTS[name], catalog), catalog) + "\n"
    path = PLANS / f"{spread}_{name}.txt"
    if os.environ.get("PODSQL_REWRITE_PLANS"):
        path.write_text(found)
    assert found == path.read_text()
