"""``EVALUATE MODEL`` against scikit-learn and statsmodels over the same rows, per pod and pooled."""

from math import sqrt
from xml.etree import ElementTree

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from podsql.errors import Error

FEATURES = "age, dose, site, smoker"
MODELS = {
    "risk": ("logistic_regression", "died", FEATURES),
    "few": ("logistic_regression", "died", "site"),
    "days": ("linear_regression", "stay", FEATURES),
    "calls": ("poisson_regression", "visits", FEATURES),
    "price": ("gamma_regression", "cost", FEATURES),
}
Z = 1.959963984540054


@pytest.fixture(scope="module")
def con(federate, columns, others):
    made = federate("open", {"patients": columns, "others": others, "gaps": gaps(others)})
    for name, (family, target, features) in MODELS.items():
        made.execute(
            f"TRAIN MODEL {name} USING {family} PREDICT {target} FROM (SELECT {features}, {target} FROM patients)"
        )
    return made


@pytest.fixture(scope="module")
def predicted(columns):
    """What a model foretells of rows, by its pooled fit."""

    def design(rows, features):
        found = [np.ones(len(rows["id"]))]
        for name in features.split(", "):
            found += (
                [rows["site"] == level for level in ("ward", "icu")]
                if name == "site"
                else [rows[name]]
            )
        return np.column_stack(found).astype(float)

    kinds = {
        "logistic_regression": sm.families.Binomial(),
        "linear_regression": sm.families.Gaussian(),
        "poisson_regression": sm.families.Poisson(),
        "gamma_regression": sm.families.Gamma(sm.families.links.Log()),
    }

    def predicted(name, rows):
        family, target, features = MODELS[name]
        model = sm.GLM(columns[target], design(columns, features), family=kinds[family])
        return rows[target], model.fit(tol=1e-13, maxiter=200).predict(design(rows, features))

    return predicted


def gaps(others):
    """The same people; of some the age is not known."""
    return {**others, "age": np.where(others["age"] > 50, others["age"], np.nan)}


def evaluated(con, name, table, where=""):
    """By pod and metric; rates in order."""
    features = MODELS[name][2]
    sql = f"EVALUATE MODEL {name} FROM (SELECT {features}, {MODELS[name][1]} FROM {table} {where})"
    found = {}
    for row in con.execute(sql).fetch_arrow_table().to_pylist():
        assert row.pop("model") == name
        metrics = found.setdefault(row.pop("pod"), {"rate": []})
        metric = row.pop("metric")
        if metric == "rate":
            metrics["rate"].append(row)
        else:
            metrics[metric] = (row["value"], row["low"], row["high"])
    return found


def wald(mean, spread):
    return pytest.approx((mean, mean - Z * spread, mean + Z * spread), rel=1e-7)


def alone(value):
    return (pytest.approx(value, rel=1e-7, abs=1e-9), None, None)


@pytest.mark.parametrize("table", ["patients", "others"])
def test_a_logistic_model_on_its_own_rows_and_on_others(
    con, columns, others, scopes, predicted, table
):
    rows = scopes({"patients": columns, "others": others}[table])
    found = evaluated(con, "risk", table)
    assert list(found) == ["north", "south", "(pooled)"]
    for pod, part in rows.items():
        y, p = predicted("risk", part)
        n, losses = len(y), -np.where(y == 1, np.log(p), np.log(1 - p))
        metrics = found[pod]
        assert metrics["n"] == alone(n)
        assert metrics["mean_target"] == alone(y.mean())
        assert metrics["mean_prediction"] == alone(p.mean())
        assert metrics["log_loss"] == wald(sk.log_loss(y, p), losses.std() / sqrt(n))
        assert metrics["brier"] == wald(sk.brier_score_loss(y, p), ((y - p) ** 2).std() / sqrt(n))
        assert metrics["deviance"] == alone(2 * losses.sum())
        right = sk.accuracy_score(y, p >= 0.5)
        assert metrics["accuracy"] == wald(right, sqrt(right * (1 - right) / n))
        area, low, high = metrics["auc"]
        hidden = metrics["auc_bin_error"][0]
        assert 0 < hidden < 0.02
        assert abs(area - sk.roc_auc_score(y, p)) <= hidden
        assert abs(area - sk.roc_auc_score(y, p)) < 2e-3
        assert (low, high) == pytest.approx(
            (area - Z * _spread(area, y), area + Z * _spread(area, y))
        )


def _spread(area, y):
    """Hanley & McNeil (1982), table II: from the probabilities Q1 and Q2."""
    ill, well = int(y.sum()), int(len(y) - y.sum())
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    terms = area * (1 - area) + (ill - 1) * (q1 - area**2) + (well - 1) * (q2 - area**2)
    return sqrt(terms / (ill * well))


def test_the_area_of_few_different_predictions_is_exact(con, others, scopes, predicted):
    found = evaluated(con, "few", "others")
    for pod, part in scopes(others).items():
        y, p = predicted("few", part)
        assert len(set(np.floor(np.log(p / (1 - p)) * 8))) == len(set(np.round(p, 9)))
        assert found[pod]["auc"][0] == pytest.approx(sk.roc_auc_score(y, p), rel=1e-12)


def test_rates_are_those_of_the_rows_between_the_predictions(con, others, scopes, predicted):
    found = evaluated(con, "risk", "others")
    for pod, part in scopes(others).items():
        y, p = predicted("risk", part)
        rates = found[pod]["rate"]
        assert 6 <= len(rates) <= 10
        assert sum(rate["n"] for rate in rates) == len(y)
        for rate in rates:
            chosen = y[(p >= rate["predicted_low"]) & (p < rate["predicted_high"])]
            assert rate["n"] == len(chosen)
            assert rate["value"] == pytest.approx(chosen.mean())
            interval = proportion_confint(chosen.sum(), len(chosen), method="wilson")
            assert (rate["low"], rate["high"]) == pytest.approx(interval)


@pytest.mark.parametrize("name", ["days", "calls", "price"])
@pytest.mark.parametrize("table", ["patients", "others"])
def test_models_of_numbers(con, columns, others, scopes, predicted, name, table):
    rows = scopes({"patients": columns, "others": others}[table])
    deviance = {
        "days": lambda y, mu: ((y - mu) ** 2).sum(),
        "calls": lambda y, mu: len(y) * sk.mean_poisson_deviance(y, mu),
        "price": lambda y, mu: len(y) * sk.mean_gamma_deviance(y, mu),
    }[name]
    found = evaluated(con, name, table)
    assert list(found) == ["north", "south", "(pooled)"]
    for pod, part in rows.items():
        y, mu = predicted(name, part)
        n, errors = len(y), np.abs(y - mu)
        metrics = found[pod]
        root = sk.root_mean_squared_error(y, mu)
        spread = root / sqrt(2 * n)
        assert metrics["rmse"] == (wald(root, spread) if name == "days" else alone(root))
        assert metrics["mae"] == wald(sk.mean_absolute_error(y, mu), errors.std() / sqrt(n))
        assert metrics["r_squared"] == alone(sk.r2_score(y, mu))
        assert metrics["deviance"] == alone(deviance(y, mu))
        assert metrics["mean_target"] == alone(y.mean())
        assert metrics["mean_prediction"] == alone(mu.mean())


def test_several_models_are_one_table(con):
    cursor = con.execute(
        f"EVALUATE MODEL few, RISK FROM (SELECT {FEATURES}, died FROM others) WITH (pods = 'south')"
    )
    assert cursor.fetchone()[:3] == ("few", "south", "n")
    areas = {
        (model, pod): value
        for model, pod, metric, value, *_ in cursor.fetchall()
        if metric == "auc"
    }
    assert list(areas) == [(m, p) for m in ("few", "risk") for p in ("south", "(pooled)")]
    assert areas["risk", "south"] == areas["risk", "(pooled)"] > areas["few", "south"]


def test_columns_may_come_in_another_order_and_with_others(con):
    plain = con.execute(
        f"EVALUATE MODEL risk FROM (SELECT {FEATURES}, died FROM others)"
    ).fetchall()
    mixed = "SELECT Died, id, smoker, SITE, dose, age, NULL::DOUBLE AS unused FROM others"
    assert con.execute(f"EVALUATE MODEL risk FROM ({mixed})").fetchall() == plain


def test_no_row_and_no_weight_leaves_a_pod(con):
    cursor = con.execute(f"EVALUATE MODEL risk FROM (SELECT {FEATURES}, died FROM others)")
    assert {receipt.rows for receipt in cursor.receipt} == {1}
    assert {receipt.pod for receipt in cursor.receipt} == {"north", "south"}


@pytest.mark.parametrize(
    ("sql", "code", "named"),
    [
        ("EVALUATE MODEL riks FROM (SELECT age FROM others)", "UNKNOWN_MODEL", "risk"),
        (
            "EVALUATE MODEL days FROM (SELECT age, dose, smoker, stay FROM others)",
            "UNKNOWN_COLUMN",
            "site",
        ),
        (
            "EVALUATE MODEL days FROM (SELECT age, dose, site, smoker FROM others)",
            "UNKNOWN_COLUMN",
            "stay",
        ),
        (
            "EVALUATE MODEL days FROM (SELECT age, dose, site, 1 * dose AS smoker, stay FROM others)",
            "MODEL_STATE",
            "days",
        ),
        (
            "EVALUATE MODEL days FROM (SELECT age, dose, site, smoker, stay FROM gaps)",
            "DATA",
            "without a value",
        ),
        ("EVALUATE MODEL days FROM (SELECT 1) WITH (rounds = 3)", "OPTION", "rounds"),
        ("EVALUATE MODEL FROM (SELECT 1)", "STATEMENT", "EVALUATE MODEL"),
        ("EVALUATE MODEL days, FROM (SELECT 1)", "STATEMENT", "EVALUATE MODEL"),
    ],
)
def test_what_cannot_be_evaluated_is_said(con, sql, code, named):
    with pytest.raises(Error) as caught:
        con.execute(sql)
    assert caught.value.code == code
    assert named in str(caught.value)


def test_rows_without_a_value_are_left_out_only_if_that_is_said(con, others, scopes, predicted):
    found = evaluated(con, "days", "others", "WHERE age > 50")
    dropped = con.execute(
        "EVALUATE MODEL days FROM (SELECT age, dose, site, smoker, stay FROM gaps)"
        " WITH (missing = 'drop')"
    ).fetchall()
    pooled = {metric: value for _, pod, metric, value, *_ in dropped if pod == "(pooled)"}
    assert pooled["n"] == found["(pooled)"]["n"][0]
    assert pooled["rmse"] == pytest.approx(found["(pooled)"]["rmse"][0], rel=1e-12)
    y, mu = predicted("days", {k: v[others["age"] > 50] for k, v in others.items()})
    assert pooled["rmse"] == pytest.approx(sk.root_mean_squared_error(y, mu))


def test_the_picture_shows_the_rates_and_the_curve_of_every_pod(con, scopes, others, predicted):
    sql = f"EVALUATE MODEL risk FROM (SELECT {FEATURES}, died FROM others)"
    rates = evaluated(con, "risk", "others")["(pooled)"]["rate"]
    drawn = ElementTree.fromstring(con.execute(sql).picture())
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in drawn.iter(f"{space}text")]
    assert "Model risk" in words
    assert [word.partition(":")[0] for word in words if ": AUC 0." in word] == list(scopes(others))
    frames = [rect for rect in drawn.iter(f"{space}rect") if rect.get("class") == "frame"]
    side = float(frames[0].get("width"))
    marks = [one for one in drawn.iter(f"{space}circle") if "pooled" in one.get("class")]
    heights = [(float(frames[0].get("y")) + side - float(one.get("cy"))) / side for one in marks]
    assert heights == pytest.approx([rate["value"] for rate in rates], abs=1e-4)
    curves = [path.get("d") for path in drawn.iter(f"{space}path") if "L" in path.get("d")]
    assert len(curves) == 3
    places = np.array([point.split() for point in curves[-1][1:].split("L")], dtype=float)
    x = (places[:, 0] - float(frames[1].get("x"))) / side
    y = (float(frames[1].get("y")) + side - places[:, 1]) / side
    target, p = predicted("risk", others)
    for false, true, rate in zip(x[1:], y[1:], reversed(rates), strict=True):
        chosen = p >= rate["predicted_low"]
        assert false == pytest.approx(chosen[target == 0].mean(), abs=1e-4)
        assert true == pytest.approx(chosen[target == 1].mean(), abs=1e-4)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM others",
        "EVALUATE MODEL days FROM (SELECT age, dose, site, smoker, stay FROM others)",
    ],
)
def test_there_is_no_picture_of_other_answers(con, sql):
    with pytest.raises(Error) as caught:
        con.execute(sql).picture()
    assert caught.value.code == "ARGUMENT"
