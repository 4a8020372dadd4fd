"""Cox models of pods equal statsmodels' with the pods as strata and Breslow's ties."""

import numpy as np
import pytest
from statsmodels.duration.hazard_regression import PHReg

from podsql.engine.training.fitted import estimates
from podsql.errors import DataError

STRATA = np.repeat([0, 1, 2], [489, 210, 1])
"""The shares of the federation over 700 rows; the pod without rows is no stratum."""


def draw(seed, ties=None, unit=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(700, 3))
    hazard = np.exp(x @ [0.6, -0.3, 0.0]) * (1 + STRATA)
    time, end = rng.exponential(1 / hazard), rng.exponential(1.0, 700)
    event = (time <= end) * 1.0
    seen = np.minimum(time, end)
    if ties:
        seen = np.ceil(seen * ties) / ties
    return x * unit, seen, event


def columns(x, time, event):
    return {f"x{j}": x[:, j] for j in range(x.shape[1])} | {"time": time, "event": event}


@pytest.mark.parametrize("ties", [None, 20])
def test_a_model_equals_the_stratified_one_of_the_pooled_rows(federate, ties):
    x, time, event = draw(1, ties)
    fitted = federate(columns(x * [1e-3, 1.0, 1e6], time, event)).fit(
        "cox_regression", ["x0", "x1", "x2"], ["time", "event"]
    )
    oracle = PHReg(time, x, status=event, strata=STRATA, ties="breslow")
    oracle = oracle.fit(method="newton", maxiter=100, tol=1e-14, disp=0)
    scale = np.array([1e-3, 1.0, 1e6])
    rows = estimates(fitted)
    np.testing.assert_allclose(
        [row.estimate for row in rows] * scale, oracle.params, rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose([row.std_error for row in rows] * scale, oracle.bse, rtol=1e-8)
    np.testing.assert_allclose([row.p_value for row in rows], oracle.pvalues, rtol=1e-7)
    assert fitted.metrics["log_likelihood"] == pytest.approx(oracle.llf, rel=1e-10)
    assert fitted.metrics["events"] == event.sum()


def test_an_earlier_model_saves_rounds(federate):
    pods = federate(columns(*draw(2)))
    first = pods.fit("cox_regression", ["x0", "x1", "x2"], ["time", "event"])
    again = pods.fit(
        "cox_regression",
        ["x0", "x1", "x2"],
        ["time", "event"],
        start=first.parameters.estimates,
    )
    assert again.rounds < first.rounds
    assert again.metrics == pytest.approx(first.metrics, rel=1e-10)


def test_a_penalty_stands_where_its_gradient_is_zero(federate):
    """No package penalises this way at equal scale: the score at the estimate equals l2 times it."""
    x, time, event = draw(3)
    fitted = federate(columns(x, time, event)).fit(
        "cox_regression", ["x0", "x1", "x2"], ["time", "event"], l2=5.0
    )
    slopes = np.array(fitted.parameters.slopes)
    score = PHReg(time, x, status=event, strata=STRATA, ties="breslow").score(slopes)
    np.testing.assert_allclose(score, 5.0 * slopes, atol=1e-8)


def test_a_group_without_events_has_no_estimate(federate):
    x, time, event = draw(4)
    spared = (np.arange(700) % 9 == 0) * 1.0
    pods = federate(columns(x, time, event * (1 - spared)) | {"spared": spared})
    with pytest.raises(DataError) as caught:
        pods.fit("cox_regression", ["x0", "spared"], ["time", "event"])
    assert caught.value.code == "SEPARATION"
    assert "'spared'" in str(caught.value)


def test_columns_that_agree_within_every_pod_are_collinear(federate):
    x, time, event = draw(5)
    pods = federate(columns(x, time, event) | {"twice": 2 * x[:, 1] + STRATA})
    with pytest.raises(DataError) as caught:
        pods.fit("cox_regression", ["x0", "x1", "twice"], ["time", "event"])
    assert caught.value.code == "COLLINEAR"
    assert "'x1'" in str(caught.value)
    assert "'twice'" in str(caught.value)


@pytest.mark.parametrize("event", [np.zeros(700), np.arange(700) == 699])
def test_events_that_compare_nobody(federate, event):
    """None at all; or one, in the pod that has one row."""
    x, time, _ = draw(6)
    with pytest.raises(DataError) as caught:
        federate(columns(x, time, event * 1.0)).fit("cox_regression", ["x0"], ["time", "event"])
    assert caught.value.code == "DATA"
