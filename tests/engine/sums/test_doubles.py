"""Doubles in cells: their sum is the exact one, rounded once."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from sum_world import World, refused

from podsql.engine.sums.doubles import CELLS, from_cells, to_cells

CHANCE = random.Random(7)


def added(columns):
    """Figures of pods, added cell by cell."""
    cells = zip(*map(to_cells, columns), strict=True)
    return from_cells([sum(one) for one in cells])


def any_double(least, most):
    return CHANCE.choice((-1, 1)) * CHANCE.random() * 2.0 ** CHANCE.uniform(least, most)


def test_sums_are_those_of_fsum_to_the_last_bit():
    for _ in range(300):
        columns = [[any_double(-58, 115) for _ in range(9)] for _ in range(5)]
        wanted = [math.fsum(figures) for figures in zip(*columns, strict=True)]
        assert added(columns) == wanted


def test_figures_that_cancel_leave_the_small_one():
    assert added([[1e33], [2.0**-60], [-1e33]]) == [2.0**-60]
    naive = 1e33 + 2.0**-60 - 1e33
    assert naive != 2.0**-60


def test_what_is_smaller_than_the_quantum_is_rounded_half_to_even():
    for _ in range(300):
        figure = any_double(-130, -100)
        [found] = from_cells(to_cells([figure]))
        assert found == float(Fraction(round(Fraction(figure) * 2**112), 2**112))
    assert from_cells(to_cells([2.0**-113, 3 * 2.0**-113, -(2.0**-113)])) == [0.0, 2.0**-111, 0.0]
    assert from_cells(to_cells([0.0, -0.0, 5e-324])) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(figure):
    assert "nan" not in str(refused("DATA", to_cells, [1.0, figure]))


def test_through_masks_and_what_is_too_large_is_refused():
    world = World(4, parts=((3 * CELLS, 0),), rounds=2)
    columns = {pod: [any_double(-50, 100) for _ in range(3)] for pod in world.names}
    figures = {pod: (10, (to_cells(column),)) for pod, column in columns.items()}
    [part] = world.round(figures).sum.parts
    found = from_cells(part.units())
    assert found == [math.fsum(one) for one in zip(*columns.values(), strict=True)]
    figures["pod00"] = (10, (to_cells([1.0, 2.0**126, 1.0]),))
    opened = world.round(figures)
    assert opened.sum.pods == ("pod01", "pod02", "pod03")
    [(_, fault)] = world.dropped
    assert fault.code == "OVERFLOW"


def test_numpy_would_lose_what_these_keep():
    """So the first test can fail: a plain sum of doubles is not the exact one."""
    column = [any_double(-58, 115) for _ in range(50)]
    assert from_cells(
        [sum(one) for one in zip(*map(to_cells, [[c] for c in column]), strict=True)]
    ) == [math.fsum(column)]
    shuffled = [float(np.sum(CHANCE.sample(column, len(column)))) for _ in range(20)]
    assert len(set(shuffled)) > 1
