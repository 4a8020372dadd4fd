"""Generalized linear models of pods equal those of the pooled rows: statsmodels, scikit-learn."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge

from podsql.demo.flights import read_all
from podsql.engine.training.fitted import INTERCEPT, decode_fitted, encode_fitted, estimates

UNIT = np.array([1e-3, 1.0, 1e3, 1e6])
SHIFT = np.array([0.0, 5.0, -2e3, 3e6])
TRUE = np.array([0.3, -0.5, 0.2, 0.1])
NAMES = ("c0", "c1", "c2", "c3")
FAMILIES = {
    "linear_regression": sm.families.Gaussian(),
    "logistic_regression": sm.families.Binomial(),
    "poisson_regression": sm.families.Poisson(),
    "gamma_regression": sm.families.Gamma(sm.families.links.Log()),
}


def draw(method, rng, n=1500):
    """Standardised features, their raw columns at unequal scales, and a target."""
    x = rng.normal(size=(n, 4))
    x[:, 1] = 0.5 * x[:, 1] + x[:, 0]
    x = x[np.argsort(x[:, 2] + rng.normal(size=n))]  # pods that differ
    eta = 0.4 + x @ TRUE
    y = {
        "linear_regression": lambda: eta + rng.normal(size=n),
        "logistic_regression": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0,
        "poisson_regression": lambda: rng.poisson(np.exp(eta)) * 1.0,
        "gamma_regression": lambda: rng.gamma(2.0, np.exp(eta) / 2),
    }[method]()
    raw = x * UNIT + SHIFT
    return x, {f"c{j}": raw[:, j] for j in range(4)} | {"y": y}


def to_raw(oracle):
    """Coefficients and standard errors of statsmodels in the raw scale."""
    change = np.eye(5)
    change[0, 1:] = -SHIFT / UNIT
    change[1:, 1:] = np.diag(1 / UNIT)
    covariance = change @ oracle.cov_params() @ change.T
    return change @ oracle.params, np.sqrt(np.diag(covariance))


def assert_same(fitted, expected, errors):
    rows = estimates(fitted)
    found = np.array([row.estimate for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.min(errors))
    np.testing.assert_allclose([row.std_error for row in rows], errors, rtol=1e-8)


@pytest.mark.parametrize("method", FAMILIES)
def test_models_equal_those_of_the_pooled_rows(federate, method):
    x, columns = draw(method, np.random.default_rng(1))
    fitted = federate(columns).fit(method, NAMES, ["y"])
    oracle = sm.GLM(columns["y"], sm.add_constant(x), family=FAMILIES[method])
    oracle = oracle.fit(tol=1e-14, maxiter=200)
    assert_same(fitted, *to_raw(oracle))
    metrics = fitted.metrics
    assert metrics["deviance"] == pytest.approx(oracle.deviance, rel=1e-10)
    assert metrics["null_deviance"] == pytest.approx(oracle.null_deviance, rel=1e-10)
    assert metrics["dispersion"] == pytest.approx(oracle.scale, rel=1e-9)
    assert (fitted.n, metrics["residual_df"]) == (1500, oracle.df_resid)
    assert [row.term for row in estimates(fitted)] == [INTERCEPT, *NAMES]
    assert decode_fitted(encode_fitted(fitted)) == fitted
    if method != "gamma_regression":
        assert metrics["log_likelihood"] == pytest.approx(oracle.llf, rel=1e-10)
        extra = 2 if method == "linear_regression" else 0  # R counts the dispersion
        assert metrics["aic"] == pytest.approx(oracle.aic + extra, rel=1e-10)


def test_the_likelihood_of_a_gamma_model_is_that_of_its_density(federate):
    from scipy.stats import gamma

    x, columns = draw("gamma_regression", np.random.default_rng(2))
    fitted = federate(columns).fit("gamma_regression", NAMES, ["y"])
    oracle = sm.GLM(columns["y"], sm.add_constant(x), family=FAMILIES["gamma_regression"])
    mean = oracle.fit(tol=1e-14, maxiter=200).mu
    spread = fitted.metrics["deviance"] / fitted.n  # R: dispersion of the AIC
    expected = gamma.logpdf(columns["y"], 1 / spread, scale=mean * spread).sum()
    assert fitted.metrics["log_likelihood"] == pytest.approx(expected, rel=1e-10)
    assert fitted.metrics["aic"] == pytest.approx(-2 * expected + 2 * 6, rel=1e-10)


@pytest.mark.parametrize("method", ["linear_regression", "logistic_regression"])
def test_statistics_and_p_values_are_those_of_t_and_z(federate, method):
    x, columns = draw(method, np.random.default_rng(3), n=60)
    fitted = federate(columns).fit(method, NAMES, ["y"])
    family = FAMILIES[method]
    oracle = sm.GLM(columns["y"], sm.add_constant(x), family=family).fit(
        tol=1e-14, use_t=method == "linear_regression"
    )
    rows = estimates(fitted)[1:]
    np.testing.assert_allclose([row.statistic for row in rows], oracle.tvalues[1:], rtol=1e-8)
    np.testing.assert_allclose([row.p_value for row in rows], oracle.pvalues[1:], rtol=1e-7)


def test_ridge_equals_scikit_learn_on_raw_columns(federate):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(800, 3)) * [0.1, 1.0, 20.0] + [1.0, 0.0, 7.0]
    y = x @ [1.0, 2.0, -0.1] + rng.normal(size=800)
    pods = federate({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})
    fitted = pods.fit("ridge_regression", "abc", ["y"], l2=3.7)
    oracle = Ridge(alpha=3.7, solver="cholesky").fit(x, y)
    found = [row.estimate for row in estimates(fitted)]
    np.testing.assert_allclose(found, [oracle.intercept_, *oracle.coef_], rtol=1e-8)
    assert all(row.p_value is None for row in estimates(fitted))
    # how the penalised estimate spreads: that of a linear function of y
    centred = x - x.mean(axis=0)
    hat = np.linalg.solve(centred.T @ centred + 3.7 * np.eye(3), centred.T)
    used = 1 + np.trace(centred @ hat)
    residual = y - oracle.predict(x)
    spread = residual @ residual / (800 - used) * np.diag(hat @ hat.T)
    errors = [row.std_error for row in estimates(fitted)]
    np.testing.assert_allclose(errors[1:], np.sqrt(spread), rtol=1e-8)


@pytest.mark.parametrize(
    ("method", "oracle"),
    [
        ("logistic_regression", LogisticRegression(C=1 / 2.5, tol=1e-12, solver="newton-cholesky")),
        (
            "poisson_regression",
            PoissonRegressor(alpha=2.5 / 700, tol=1e-12, solver="newton-cholesky"),
        ),
        ("gamma_regression", GammaRegressor(alpha=2.5 / 700, tol=1e-12, solver="newton-cholesky")),
    ],
)
def test_penalised_models_equal_scikit_learn(federate, method, oracle):
    x, columns = draw(method, np.random.default_rng(5), n=700)
    oracle.fit(x, columns["y"])
    pods = federate({f"c{j}": x[:, j] for j in range(4)} | {"y": columns["y"]})
    fitted = pods.fit(method, NAMES, ["y"], l2=2.5)
    found = [row.estimate for row in estimates(fitted)]
    expected = [np.ravel(oracle.intercept_)[0], *np.ravel(oracle.coef_)]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_poisson_arrives_whatever_the_draw(federate, seed):
    """Draws of heavy counts, where scoring from zero without halving goes astray."""
    rng = np.random.default_rng(seed)
    n = 400
    x = rng.standard_t(3, size=(n, 3)) * [1.0, 2.0, 0.5]
    y = rng.poisson(np.exp(np.clip(0.5 + x @ [0.9, -0.6, 0.8], -20, 9))) * 1.0
    fitted = federate({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y}).fit(
        "poisson_regression", "abc", ["y"]
    )
    oracle = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson())
    oracle = oracle.fit(tol=1e-14, maxiter=200)
    assert_same(fitted, oracle.params, oracle.bse)


def test_flights_that_arrive_late(federate):
    """Whether a flight from New York arrives late: a tenth of 2013."""
    table = read_all()["flights"].to_pandas().iloc[::10]
    columns = {
        "distance": table["distance"].to_numpy(dtype=float),
        "hour": table["hour"].to_numpy(dtype=float),
        "winter": table["month"].isin([12, 1, 2]).to_numpy(dtype=float),
        "late": np.where(table["arr_delay"].isna(), None, (table["arr_delay"] > 15) * 1.0),
    }
    names = ["distance", "hour", "winter"]
    columns["late"] = [None if one is None else float(one) for one in columns["late"]]
    fitted = federate(columns).fit("logistic_regression", names, ["late"], indicators=["winter"])
    known = ~table["arr_delay"].isna().to_numpy()
    x = sm.add_constant(np.column_stack([columns[one] for one in names]))[known]
    y = np.array(columns["late"], dtype=object)[known].astype(float)
    oracle = sm.GLM(y, x, family=sm.families.Binomial()).fit(tol=1e-14, maxiter=100)
    assert fitted.n == known.sum()
    assert fitted.dropped == (~known).sum()
    assert_same(fitted, oracle.params, oracle.bse)


def test_a_level_that_one_pod_alone_has(federate):
    """Sites that lack a class or a level add zeros; nothing else changes."""
    rng = np.random.default_rng(6)
    n = 900
    x, level = rng.normal(size=n), np.arange(n) > 850
    y = (rng.random(n) < np.where(np.arange(n) < 450, 0.0, 0.5)) * 1.0
    fitted = federate({"x": x, "level": level * 1.0, "y": y}).fit(
        "logistic_regression", ["x", "level"], ["y"], indicators=["level"]
    )
    oracle = sm.GLM(y, sm.add_constant(np.column_stack([x, level])), family=sm.families.Binomial())
    oracle = oracle.fit(tol=1e-14, maxiter=100)
    assert_same(fitted, oracle.params, oracle.bse)


def test_a_column_far_from_zero_is_centred_again(federate):
    """Seconds since 1970 with a spread of minutes: one round of squares has no digit of it."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=500) * 60
    y = 2 + 0.01 * x + rng.normal(size=500)
    stored = 1.7e9 + x
    fitted = federate({"seconds": stored, "y": y}).fit("linear_regression", ["seconds"], ["y"])
    exact = stored - 1.7e9  # what is left of x in a DOUBLE
    oracle = sm.OLS(y, sm.add_constant(exact)).fit()
    [_, slope] = estimates(fitted)
    assert fitted.rounds == 4
    assert slope.estimate == pytest.approx(oracle.params[1], rel=1e-8)
    assert slope.std_error == pytest.approx(oracle.bse[1], rel=1e-8)


def test_the_constant_alone(federate):
    y = np.random.default_rng(8).poisson(3.0, 200) * 1.0
    fitted = federate({"y": y}).fit("poisson_regression", [], ["y"])
    [row] = estimates(fitted)
    assert row.estimate == pytest.approx(np.log(y.mean()), rel=1e-12)
    assert fitted.metrics["deviance"] == pytest.approx(fitted.metrics["null_deviance"], rel=1e-12)


def test_an_earlier_model_saves_rounds(federate):
    _, columns = draw("poisson_regression", np.random.default_rng(9))
    pods = federate(columns)
    first = pods.fit("poisson_regression", NAMES, ["y"])
    again = pods.fit("poisson_regression", NAMES, ["y"], start=first.parameters.estimates)
    assert again.rounds < first.rounds
    np.testing.assert_allclose(again.parameters.estimates, first.parameters.estimates, rtol=1e-10)


@pytest.mark.parametrize(
    "method", ["logistic_regression", "poisson_regression", "gamma_regression"]
)
def test_a_start_that_is_far_off_is_halved(federate, method):
    _, columns = draw(method, np.random.default_rng(10), n=400)
    pods = federate(columns)
    first = pods.fit(method, NAMES, ["y"])
    far = pods.fit(method, NAMES, ["y"], start=(-9.0, 4e3, -5.0, 4e-3, 3e-6))
    np.testing.assert_allclose(
        far.parameters.estimates, first.parameters.estimates, rtol=1e-8, atol=1e-11
    )
    assert far.rounds > first.rounds + len(far.trace) - len(first.trace)  # some were halvings
