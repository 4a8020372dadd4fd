"""Noise against its exact distribution; planted faults must be caught by the same tests."""

import math
import os
import random
import sys
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from audit import epsilon_floor

from podsql.errors import Error
from podsql.policy.ledger.cost import rho_for
from podsql.policy.noise.backend import OpenDpNoise, PythonNoise, choose_backend
from podsql.policy.noise.sampler import discrete_gaussian, discrete_laplace
from podsql.policy.noise.tails import half_width, threshold, upper_tail

BACKENDS = [pytest.param(OpenDpNoise(), id="opendp"), pytest.param(PythonNoise(), id="python")]
DRAWS = 20_000
BIG = bool(os.environ.get("PODSQL_BIG"))
AUDIT = 200_000 if BIG else 30_000
FAULTY = AUDIT if BIG else 5_000
"""A fault shows in fewer draws than what is right is told from."""


def chi_square(draws, sigma):
    """p-value of the fit to the exact probabilities; cells of fewer than 20 expected are joined."""
    reach = math.ceil(12 * sigma)
    weights = {x: math.exp(-x * x / (2 * sigma * sigma)) for x in range(-reach, reach + 1)}
    total = math.fsum(weights.values())
    seen = Counter(draws)
    cells, expected, observed = [], 0.0, 0
    for x in range(-reach, reach + 1):
        expected += weights[x] / total * len(draws)
        observed += seen[x]
        if expected >= 20:
            cells.append((expected, observed))
            expected, observed = 0.0, 0
    last = cells.pop()
    cells.append((last[0] + expected, last[1] + observed))
    statistic = sum((o - e) ** 2 / e for e, o in cells)
    freedom = len(cells) - 1
    # Wilson & Hilferty 1931: the cube root is normal.
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))


def fits(draw, sigma):
    """One retry, as a true mechanism fails once in a million."""
    return any(chi_square(draw(), sigma) > 1e-6 for _ in range(2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(3), Fraction(35, 2)])
def test_draws_have_the_exact_distribution(backend, sigma):
    assert fits(lambda: backend.gaussian([0] * DRAWS, sigma), float(sigma))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scale_that_is_ten_percent_off_is_noticed(backend):
    assert not fits(lambda: backend.gaussian([0] * DRAWS, Fraction(33, 10)), 3.0)
    assert not fits(lambda: [round(random.gauss(0, 3.3)) for _ in range(DRAWS)], 3.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_error_is_that_of_the_discrete_gaussian_at_the_same_cost(backend):
    rho = rho_for(1.0, 1e-6)
    sigma = Fraction(math.isqrt(int(10**12 / (2 * rho))) + 1, 10**6)
    draws = backend.gaussian([1000] * DRAWS, sigma)
    rmse = math.sqrt(sum((value - 1000) ** 2 for value in draws) / len(draws))
    assert rmse <= 1.1 * math.sqrt(1 / (2 * float(rho)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_draws_do_not_follow_one_another_nor_repeat_after_a_fork(backend):
    draws = backend.gaussian([0] * DRAWS, Fraction(50))
    mean = sum(draws) / DRAWS
    product = sum((a - mean) * (b - mean) for a, b in pairwise(draws))
    assert abs(product / sum((a - mean) ** 2 for a in draws)) < 6 / math.sqrt(DRAWS)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr(backend.gaussian([0] * 20, Fraction(1000))).encode())
        os._exit(0)
    mine = repr(backend.gaussian([0] * 20, Fraction(1000))).encode()
    os.waitpid(child, 0)
    assert os.read(read, 4096) != mine
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_noised_is_refused(backend):
    assert backend.gaussian([], Fraction(1)) == []
    assert all(type(value) is int for value in backend.gaussian([2**62, -(2**62)], Fraction(1)))
    for values, scale in (([2**62 + 1], Fraction(1)), ([0], Fraction(0)), ([0], Fraction(1, 100))):
        with pytest.raises(Error):
            backend.gaussian(values, scale)


def test_the_laplace_sampler_has_its_exact_distribution():
    scale = 2.5
    seen = Counter(discrete_laplace(Fraction(5, 2)) for _ in range(DRAWS))
    ratio = math.exp(-1 / scale)
    for x in range(-3, 4):
        expected = DRAWS * (1 - ratio) / (1 + ratio) * ratio ** abs(x)
        assert abs(seen[x] - expected) < 6 * math.sqrt(expected)
    for bad in (discrete_laplace, discrete_gaussian):
        with pytest.raises(ValueError, match="positive"):
            bad(Fraction(0))


def test_tails_bound_what_is_drawn_and_thresholds_are_the_smallest():
    for sigma in (Fraction(1, 2), Fraction(3), Fraction(50)):
        for delta in (1e-2, 1e-6, 1e-12):
            least = threshold(sigma, delta, groups=3)
            assert 3 * upper_tail(sigma, least - 1) <= delta
            assert least == 1 or 3 * upper_tail(sigma, least - 2) > delta
    assert upper_tail(Fraction(3000), 3000) >= 0.5 * math.erfc(1 / math.sqrt(2))
    assert half_width(1.0) == pytest.approx(1.959964, rel=1e-6)


def test_a_key_of_one_unit_shows_as_rarely_as_promised():
    """OpenDP's own threshold mechanism fails this (its issue 2922)."""
    delta, sigma = 1e-2, Fraction(3)
    least = threshold(sigma, delta)
    shown = sum(value >= least for value in OpenDpNoise().gaussian([1] * 100_000, sigma))
    assert shown / 100_000 <= delta + 6 * math.sqrt(delta / 100_000)
    assert shown / 100_000 > delta / 3


# -- the audit, of a one-cell mechanism at epsilon 1 --------------------------------------------

DELTA = 1e-5
RHO = rho_for(1.0, DELTA)
SIGMA = Fraction(math.isqrt(int(10**12 / (2 * RHO))) + 1, 10**6)
NOISE = OpenDpNoise()


def count(values, sensitivity=1):
    """Counts with the noise of a statement whose units add ``sensitivity`` at most."""
    return NOISE.gaussian(values, SIGMA * sensitivity)


def audit(with_unit, without_unit, mechanism=count, draws=FAULTY):
    """The floor of epsilon for true counts with and without one unit."""
    return epsilon_floor(mechanism([with_unit] * draws), mechanism([without_unit] * draws), DELTA)


def test_the_audit_finds_no_violation_and_is_not_blind():
    assert 0.15 < audit(101, 100, draws=AUDIT) <= 1.0


def test_the_audit_catches_missing_contribution_bounds():
    assert audit(100 + 12, 100) > 1.0


def test_the_audit_catches_a_missing_clamp():
    assert audit(100 + 40, 100) > 1.0


def test_the_audit_catches_a_second_draw_for_the_same_charge():
    def many(values):
        draws = [count(values[: 5_000 if BIG else 2_500]) for _ in range(30)]
        return [sum(one) for one in zip(*draws, strict=True)]

    assert audit(101, 100, many) > 1.0


def test_the_audit_catches_noise_scaled_by_the_true_count():
    def scaled(values):
        return NOISE.gaussian([100 * v for v in values], Fraction(values[0] - 99, 1))

    assert audit(110, 100, scaled) > 1.0


def test_the_audit_catches_a_key_shown_without_threshold():
    def shown(values):
        return [v > 0 for v in (count(values) if values[0] else values)]

    assert audit(1, 0, shown) > 1.0


def test_a_missing_backend_is_named():
    assert isinstance(choose_backend("python"), PythonNoise)
    assert isinstance(choose_backend("opendp"), OpenDpNoise)
