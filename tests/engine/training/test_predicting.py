"""Predictions: numpy over Arrow, SQL inside DuckDB, and scikit-learn or statsmodels agree."""

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from podsql.engine.training.predicting import outputs, predict
from podsql.engine.training.predicting_sql import predict_sql
from podsql.errors import InterfaceError

NAMES = ["a", "b", "flag"]


@pytest.fixture
def columns():
    rng = np.random.default_rng(1)
    n = 240
    a, b = rng.normal(size=n) * 50 + 1e4, rng.normal(size=n) * 1e-3
    flag = rng.random(n) < 0.4
    eta = 0.5 + (a - 1e4) / 60 - 400 * b + flag
    event = rng.random(n) < 1 / (1 + np.exp(-eta))
    return {
        "a": a,
        "b": b,
        "flag": flag,
        "y": eta + rng.normal(size=n),
        "event": event * 1.0,
        "other": 1.0 - event,
        "count": rng.poisson(np.exp(eta / 2)) * 1.0,
        "time": rng.exponential(np.exp(-eta / 2)),
    }


FITS = {
    "linear_regression": (["y"], {}),
    "ridge_regression": (["y"], {"l2": 3.0}),
    "logistic_regression": (["event"], {}),
    "poisson_regression": (["count"], {}),
    "gamma_regression": (["time"], {}),
    "cox_regression": (["time", "event"], {}),
    "kmeans": ([], {"clusters": 3}),
    "pca": ([], {"components": 2}),
    "naive_bayes": (["event", "other"], {}),
}


@pytest.mark.parametrize("method", FITS)
def test_sql_predicts_what_numpy_predicts(federate, engine, columns, method):
    targets, options = FITS[method]
    fitted = federate(columns).fit(method, NAMES, targets, indicators=["flag"], **options)
    rows = pa.table(
        {
            "a": pa.array([*columns["a"][:50], None, 1e9, -1e9]),
            "b": pa.array([*columns["b"][:50], 0.0, 0.0, 0.0]),
            "flag": pa.array([*(bool(one) for one in columns["flag"][:50]), True, True, False]),
        }
    )
    found = predict(fitted, [rows[name] for name in NAMES])
    expressions = predict_sql(
        fitted, ["a", "b + 0", "CASE WHEN flag THEN 1 WHEN NOT flag THEN 0 END"]
    )
    assert tuple(found.column_names) == outputs(fitted) == tuple(expressions)
    engine.register("seen", rows)
    listed = ", ".join(f"{sql} AS {name}" for name, sql in expressions.items())
    in_sql = engine.sql(f"SELECT {listed} FROM seen").to_arrow_table()
    engine.unregister("seen")
    for name in found.column_names:
        values, others = found[name].to_pylist(), in_sql[name].to_pylist()
        assert [one is None for one in values] == [place == 50 for place in range(53)]
        assert [one is None for one in others] == [place == 50 for place in range(53)]
        np.testing.assert_allclose(
            [one for one in others if one is not None],
            [one for one in values if one is not None],
            rtol=1e-11,
            atol=1e-300,
        )


def test_responses_are_those_of_statsmodels(federate, columns):
    fitted = federate(columns).fit("logistic_regression", NAMES, ["event"], indicators=["flag"])
    x = np.column_stack([(columns["a"] - 1e4) / 50, columns["b"] * 1e3, columns["flag"]])
    oracle = sm.GLM(columns["event"], sm.add_constant(x), family=sm.families.Binomial())
    expected = oracle.fit(tol=1e-14).fittedvalues
    found = predict(fitted, [pa.array(columns[name]) for name in NAMES])["response"]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-9)


def test_clusters_are_those_of_the_last_round(federate, columns):
    fitted = federate(columns).fit("kmeans", ["a", "b"], clusters=3)
    found = predict(fitted, [pa.array(columns["a"]), pa.array(columns["b"])])
    sizes = np.bincount(found["cluster"].to_numpy(), minlength=3)
    assert tuple(sizes) == fitted.parameters.sizes
    inertia = np.sum(found["distance"].to_numpy() ** 2)
    assert inertia == pytest.approx(fitted.metrics["inertia"], rel=1e-10)


def test_components_have_the_variances_of_the_model(federate, columns):
    fitted = federate(columns).fit("pca", ["a", "b"], standardize=True)
    found = predict(fitted, [pa.array(columns["a"]), pa.array(columns["b"])])
    for name, variance in zip(found.column_names, fitted.parameters.variances, strict=True):
        assert np.var(found[name].to_numpy(), ddof=1) == pytest.approx(variance, rel=1e-10)


def test_classes_are_those_of_scikit_learn(federate, columns):
    fitted = federate(columns).fit("naive_bayes", ["a", "b"], ["other", "event"])
    x = StandardScaler().fit_transform(np.column_stack([columns["a"], columns["b"]]))
    oracle = GaussianNB().fit(x, columns["event"])
    found = predict(fitted, [pa.array(columns["a"]), pa.array(columns["b"])])
    expected = oracle.predict_proba(x)
    np.testing.assert_allclose(found["probability_2"].to_numpy(), expected[:, 1], rtol=1e-8)
    assert found["class"].to_pylist() == (oracle.predict(x) + 1).astype(int).tolist()


def test_columns_of_another_number_are_refused(federate, columns):
    fitted = federate(columns).fit("linear_regression", ["a"], ["y"])
    with pytest.raises(InterfaceError, match="1 features"):
        predict(fitted, [])
    with pytest.raises(InterfaceError, match="1 features"):
        predict_sql(fitted, ["a", "b"])
