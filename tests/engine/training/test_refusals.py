"""A fit that has no estimate ends with a named error, never with a number."""

import numpy as np
import pytest

from podsql.engine.training.information import refuse_collinear
from podsql.engine.training.registry import begin, models
from podsql.errors import DataError, ProgrammingError

SCORED = ("logistic_regression", "poisson_regression", "gamma_regression")


def refused(code, call, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert caught.value.hint
    return str(caught.value)


def test_rows_that_a_column_separates_are_named(federate):
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=600), rng.normal(size=600)
    pods = federate({"x": x * 1e4, "z": z, "y": (x > 0.1) * 1.0})
    text = refused("SEPARATION", pods.fit, "logistic_regression", ["z", "x"], ["y"])
    assert "'x'" in text
    assert "'z'" not in text


def test_a_level_without_the_event_is_named(federate):
    """Quasi-complete: the deviance settles, one coefficient does not."""
    rng = np.random.default_rng(2)
    level, x = (rng.random(3000) < 0.02) * 1.0, rng.normal(size=3000)
    y = (rng.random(3000) < 0.3) * (1 - level)
    pods = federate({"x": x, "level": level, "y": y})
    for method in ("logistic_regression", "poisson_regression"):
        text = refused("SEPARATION", pods.fit, method, ["x", "level"], ["y"])
        assert "'level'" in text
        assert "'x'" not in text


def test_a_penalty_has_an_estimate_where_rows_are_separated(federate):
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(3).normal(size=300)
    fitted = federate({"x": x, "y": (x > 0) * 1.0}).fit("logistic_regression", "x", "y", l2=0.5)
    oracle = LogisticRegression(C=2.0, tol=1e-12, solver="newton-cholesky")
    oracle.fit(x[:, None], x > 0)
    assert fitted.parameters.slopes[0] == pytest.approx(oracle.coef_[0, 0], rel=1e-8)


def test_rare_events_are_not_separation(federate):
    """Five events in 20,000 rows: coefficients run far before they stand."""
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    x = rng.normal(size=20_000)
    level = (rng.random(20_000) < 0.01) * 1.0
    y = np.zeros(20_000)
    y[[5, 77, 4000, 9000]] = 1.0
    y[np.flatnonzero(level)[0]] = 1.0
    fitted = federate({"x": x, "level": level, "y": y}).fit(
        "logistic_regression", ["x", "level"], ["y"]
    )
    design = sm.add_constant(np.column_stack([x, level]))
    oracle = sm.GLM(y, design, family=sm.families.Binomial()).fit(tol=1e-14, maxiter=100)
    np.testing.assert_allclose(fitted.parameters.estimates, oracle.params, rtol=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_targets_of_one_class(federate, value):
    x = np.random.default_rng(5).normal(size=50)
    pods = federate({"x": x, "y": np.full(50, value)})
    refused("SEPARATION", pods.fit, "logistic_regression", ["x"], ["y"])


def test_counts_that_are_all_zero(federate):
    pods = federate({"x": np.arange(50.0), "y": np.zeros(50)})
    refused("SEPARATION", pods.fit, "poisson_regression", ["x"], ["y"])


@pytest.mark.parametrize("method", ["linear_regression", *SCORED])
def test_indicators_of_every_level_are_named(federate, method):
    rng = np.random.default_rng(6)
    level, x = rng.integers(0, 3, 400), rng.normal(size=400)
    columns = {f"is_{one}": (level == one) * 1.0 for one in range(3)}
    y = (rng.random(400) < 0.5) * 1.0 + (method == "gamma_regression")
    pods = federate({**columns, "x": x, "y": y})
    text = refused("COLLINEAR", pods.fit, method, ["x", *columns], ["y"])
    assert all(f"'{one}'" in text for one in columns)
    assert "'x'" not in text


def test_a_penalty_has_an_estimate_for_collinear_columns(federate):
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(7)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    fitted = federate({"a": x, "b": 2 * x, "y": y}).fit("ridge_regression", "ab", "y", l2=2.0)
    oracle = Ridge(alpha=2.0).fit(np.column_stack([x, 2 * x]), y)
    np.testing.assert_allclose(fitted.parameters.slopes, oracle.coef_, rtol=1e-8)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1.7e9 + 0.3, -3e-12])
def test_a_column_of_one_value_is_named(federate, value):
    rng = np.random.default_rng(8)
    pods = federate(
        {"x": rng.normal(size=999), "same": np.full(999, value), "y": rng.normal(size=999)}
    )
    text = refused("COLLINEAR", pods.fit, "linear_regression", ["x", "same"], ["y"])
    assert "'same'" in text
    assert "'x'" not in text


def test_a_thousand_columns_of_thirty_are_counted(federate):
    rng = np.random.default_rng(9)
    few = rng.normal(size=(3000, 30))
    columns = np.column_stack([np.ones(3000), few, few @ rng.normal(size=(30, 970))])
    names = tuple(f"c{j}" for j in range(1001))
    text = refused("COLLINEAR", refuse_collinear, columns.T @ columns, names)
    assert "and 960 more" in text


def test_a_thousand_columns_that_nearly_agree_pass(federate):
    rng = np.random.default_rng(10)
    columns = rng.normal(size=(3000, 1000)) + 30 * rng.normal(size=(3000, 1))
    refuse_collinear(columns.T @ columns, tuple(f"c{j}" for j in range(1000)))


def test_rounds_that_do_not_suffice(federate):
    rng = np.random.default_rng(11)
    x = rng.normal(size=200)
    pods = federate({"x": x, "y": (rng.random(200) < 1 / (1 + np.exp(-x))) * 1.0})
    refused("NOT_CONVERGED", pods.fit, "logistic_regression", ["x"], ["y"], rounds=4)


def test_linear_predictors_that_the_rounds_cut(federate):
    rng = np.random.default_rng(12)
    x = rng.normal(size=200)
    y = 1e-15 * rng.gamma(2.0, np.exp(x))
    pods = federate({"x": x, "y": y, "scaled": y * 1e15})
    assert "beyond 30" in refused("NOT_CONVERGED", pods.fit, "gamma_regression", ["x"], ["y"])
    assert pods.fit("gamma_regression", ["x"], ["scaled"]).n == 200
    counts = federate({"x": x, "y": np.round(1e12 * np.exp(x))})
    assert "beyond 30" in refused("NOT_CONVERGED", counts.fit, "poisson_regression", ["x"], ["y"])


def test_a_table_without_complete_rows(federate):
    pods = federate({"x": [1.0, None, None], "y": [None, 1.0, 2.0]})
    assert "3 rows lack one" in refused("DATA", pods.fit, "linear_regression", ["x"], ["y"])


def test_more_coefficients_than_rows_have_no_errors(federate):
    pods = federate({"x": [1.0, 2.0], "y": [1.0, 5.0]})
    refused("DATA", pods.fit, "linear_regression", ["x"], ["y"])


def test_values_that_are_not_finite(federate):
    pods = federate({"x": [1.0, 2.0, float("inf"), 4.0], "y": [1.0, 5.0, 2.0, 2.0]})
    refused("DATA", pods.fit, "linear_regression", ["x"], ["y"])


def test_rows_that_change_between_rounds(federate, design):
    rng = np.random.default_rng(13)
    columns = {"x": rng.normal(size=100), "y": rng.normal(size=100)}
    before, after = federate(columns), federate({k: v[:90] for k, v in columns.items()})
    model = design(["x"], ["y"])
    fitting = begin("linear_regression", model)
    fitting.take(before.sums(fitting.next_round(), model))
    stood = fitting.snapshot()
    text = refused("DATA", fitting.take, after.sums(fitting.next_round(), model))
    assert "90 rows" in text
    assert fitting.snapshot() == stood


@pytest.mark.parametrize("model", models(), ids=lambda one: one.name)
def test_unknown_options_name_the_known_ones(design, model):
    targets = [f"y{j}" for j in range(model.targets[0])]
    with pytest.raises(ProgrammingError) as caught:
        begin(model.name, design(["x"], targets), {"speed": 3})
    assert caught.value.code == "OPTION"
    assert all(option.name in caught.value.hint for option in model.options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("l2", -1.0),
        ("l2", float("nan")),
        ("l2", True),
        ("rounds", 2.5),
        ("rounds", 0),
        ("tolerance", 0),
    ],
)
def test_options_out_of_range(design, name, value):
    with pytest.raises(ProgrammingError) as caught:
        begin("logistic_regression", design(["x"], ["y"]), {name: value})
    assert caught.value.code == "OPTION"


def test_unknown_kinds_and_wrong_targets(design):
    for name, targets in [
        ("forest", ["y"]),
        ("linear_regression", []),
        ("linear_regression", "yz"),
    ]:
        with pytest.raises(ProgrammingError) as caught:
            begin(name, design(["x"], targets))
        assert caught.value.code == "OPTION"
