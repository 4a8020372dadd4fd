"""The contract: the answer of one DuckDB over all rows, or a refusal. Wrong answers: none.

Every statement over rows spread at random, and over two more ways to spread them, which take turns;
with ``PODSQL_BIG`` over every one.
"""

import os
import sys
from pathlib import Path

import duckdb
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from splits import SPLITS, build, first_difference

from podsql.errors import Error

STATEMENTS = [
    line
    for line in (Path(__file__).parent / "statements.sql").read_text().splitlines()
    if line and not line.startswith("--")
]
REFUSED_AT_MOST = 3
"""Over every split: a statement that is newly refused shows here."""
TURNS = 1 if os.environ.get("PODSQL_BIG") else 3

PLAIN_REFUSALS = ("NOT_EXACT", "NOT_LOCAL", "NOT_SUPPORTED", "PARSER_DISAGREES")


def check(federation, line, *, also=()):
    """ "equal", "refused" or what is wrong. ``also``: further codes that are plain refusals."""
    ordered = line.startswith("ordered: ")
    sql = line.removeprefix("ordered: ")
    try:
        expected = federation.expected(sql)
    except duckdb.Error as fault:
        expected = fault
    try:
        plan, ours = federation.answer(sql)
    except Error as refusal:
        plain = refusal.code in (*PLAIN_REFUSALS, *also)
        if isinstance(expected, duckdb.Error) or plain:
            return "refused"
        return f"{sql}: {refusal}"
    except duckdb.Error as fault:
        if isinstance(expected, duckdb.Error):
            return "equal"
        return f"{sql}: a pod failed: {fault}"
    if isinstance(expected, duckdb.Error):
        return f"{sql}: one database fails ({expected}), we answer"
    if [(f.name, f.type) for f in plan.columns] != federation.described(sql):
        return f"{sql}: {plan.columns} is described as {federation.described(sql)}"
    wrong = first_difference(ours, expected, ordered=ordered)
    return "equal" if wrong is None else f"{sql}: {wrong}"


@pytest.mark.parametrize("split", SPLITS)
def test_every_statement_is_equal_or_refused_over_every_split(split):
    turns = 1 if split == "random" else TURNS
    statements = STATEMENTS[SPLITS.index(split) % turns :: turns]
    federation = build(split, seed=len(split))
    results = [check(federation, line) for line in statements]
    federation.close()
    wrong = [r for r in results if r not in ("equal", "refused")]
    assert wrong == []
    assert results.count("refused") <= REFUSED_AT_MOST
    assert len(STATEMENTS) >= 120
