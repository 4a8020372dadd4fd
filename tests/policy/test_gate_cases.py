"""The adversarial list under the policy P10, and forms of it that must not change a verdict."""

from pathlib import Path
from typing import get_args

import pytest
from sqlglot import exp

from podsql.errors import PolicyError
from podsql.planner.fragment import Column, Rows
from podsql.policy.denial import DENIED_TEXT, Denial, Reason

CASES = [
    line.split("|", 2)
    for line in (Path(__file__).parent / "cases" / "p10.txt").read_text().splitlines()
    if not line.startswith("#")
]
ALL = [pytest.param(verdict, sql, id=name) for name, verdict, sql in CASES]
STYLES = ["comments", "trailing comment", "line breaks", "double colon"]


def upper(node):
    if isinstance(node, exp.Identifier) and not node.quoted:
        return exp.to_identifier(node.name.upper(), quoted=False)
    return node


def quoted(node):
    return exp.to_identifier(node.name, quoted=True) if isinstance(node, exp.Identifier) else node


def verdict_of(judge, fragment):
    try:
        found = judge(fragment)
    except Denial as denial:
        # Neither the analyst's text nor the custodian's reason holds anything of the statement.
        words = (denial.code, denial.message, denial.reason in get_args(Reason))
        plain = words == ("DENIED", DENIED_TEXT, True)
        return "DENY" if plain else "told too much"
    return "ALLOW" if found.sql else "no sql"


@pytest.mark.parametrize(("verdict", "sql"), ALL)
def test_the_list_ends_as_written(judge, fragment_of, verdict, sql):
    expected = "DENY" if verdict == "DENY" else "ALLOW"
    assert verdict_of(judge, fragment_of(sql)) == expected


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("verdict", "sql"), ALL)
def test_spelling_does_not_change_a_verdict(judge, fragment_of, verdict, sql, style):
    expected = "DENY" if verdict == "DENY" else "ALLOW"
    assert verdict_of(judge, fragment_of(sql, style=style)) == expected


@pytest.mark.parametrize("rename", [upper, quoted])
@pytest.mark.parametrize(("verdict", "sql"), ALL)
def test_the_case_and_quotes_of_names_do_not_change_a_verdict(
    judge, fragment_of, verdict, sql, rename
):
    expected = "DENY" if verdict == "DENY" else "ALLOW"
    assert verdict_of(judge, fragment_of(sql, rename=rename)) == expected


@pytest.mark.parametrize(("verdict", "sql"), [case for case in ALL if case.values[0] == "DENY"])
def test_denied_statements_stay_denied_as_a_whole_source(judge, fragment_of, verdict, sql):
    """Attacks 53-57, 63: the text itself, a CTE and a derived table as a fragment's source."""
    for source in (sql, f"FROM ({sql}) AS t", f"FROM site; {sql}", f"FROM site WHERE ({sql}) > 0"):
        with pytest.raises(PolicyError):
            judge(Rows(source=source, columns=(Column(name="c", sql="1", type="INTEGER"),)))
