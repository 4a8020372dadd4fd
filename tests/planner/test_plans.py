"""Golden plans: what leaves each pod, as text. PODSQL_REWRITE_PLANS=1 writes them anew."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
from splits import build

from podsql.planner.planning import explain, plan

PLANS = sorted((Path(__file__).parent / "plans").glob("*.sql"))
MARK = "-- plan\n"


@pytest.fixture(scope="module")
def catalog():
    federation = build("random", seed=1, size=4)
    federation.close()
    return federation.catalog


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_plan_of_a_statement_is_the_recorded_one(path, catalog):
    statement, _, expected = path.read_text().partition(MARK)
    found = explain(plan(statement.strip(), catalog), catalog)
    commented = "".join(f"-- {line}\n" for line in found.splitlines())
    if os.environ.get("PODSQL_REWRITE_PLANS"):
        path.write_text(f"{statement.strip()}\n{MARK}{commented}")
        return
    assert commented == expected


def test_plans_are_recorded():
    assert len(PLANS) >= 10


@pytest.mark.parametrize(
    ("sql", "local"),
    [
        ("SELECT _pod, count(*) FROM visits GROUP BY _pod", "k0"),
        ("SELECT sex, id, count(*) FROM visits GROUP BY ALL", "k1"),
        ("SELECT sex, count(*) FROM visits GROUP BY sex", None),
        ("SELECT id + 0, count(*) FROM visits GROUP BY ALL", None),
        ("SELECT code, count(*) FROM codes GROUP BY code", None),
    ],
)
def test_a_plan_names_the_key_that_keeps_a_group_in_one_pod(sql, local, catalog):
    assert plan(sql, catalog).blocks[0].local_key == local
