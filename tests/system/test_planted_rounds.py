"""Rounds of models at real pods: planted numbers, the overlap guard, caps, designs judged before.

Person 202, who has a cold, is the only one with that birthday. Who plants the numbers of a round need not be honest:
what is asked here no fit would ask.
"""

import time

import pytest
from census import FIGURES, birthday, code_of, end_of, strict, world

from podsql.analyst.training.rounds import Rounds
from podsql.engine.training.fitting import Round
from podsql.errors import Error
from podsql.planner.training.designing import plan_design

TRAINED = (
    ("round_base = 5", "round_base = 0"),
    ('release = "sdc_local"', 'allow = ["select", "train"]\nrelease = "sdc_local"'),
)
TARGET = f"dob = {birthday(202)}"
FLU = "SELECT pay, diag = 'flu' AS flu FROM person"
MARKED = f"SELECT sum(pay) FROM person WHERE diag = 'flu' OR {TARGET}"


def rounds(con, project, select, *asked, targets=()):
    """The sums of each round, over one design; the code where one is not answered."""
    con.project = project
    statement = con.cursor()._new_statement(select, (), None, None)
    merger = con.bench.borrow_merger()
    try:
        statement.deadline = time.monotonic() + 60
        bound = statement.federation.bind(
            statement.purpose, statement.project, deadline=statement.deadline
        )
        design = plan_design(select, targets, bound.training)
        asking = Rounds(statement, merger, bound, design, seconds=60)
        return [asking.sums(one) for one in asked]
    except Error as fault:
        return fault.code
    finally:
        con.bench.return_merger(merger)


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standard")
    document = strict(
        *TRAINED, ("overlap_guard = 10\n", ""), (f"= {FIGURES}\n", "= 100000\n")
    ).replace(f"total = {FIGURES}", "total = 100000")
    with world(folder, document, pods=1) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with world(tmp_path_factory.mktemp("guarded"), strict(*TRAINED), pods=1) as made:
        yield made


PRODUCTS = Round(family="products")


def test_an_honest_model_is_answered_and_a_planted_round_of_it_is_not(standard):
    select = "SELECT score / 100 AS score, pay FROM person"
    honest = [Round(family="gamma", state=(6.0, 0.01 * n)) for n in range(3)]
    assert len(rounds(standard.ana, "case-1a", select, *honest, targets=["pay"])) == 3
    planted = Round(family="gamma", state=(3550.0, -600.0))
    assert rounds(standard.ana, "case-1a", select, *honest, planted, targets=["pay"]) == "WITHHELD"
    assert rounds(standard.ana, "case-1b", select, planted, targets=["pay"]) == "WITHHELD"


def test_a_level_and_a_select_that_differ_in_one_person_are_not_both_answered(guarded):
    ana = guarded.ana
    for project, first in (("case-2a", True), ("case-2b", False)):
        ends = []
        for select in (first, not first):
            if select:
                ends.append(end_of(ana, MARKED, project))
            else:
                found = rounds(ana, project, FLU, PRODUCTS)
                ends.append(found if isinstance(found, str) else "")
        assert ends == ["", "WITHHELD"]


def test_rounds_at_coefficients_are_not_compared_and_so_denied(guarded):
    select = "SELECT pay, score FROM person"
    at = Round(family="poisson", state=(0.1, 0.001))
    assert rounds(guarded.ana, "case-3a", select, at, targets=["pay"]) == "DENIED"


def test_a_design_that_left_is_judged_again_for_another_project(guarded):
    """What one project was shown says nothing of what another was."""
    ana = guarded.ana
    again = [PRODUCTS, PRODUCTS]
    assert len(rounds(ana, "case-4a", FLU, *again)) == 2
    assert end_of(ana, MARKED, "case-4b") == ""
    assert rounds(ana, "case-4b", FLU, PRODUCTS) == "WITHHELD"


def test_every_round_counts_against_the_caps(guarded):
    """n, dropped and three products."""
    select = "SELECT pay FROM person"
    many = FIGURES // 5
    assert rounds(guarded.ana, "case-5a", select, *[PRODUCTS] * (many + 1)) == "QUOTA"
    assert len(rounds(guarded.ana, "case-5b", select, *[PRODUCTS] * many)) == many
    assert code_of(guarded.ana, "SELECT count(*), sum(pay) FROM person", "case-5b") == "QUOTA"
