"""Fits from noisy sums: without noise the pooled fit, with any noise a finite one, in a fixed number of rounds."""

import numpy as np
import pytest
import statsmodels.api as sm

from podsql.engine.training.describing import described
from podsql.engine.training.fitting import Design
from podsql.engine.training.noisy import Scale, raised
from podsql.engine.training.noisy_kinds import begin_noisy
from podsql.engine.training.registry import decode_snapshot, encode_snapshot, models
from podsql.errors import Error
from podsql.planner.fragment import Feature

RANGES = ((17.0, 90.0), (-5.0, 80.0), (0.0, 1.0), (0.0, 100.0))
FEATURES = (Feature("age", ""), Feature("hours", ""), Feature("self", "", True))


@pytest.fixture(scope="module")
def rows():
    """Raw columns with a constant, the same in the scale of the rounds, a number and a rare condition."""
    chance = np.random.default_rng(4)
    n = 3000
    raw = np.column_stack(
        [np.ones(n), chance.uniform(17, 90, n), chance.uniform(-5, 80, n), chance.random(n) < 0.3]
    )
    scaled = raw.copy()
    for place, (low, high) in enumerate(RANGES[:2], 1):
        scaled[:, place] = (raw[:, place] - (low + high) / 2) / ((high - low) / 2)
    pay = 20 + 0.4 * raw[:, 1] + 0.1 * raw[:, 2] - 5 * raw[:, 3] + chance.normal(0, 4, n)
    eta = -6 + 0.05 * raw[:, 1] + 0.02 * raw[:, 2] + raw[:, 3]
    return raw, scaled, pay, (chance.random(n) < 1 / (1 + np.exp(-eta))).astype(float)


def fit(kind, scaled, y, *, deviation=0.0, seed=0, indicator=False, **options):
    """All rounds, with noise of ``deviation`` in the first and of twice that in the others."""
    target = Feature("y", "", indicator)
    design = Design(features=FEATURES, targets=(target,))
    scale = Scale(ranges=RANGES, deviation=deviation, series=b"s" * 16)
    found = begin_noisy(kind, design, scale, options)
    draw = np.random.default_rng(seed).normal
    asked = 0
    while (wanted := found.next_round()) is not None:
        assert wanted.number == asked
        asked += 1
        if wanted.number:
            score = scaled.T @ (y - 1 / (1 + np.exp(-scaled @ np.array(wanted.state))))
            sums = {f"u{j}": score[j] + draw(0, 2 * deviation) for j in range(4)}
        else:
            whole = (
                scaled
                if kind == "logistic_regression"
                else np.column_stack([scaled, (y - 50) / 50])
            )
            m = whole.T @ whole
            size = len(m)
            sums = {
                f"h{i}_{j}": m[i, j] + draw(0, deviation)
                for i in range(size)
                for j in range(i, size)
            }
        found.take(sums)
        # what is written down after each round is all that the next one needs
        found.restore(decode_snapshot(encode_snapshot(found.snapshot())))
    return found.result(), asked


def test_without_noise_they_are_the_pooled_fits(rows):
    raw, scaled, pay, rare = rows
    linear, asked = fit("linear_regression", scaled, pay)
    pooled = sm.OLS(pay, raw).fit()
    assert asked == 1
    assert np.allclose(linear.parameters.estimates, pooled.params, rtol=1e-9, atol=1e-9)
    assert linear.metrics["deviance"] == pytest.approx(pooled.ssr, rel=1e-7)
    assert linear.n == 3000
    ridge, _ = fit("ridge_regression", scaled, pay, l2=5000.0)
    wanted = np.linalg.solve(raw.T @ raw + np.diag([0, 5000, 5000, 5000]), raw.T @ pay)
    assert np.allclose(ridge.parameters.estimates, wanted, rtol=1e-9)
    logistic, asked = fit("logistic_regression", scaled, rare, indicator=True, rounds=400)
    assert asked == 401
    pooled = sm.Logit(rare, raw).fit(disp=0, tol=1e-12)
    assert np.allclose(logistic.parameters.estimates, pooled.params, rtol=1e-5)
    for model in (linear, ridge, logistic):
        assert {(one.std_error, one.p_value) for one in described(model)} == {(None, None)}


def test_however_much_noise_there_is_the_estimates_are_finite_and_drawn_to_nothing(rows):
    _, scaled, pay, rare = rows
    for deviation in (10.0, 1e3, 1e6):
        for seed in range(10):
            linear, _ = fit("linear_regression", scaled, pay, deviation=deviation, seed=seed)
            logistic, asked = fit(
                "logistic_regression", scaled, rare, deviation=deviation, seed=seed, rounds=10
            )
            assert asked == 11  # no sum ends it earlier
            assert np.all(
                np.isfinite([*linear.parameters.estimates, *logistic.parameters.estimates])
            )
            # in the scale of the rounds: beyond the noise there is nothing to see
            slopes = np.array(linear.parameters.slopes) * np.array(linear.parameters.scale) / 50
            assert np.linalg.norm(slopes) < 20


def test_a_little_noise_moves_the_estimates_a_little(rows):
    raw, scaled, pay, _ = rows
    pooled = sm.OLS(pay, raw).fit().params
    errors = [
        np.abs(
            fit("linear_regression", scaled, pay, deviation=2.0, seed=seed)[0].parameters.estimates
            - pooled
        )
        for seed in range(20)
    ]
    # of sums of about 1000, noise of 2 is 1 part in 500, of half of a range of 100
    assert np.median(errors, axis=0)[1:] * np.array([36.5, 42.5, 1]) == pytest.approx(0, abs=0.6)


def test_eigenvalues_are_raised_to_the_floor_and_no_further():
    values = np.array([-3.0, 0.5, 2.0, 9.0])
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    found = raised(turn @ np.diag(values) @ turn.T, 1.0)
    assert np.allclose(found, turn @ np.diag([1.0, 1.0, 2.0, 9.0]) @ turn.T)


def test_every_kind_is_trained_with_noise_or_refused_with_a_reason():
    design = Design(features=FEATURES, targets=(Feature("y", ""),))
    scale = Scale(ranges=RANGES, deviation=1.0, series=b"")
    others = []
    for kind in models():
        try:
            begin_noisy(kind.name, design, scale, {})
        except Error as fault:
            others.append((kind.name, fault.code, fault.message.partition(": ")[2] != ""))
    kinds = [one.name for one in models()]
    wanted = [one for one in kinds if one not in kinds[:3]]
    assert kinds[:3] == ["linear_regression", "ridge_regression", "logistic_regression"]
    assert others == [(one, "NOT_SUPPORTED", True) for one in wanted]
