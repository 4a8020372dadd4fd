"""``EVALUATE MODEL`` of clusters, components, classes and hazards against scikit-learn and statsmodels."""

from math import sqrt

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.decomposition import PCA
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.stats.proportion import proportion_confint

from podsql.errors import Error

NUMBERS = ("age", "dose", "stay")
SITES = ("home", "ward", "icu")
Z = 1.959963984540054
FATES = "died = 0 AS alive, died = 1 AS dead"
TRAINED = {
    "clusters": ("kmeans (clusters = 3)", "", "age, dose, stay"),
    "parts": ("pca (components = 2)", "", "age, dose, stay"),
    "sites": ("naive_bayes", "PREDICT site", "age, dose, stay, site"),
    "fates": (
        "naive_bayes",
        "PREDICT alive, dead",
        f"dose, stay, site, smoker, {FATES}",
    ),
    "dosed": ("naive_bayes", "PREDICT alive, dead", f"dose, smoker, {FATES}"),
    "aged": ("naive_bayes", "PREDICT alive, dead", f"age, {FATES}"),
    "hazard": ("cox_regression", "PREDICT stay, died", "age, dose, smoker, stay, died"),
}
POLICIES = ("open", "guarded")


@pytest.fixture(scope="module")
def cons(federate, columns, others):
    """By policy; the models of the first one are known to the other, too, which declares no values."""
    found = {
        policy: federate(policy, {"patients": columns, "others": others}) for policy in POLICIES
    }
    for name, (family, targets, features) in TRAINED.items():
        found["open"].execute(
            f"TRAIN MODEL {name} USING {family} {targets} FROM (SELECT {features} FROM patients)"
        )
        found["guarded"].bench.shelf.put(found["open"].bench.shelf.get(name))
    return found


@pytest.fixture
def evaluated(cons):
    def evaluated(policy, name, select=None):
        select = select or f"SELECT {TRAINED[name][2]} FROM others"
        rows = cons[policy].execute(f"EVALUATE MODEL {name} FROM ({select})").fetch_arrow_table()
        found = {}
        for row in rows.to_pylist():
            assert row["model"] == name
            found.setdefault(row["pod"], {})[row["metric"]] = row
        assert list(found) == ["north", "south", "(pooled)"]
        return found

    return evaluated


def matrix(columns, names=NUMBERS):
    return np.column_stack([columns[name] for name in names]).astype(float)


def values(metrics):
    return {name: row["value"] for name, row in metrics.items()}


@pytest.mark.parametrize("policy", POLICIES)
def test_distances_of_clusters(cons, evaluated, others, scopes, policy):
    kept = cons["open"].bench.shelf.get("clusters").fitted.parameters
    found = evaluated(policy, "clusters")
    for pod, part in scopes(others).items():
        placed = (matrix(part) - kept.centre) / kept.scale
        centres = (np.array(kept.centres) - kept.centre) / kept.scale
        _, nearest = sk.pairwise_distances_argmin_min(placed, centres)
        assert values(found[pod]) == {
            "n": len(placed),
            "inertia": pytest.approx(float((nearest**2).sum()), rel=1e-10),
            "mean_squared_distance": pytest.approx(float((nearest**2).mean()), rel=1e-10),
        }


@pytest.mark.parametrize("policy", POLICIES)
def test_variance_along_components(cons, evaluated, columns, others, scopes, policy):
    kept = cons["open"].bench.shelf.get("parts").fitted.parameters
    fitted = PCA(n_components=2).fit((matrix(columns) - kept.centre) / kept.scale)
    found = evaluated(policy, "parts")
    for pod, part in scopes(others).items():
        placed = (matrix(part) - kept.centre) / kept.scale
        scores = fitted.transform(placed)
        shares = scores.var(axis=0) / placed.var(axis=0).sum()
        left = ((placed - fitted.inverse_transform(scores)) ** 2).sum(axis=1).mean()
        assert values(found[pod]) == {
            "n": len(placed),
            "explained": pytest.approx(shares.sum(), rel=1e-9),
            "explained_1": pytest.approx(shares[0], rel=1e-9),
            "explained_2": pytest.approx(shares[1], rel=1e-9),
            "mean_squared_residual": pytest.approx(left, rel=1e-9),
        }
    if policy == "guarded":
        return
    own = evaluated(policy, "parts", "SELECT age, dose, stay FROM patients")["(pooled)"]
    assert own["explained"]["value"] == pytest.approx(fitted.explained_variance_ratio_.sum())


@pytest.mark.parametrize("policy", POLICIES)
def test_likelihood_of_hazards_with_each_pod_as_a_stratum(cons, evaluated, others, scopes, policy):
    kept = cons["open"].bench.shelf.get("hazard").fitted.parameters
    found = evaluated(policy, "hazard")
    whole = 0.0
    for pod, part in list(scopes(others).items())[:-1]:
        design = matrix(part, ("age", "dose", "smoker"))
        model = PHReg(part["stay"], design, status=part["died"], ties="breslow")
        likelihood = model.loglike(np.array(kept.estimates))
        whole += likelihood
        assert values(found[pod]) == {
            "n": len(design),
            "events": part["died"].sum(),
            "log_likelihood": pytest.approx(likelihood, rel=1e-10),
        }
    assert values(found["(pooled)"]) == {
        "n": len(others["id"]),
        "events": others["died"].sum(),
        "log_likelihood": pytest.approx(whole, rel=1e-10),
    }
    if policy == "guarded":
        return
    own = evaluated(policy, "hazard", "SELECT age, dose, smoker, stay, died FROM patients")
    metrics = cons["open"].bench.shelf.get("hazard").fitted.metrics
    assert own["(pooled)"]["log_likelihood"]["value"] == pytest.approx(metrics["log_likelihood"])


def judged(metrics, classes, y, probabilities):
    """Whether the metrics are those of the probabilities, by class in the order of ``classes``."""
    n = len(y)
    loss = -np.log(probabilities[np.arange(n), y])
    taken = probabilities.argmax(axis=1)
    mean = sk.log_loss(y, probabilities, labels=range(len(classes)))
    spread = loss.std() / sqrt(n)
    row = metrics["log_loss"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(
        (mean, mean - Z * spread, mean + Z * spread), rel=1e-6
    )
    right = sk.accuracy_score(y, taken)
    half = Z * sqrt(right * (1 - right) / n)
    row = metrics["accuracy"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(
        (right, right - half, right + half)
    )
    confused = sk.confusion_matrix(y, taken, labels=range(len(classes)))
    for place, name in enumerate(classes):
        for metric, rows in (("recall", confused[place]), ("precision", confused[:, place])):
            row = metrics[f"{metric}: {name}"]
            assert (row["n"] or 0) == rows.sum()
            if row["n"] is None:
                assert row["value"] is None
                continue
            part = confused[place, place]
            low, high = proportion_confint(part, rows.sum(), method="wilson")
            assert (row["value"], row["low"], row["high"]) == pytest.approx(
                (part / rows.sum(), max(low, 0), min(high, 1))
            )
    assert list(metrics)[:3] == ["n", "log_loss", "accuracy"]
    assert metrics["n"]["value"] == n


def test_classes_of_a_category(evaluated, columns, others, scopes):
    fitted = GaussianNB(var_smoothing=1e-12).fit(matrix(columns), places(columns))
    found = evaluated("open", "sites")
    for pod, part in scopes(others).items():
        judged(
            found[pod],
            [f"site={one}" for one in SITES],
            places(part),
            fitted.predict_proba(matrix(part)),
        )


def places(columns):
    return np.array([SITES.index(one) for one in columns["site"]])


def test_classes_by_numbers_and_categories(evaluated, columns, others, scopes):
    names = ("dose", "stay")
    numbers = GaussianNB(var_smoothing=1e-12).fit(matrix(columns, names), columns["died"])

    def levels(rows):
        return np.column_stack([places(rows), rows["smoker"]]).astype(int)

    rest = CategoricalNB().fit(levels(columns), columns["died"])
    found = evaluated("open", "fates")
    for pod, part in scopes(others).items():
        joint = (
            numbers.predict_joint_log_proba(matrix(part, names))
            + rest.predict_joint_log_proba(levels(part))
            - rest.class_log_prior_
        )
        share = np.exp(joint - joint.max(axis=1, keepdims=True))
        judged(found[pod], ("alive", "dead"), part["died"], share / share.sum(axis=1)[:, None])


def test_classes_under_rules_of_disclosure(evaluated, columns, others, scopes):
    numbers = GaussianNB(var_smoothing=1e-12).fit(matrix(columns, ("dose",)), columns["died"])
    rest = CategoricalNB().fit(columns["smoker"][:, None].astype(int), columns["died"])
    found = evaluated("guarded", "dosed")
    for pod, part in scopes(others).items():
        joint = (
            numbers.predict_joint_log_proba(matrix(part, ("dose",)))
            + rest.predict_joint_log_proba(part["smoker"][:, None].astype(int))
            - rest.class_log_prior_
        )
        share = np.exp(joint - joint.max(axis=1, keepdims=True))
        judged(found[pod], ("alive", "dead"), part["died"], share / share.sum(axis=1)[:, None])


def test_columns_that_may_not_filter_make_no_counts_of_classes(evaluated):
    found = evaluated("guarded", "aged")
    for metrics in found.values():
        assert metrics["log_loss"]["value"] > 0
        assert {name for name, value in values(metrics).items() if value is None} == {
            "accuracy",
            *(f"{one}: {name}" for one in ("recall", "precision") for name in ("alive", "dead")),
        }


@pytest.mark.parametrize(
    ("policy", "sql", "code"),
    [
        ("open", "EVALUATE MODEL clusters FROM (SELECT age, dose FROM others)", "UNKNOWN_COLUMN"),
        ("open", "EVALUATE MODEL sites FROM (SELECT age, dose, stay, smoker AS site FROM others)", "MODEL_STATE"),
        (
            "open",
            "EVALUATE MODEL fates FROM (SELECT dose, stay, site, smoker, died = 0 AS alive,"
            " died = 3 AS dead FROM others)",
            "DATA",
        ),
        ("guarded", "EVALUATE MODEL clusters FROM (SELECT age, dose, stay FROM others WHERE dose > 6.5)", "WITHHELD"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(cons, policy, sql, code):
    with pytest.raises(Error) as caught:
        cons[policy].execute(sql)
    assert caught.value.code == code
