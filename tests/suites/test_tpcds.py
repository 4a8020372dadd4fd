"""TPC-DS over four pods that share customers and items: most of it from groups alone."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
sys.path.insert(0, str(Path(__file__).parent))
from suite import GROUPS_ONLY, TPCDS, WITH_ROWS, Suite

ROWS_NEEDED = frozenset({"q01", "q30", "q34", "q46", "q68", "q73", "q79", "q81", "q84"})
"""They list single customers."""
CHOSEN = sorted(TPCDS.statements())[:: 1 if os.environ.get("PODSQL_BIG") else 7]
"""All of them in ``make suites``."""


@pytest.fixture(scope="module")
def suite():
    made = Suite(TPCDS)
    yield made
    made.close()


def test_every_statement_over_groups_is_equal_or_lists_people(suite):
    catalog = suite.catalog(GROUPS_ONLY)
    statements = TPCDS.statements()
    assert len(statements) == 99
    ended = {name: suite.judge(statements[name], catalog)[0] for name in CHOSEN}
    wrong = {name: verdict for name, verdict in ended.items() if verdict != "equal"}
    assert set(wrong) == ROWS_NEEDED & set(CHOSEN), wrong
    assert all(verdict.startswith("refused") for verdict in wrong.values()), wrong


def test_those_that_list_people_are_answered_where_rows_leave(suite):
    catalog = suite.catalog(WITH_ROWS)
    statements = TPCDS.statements()
    ended = {name: suite.judge(statements[name], catalog)[0] for name in sorted(ROWS_NEEDED)}
    assert set(ended.values()) == {"equal"}, ended
