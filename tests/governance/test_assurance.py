"""The packaged list of cases names tests that exist, and says nothing that no test stands for."""

import ast
import re
from functools import cache
from pathlib import Path

import podsql
from podsql.governance.assurance import Case, Run, assurance, cases, last_run

ROOT = Path(__file__).resolve().parents[2]


@cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_case_stands_there_once_with_tests_that_exist():
    listed = cases()
    assert [case.number for case in listed] == list(range(1, 36))
    for case in listed:
        assert bool(case.tests) != bool(case.later), case.number
        for test in case.tests:
            path, _, name = test.partition("::")
            assert name in functions_of(path), test


def test_every_numbered_test_of_a_case_is_named():
    named = {case.number: set(case.tests) for case in cases()}
    path = "tests/system/test_sequences.py"
    for name in functions_of(path):
        for number in re.findall(r"case_(\d+)", name):
            assert f"{path}::{name}" in named[int(number)]


def test_the_packaged_run_is_of_this_version_and_of_every_test_named():
    run = last_run()
    assert run is not None
    assert run.version == podsql.__version__
    assert set(run.outcomes) == {test for case in cases() for test in case.tests}


CASE = Case(number=1, attack="a", expected="b", tests=("t::one", "t::two"))
LATER = Case(number=2, attack="a", expected="b", later="not built")


def state(outcomes, version="1"):
    run = Run(
        version=version, day="2026-01-01", python="3", platform="x", libraries={}, outcomes=outcomes
    )
    return [case.state for case in assurance("1", (CASE, LATER), run).cases]


def test_a_case_holds_only_if_each_of_its_tests_passed_in_this_version():
    both = {"t::one": "passed", "t::two": "passed"}
    assert state(both) == ["held", "later"]
    assert state({"t::one": "passed"}) == ["not run", "later"]
    assert state({**both, "t::two": "skipped"}) == ["not run", "later"]
    assert state({**both, "t::two": "failed"}) == ["failed", "later"]
    assert state(both, version="0.9") == ["not run", "later"]
    assert [c.state for c in assurance("1", (CASE,), None).cases] == ["not run"]
