"""Costs and caps, against the exact zCDP conversion over a fine grid of real orders."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.policy.ledger.cost import NOTHING, ORDERS, Cost, cap_of, epsilon_of, rho_for, zcdp_cost


def exact_epsilon(rho, delta):
    """Canonne, Kamath & Steinke 2020, Proposition 12, minimised over real orders."""
    orders = [*ORDERS, *(1 + 10 ** (n / 500) for n in range(-1500, 2500))]
    return min(a * rho + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a in orders)


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
def test_epsilon_is_never_understated_and_close_to_the_exact_one(rho):
    # Half of delta is set aside for thresholds.
    ours = epsilon_of(zcdp_cost(Fraction(rho).limit_denominator(10**6)), 2e-6)
    exact = exact_epsilon(rho, 1e-6)
    assert exact <= ours <= 1.1 * exact


@pytest.mark.parametrize(
    ("rho", "epsilon"), [(0.05, 1.47), (0.1, 2.14), (0.2, 3.13), (0.5, 5.22), (1, 7.77)]
)
def test_published_conversions_bound_ours_from_below(rho, epsilon):
    assert (
        epsilon * 0.99
        <= epsilon_of(zcdp_cost(Fraction(rho).limit_denominator(100)), 2e-6)
        <= epsilon * 1.1
    )


@given(st.floats(0.01, 20), st.floats(1e-12, 1e-3))
def test_the_largest_rho_fits_and_the_next_does_not(epsilon, delta):
    rho = rho_for(epsilon, delta)
    cap = cap_of(epsilon, delta)
    assert cap.admits(zcdp_cost(rho)) or rho == 0
    assert not cap.admits(zcdp_cost(rho + Fraction(1, 10**9)))
    if rho:
        assert exact_epsilon(float(rho), delta / 2) <= epsilon


@given(st.lists(st.fractions(0, 1), max_size=20))
def test_costs_add_exactly_and_round_up(rhos):
    total = NOTHING
    for rho in rhos:
        total = total + zcdp_cost(rho)
    for order, spent in zip(ORDERS, total.renyi, strict=True):
        assert spent >= sum(rhos) * Fraction(order) * 10**9
        assert spent <= sum(rhos) * Fraction(order) * 10**9 + len(rhos)


def test_delta_is_spent_too():
    cap = cap_of(1.0, 1e-6)
    assert cap.admits(Cost(NOTHING.renyi, cap.delta))
    assert not cap.admits(Cost(NOTHING.renyi, cap.delta + 1))
    assert epsilon_of(Cost(NOTHING.renyi, cap.delta + 1), 1e-6) == math.inf
