"""A fit that is restored at any round goes on bit for bit."""

import numpy as np
import pytest

from podsql.engine.training.registry import begin, decode_snapshot, encode_snapshot, models
from podsql.errors import ProgrammingError

FITS = {
    "linear_regression": (["a", "b"], ["y"], {}),
    "ridge_regression": (["a", "b"], ["y"], {"l2": 2.0}),
    "logistic_regression": (["a", "b"], ["late"], {"l2": 0.1}),
    "poisson_regression": (["a", "b"], ["count"], {}),
    "gamma_regression": (["a", "b"], ["time"], {}),
    "cox_regression": (["a", "b"], ["time", "late"], {}),
    "kmeans": (["a", "b"], [], {"clusters": 3}),
    "pca": (["a", "b"], [], {}),
    "naive_bayes": (["a", "b"], ["late", "on_time"], {}),
}


@pytest.fixture
def pods(federate):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=300), rng.normal(size=300) + 5
    late = (rng.random(300) < 0.4) * 1.0
    return federate(
        {
            "a": a,
            "b": b,
            "y": a + rng.normal(size=300),
            "late": late,
            "on_time": 1 - late,
            "count": rng.poisson(np.exp(a / 2)) * 1.0,
            "time": rng.gamma(2.0, np.exp(a / 2)),
        }
    )


def test_every_kind_of_model_is_tried():
    assert list(FITS) == [one.name for one in models()]


@pytest.mark.parametrize("method", FITS)
def test_a_restored_fit_is_the_same_fit(pods, design, method):
    features, targets, options = FITS[method]
    model = design(features, targets)
    fitting = begin(method, model, options)
    taken = []
    while (asked := fitting.next_round()) is not None:
        taken.append((encode_snapshot(fitting.snapshot()), asked, pods.sums(asked, model)))
        fitting.take(taken[-1][2])
    last = fitting.progress
    assert last.rounds == len(taken)
    for start, (checkpoint, _, _) in enumerate(taken):
        again = begin(method, model, options)
        again.restore(decode_snapshot(checkpoint))
        for _, asked, sums in taken[start:]:
            assert again.next_round() == asked
            again.take(sums)
        assert again.next_round() is None
        assert again.result() == fitting.result()
        assert again.progress == last


def test_a_result_comes_after_the_last_round_and_no_sums_do(pods, design):
    model = design(["a"], ["y"])
    fitting = begin("linear_regression", model)
    with pytest.raises(ProgrammingError, match="not finished"):
        fitting.result()
    pods.run(fitting, model)
    with pytest.raises(ProgrammingError, match="no round to take"):
        fitting.take({})
