"""Tail probabilities equal scipy's."""

from math import atan, exp, pi, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from podsql.engine.training.tails import chi_squared_tail, normal_two_sided, student_two_sided


@given(st.floats(-35, 35))
def test_normal(z):
    assert normal_two_sided(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


@given(st.floats(0.01, 40), st.floats(1, 10_000))
def test_student(t, freedom):
    """Not nearer to 0: there scipy loses digits of 1 - p."""
    expected = pytest.approx(2 * stats.t.sf(t, freedom), rel=2e-11)
    assert student_two_sided(t, freedom) == student_two_sided(-t, freedom) == expected


def test_student_of_one_degree_is_cauchy_and_of_many_is_normal():
    for t in (1e-9, 0.3, 1.0, 7.0):
        assert student_two_sided(t, 1) == pytest.approx(1 - 2 * atan(t) / pi, rel=1e-13)
    t, freedom = 2.0, 1e7  # the first term of the difference (Abramowitz & Stegun 26.7.5)
    density = exp(-t * t / 2) / sqrt(2 * pi)
    expected = normal_two_sided(t) + 2 * density * (t**3 + t) / (4 * freedom)
    assert student_two_sided(t, freedom) == pytest.approx(expected, rel=1e-9)


@given(st.floats(0, 300), st.integers(1, 40))
def test_chi_squared(value, freedom):
    assert chi_squared_tail(value, freedom) == pytest.approx(
        stats.chi2.sf(value, freedom), rel=1e-11
    )


def test_what_is_no_number_stays_none():
    assert str(student_two_sided(float("nan"), 3)) == "nan"
    assert str(student_two_sided(1.0, 0)) == "nan"
    assert student_two_sided(float("inf"), 3) == 0.0
    assert str(chi_squared_tail(1.0, 0)) == "nan"
