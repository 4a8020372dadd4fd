"""The rounds that are no regression: every sum equals numpy's; wrong states are refused."""

from typing import get_args

import numpy as np
import pytest

from podsql.engine.training.fitting import Round
from podsql.errors import ProgrammingError
from podsql.planner.fragment import Family, ModelStep
from podsql.planner.training.steps import families, write_step


def test_every_family_is_written():
    assert set(families()) == set(get_args(Family))


def test_moments_about_a_centre(federate, design):
    x, y = np.array([5.0, 7.0, 12.0]), np.array([1.0, 2.0, 4.0])
    sums = federate({"x": x, "y": y}).sums(
        Round(family="moments", centre=(7.0,), scale=(2.0,)), design(["x"], ["y"])
    )
    placed = (x - 7) / 2
    assert sums == {
        "n": 3,
        "dropped": 0,
        "s0": placed.sum(),
        "s1": y.sum(),
        "q0": (placed**2).sum(),
        "q1": (y**2).sum(),
    }


def test_classes_count_and_add_what_is_theirs(federate, design):
    rng = np.random.default_rng(1)
    x, flag = rng.normal(size=90), (rng.random(90) < 0.5) * 1.0
    which = np.sort(rng.integers(0, 3, 90))
    targets = {f"y{c}": (which == c) * 1.0 for c in range(3)}
    model = design(["x", "flag"], list(targets), indicators=["flag", *targets])
    sums = federate({"x": x, "flag": flag} | targets).sums(Round(family="classes"), model)
    for c in range(3):
        own = which == c
        assert sums[f"n{c}"] == own.sum()
        assert sums[f"s{c}_1"] == flag[own].sum()
        assert sums[f"s{c}_0"] == pytest.approx(x[own].sum())
        assert sums[f"q{c}_0"] == pytest.approx((x[own] ** 2).sum())


def test_a_row_of_no_class_or_of_two_is_no_row_of_classes(federate, design):
    model = design(["x"], ["a", "b"])
    for a, b in [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)]:
        pods = federate({"x": [1.0, 2.0], "a": [1.0, a], "b": [0.0, b]})
        with pytest.raises(AssertionError, match="does not take"):
            pods.sums(Round(family="classes"), model)


@pytest.mark.parametrize(
    ("family", "targets", "state"),
    [
        ("kmeans", [], ()),
        ("kmeans", [], (1.0, 2.0, 3.0)),
        ("classes", [], ()),
        ("classes", ["a", "b"], (1.0,)),
        ("score_classes", ["a"], (0.0,) * 5),
        ("score_classes", ["a", "b"], (0.0,) * 9),
        ("hits", ["a", "b"], (0.0,) * 10),
        ("hits", ["a", "b"], (2.0, *(0.0,) * 10)),
        ("hits", ["a", "b"], (0.5, *(0.0,) * 10)),
        ("cox", ["a"], (0.0, 0.0)),
        ("cox", ["a", "b"], (0.0,)),
        ("cox", ["a", "b"], ()),
        ("cox", ["a", "b"], (0.0, float("nan"))),
    ],
)
def test_states_of_another_shape(design, family, targets, state):
    model = design(["x", "z"], targets)
    step = ModelStep(
        family=family, source="FROM t", features=model.features, targets=model.targets, state=state
    )
    with pytest.raises(ProgrammingError) as caught:
        write_step(step, "rows")
    assert caught.value.code == "MODEL_STATE"
