"""TPC-DS over four pods that share customers and items: most of it from groups alone."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
sys.path.insert(0, str(Path(__file__).parent))
from suite import GROUPS_ONLY, TPCDS, WITH_ROWS, Suite

ROWS_NEEDED = frozenset({"q01", "q30", "q34", "q46", "q68", "q73", "q79", "q81", "q84"})
"""They list single customers."""


@pytest.fixture(scope="module")
def suite():
    made = Suite(TPCDS)
    yield made
    made.close()


def test_every_statement_over_groups_is_equal_or_lists_people(suite):
    catalog = suite.catalog(GROUPS_ONLY)
    ended = {name: suite.judge(sql, catalog)[0] for name, sql in TPCDS.statements().items()}
    wrong = {name: verdict for name, verdict in ended.items() if verdict != "equal"}
    assert set(wrong) == ROWS_NEEDED, wrong
    assert all(verdict.startswith("refused") for verdict in wrong.values()), wrong
    assert len(ended) == 99


def test_those_that_list_people_are_answered_where_rows_leave(suite):
    catalog = suite.catalog(WITH_ROWS)
    statements = TPCDS.statements()
    ended = {name: suite.judge(statements[name], catalog)[0] for name in sorted(ROWS_NEEDED)}
    assert set(ended.values()) == {"equal"}, ended
