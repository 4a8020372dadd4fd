"""Clusters, components and classes of pods equal scikit-learn's of the pooled rows."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.preprocessing import StandardScaler

from podsql.engine.training.kmeans import spread_points
from podsql.engine.training.registry import begin
from podsql.errors import DataError

UNIT = np.array([1e-3, 1.0, 1e4])


@pytest.fixture
def blobs():
    rng = np.random.default_rng(1)
    places = rng.normal(size=(4, 3)) * 3
    which = np.sort(rng.integers(0, 4, 900))  # pods that differ
    return (places[which] + rng.normal(size=(900, 3))) * UNIT + [0.0, 50.0, -1e4], which


def named(x):
    return {f"x{j}": x[:, j] for j in range(x.shape[1])}


@pytest.mark.parametrize("standardize", [True, False])
def test_clusters_equal_lloyd_from_the_same_start(federate, blobs, standardize):
    x, _ = blobs
    scaled = StandardScaler().fit_transform(x) if standardize else x
    begun = np.array([0, 300, 500, 899])
    start = tuple(x[begun].ravel().tolist())
    fitted = federate(named(x)).fit(
        "kmeans", list(named(x)), clusters=4, tolerance=0, standardize=standardize, start=start
    )
    oracle = KMeans(4, init=scaled[begun], n_init=1, tol=0, max_iter=300, algorithm="lloyd")
    oracle.fit(scaled)
    centres = np.array(fitted.parameters.centres)
    if standardize:
        centres = (centres - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(centres, oracle.cluster_centers_, rtol=1e-12, atol=1e-12)
    assert fitted.parameters.sizes == tuple(np.bincount(oracle.labels_))
    assert fitted.metrics["inertia"] == pytest.approx(oracle.inertia_, rel=1e-12)
    assert fitted.rounds == oracle.n_iter_ + 1  # and the moments


def test_the_start_sees_no_row_and_finds_the_blobs(federate, design, blobs):
    x, _ = blobs
    pods, model = federate(named(x)), design(list(named(x)))
    moments, starts = None, []
    for seed in (0, 0, 1):
        fitting = begin("kmeans", model, {"clusters": 3, "tolerance": 0.05, "seed": seed})
        moments = moments or pods.sums(fitting.next_round(), model)
        fitting.take(moments)
        starts.append(fitting.next_round().state)
    assert starts[0] == starts[1] != starts[2]
    found = pods.run(fitting, model)
    assert list(found.trace) == sorted(found.trace, reverse=True)
    oracle = KMeans(3, n_init=10, random_state=1).fit(StandardScaler().fit_transform(x))
    assert found.metrics["inertia"] < 1.1 * oracle.inertia_


def test_the_start_fills_its_space():
    points = spread_points(500, 3, seed=2)
    assert np.abs(points).max() <= 1
    counts, _ = np.histogramdd(points, bins=4, range=[(-1, 1)] * 3)
    assert counts.min() >= 4  # 500 points over 64 boxes: 7.8 each


def test_a_centre_without_rows_stays(federate):
    x = np.repeat([0.0, 1.0], 50) + np.tile([0.0, 0.1], 50)
    fitted = federate({"x": x}).fit("kmeans", ["x"], clusters=3, start=(0.0, 1.0, 99.0))
    assert fitted.parameters.sizes == (50, 50, 0)
    assert fitted.parameters.centres[2][0] == pytest.approx(99.0)


def test_ties_go_to_the_lowest_number(federate):
    x = np.array([-1.0, 0.0, 1.0, 0.0])  # two rows half-way between the centres
    fitted = federate({"x": x}).fit("kmeans", ["x"], clusters=2, start=(-1.0, 1.0), tolerance=10)
    assert fitted.parameters.sizes == (3, 1)


def test_rounds_that_do_not_suffice(federate, blobs):
    x, _ = blobs
    with pytest.raises(DataError) as caught:
        federate(named(x)).fit("kmeans", list(named(x)), clusters=4, tolerance=0, rounds=3)
    assert caught.value.code == "NOT_CONVERGED"


def assert_same_spaces(found, expected):
    """The largest angle between the subspaces that are spanned by rows."""
    cosines = np.linalg.svd(found @ expected.T, compute_uv=False)
    assert np.arccos(np.clip(cosines, -1, 1)).max() < 1e-6


def test_components_of_standardised_columns(federate, blobs):
    x, _ = blobs
    x = np.column_stack([x, x[:, 0] * 3 + x[:, 2] * 1e-6])
    fitted = federate(named(x)).fit("pca", list(named(x)), components=3)
    oracle = PCA(3).fit(StandardScaler().fit_transform(x))
    model = fitted.parameters
    # R's variances: the scale is that of n - 1
    np.testing.assert_allclose(model.variances, oracle.explained_variance_ * 899 / 900, rtol=1e-10)
    np.testing.assert_allclose(model.shares, oracle.explained_variance_ratio_, rtol=1e-10)
    assert_same_spaces(np.array(model.loadings)[:2], oracle.components_[:2])
    np.testing.assert_allclose(model.loadings, oracle.components_, atol=1e-7)
    np.testing.assert_allclose(
        np.array(model.correlation).reshape(4, 4), np.corrcoef(x.T), atol=1e-12
    )


def test_components_of_columns_as_they_are(federate):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + [100.0, 0.0, -5.0]
    fitted = federate(named(x)).fit("pca", list(named(x)), standardize=False)
    oracle = PCA().fit(x)
    np.testing.assert_allclose(fitted.parameters.variances, oracle.explained_variance_, rtol=1e-10)
    assert_same_spaces(np.array(fitted.parameters.loadings)[:1], oracle.components_[:1])


@pytest.mark.parametrize("method", ["kmeans", "pca"])
def test_a_column_of_one_value_is_named(federate, method):
    options = {"clusters": 2} if method == "kmeans" else {}
    pods = federate({"x": np.arange(9.0), "same": np.full(9, 4.0)})
    with pytest.raises(DataError, match="'same'") as caught:
        pods.fit(method, ["x", "same"], **options)
    assert caught.value.code == "COLLINEAR"


def test_classes_of_numbers_equal_scikit_learn(federate, blobs):
    x, which = blobs
    targets = {f"is_{c}": (which == c) * 1.0 for c in range(4)}
    fitted = federate(named(x) | targets).fit("naive_bayes", list(named(x)), list(targets))
    # each feature's own variance is smoothed: that of scikit-learn once all are 1
    oracle = GaussianNB().fit(StandardScaler().fit_transform(x), which)
    model, deviation = fitted.parameters, x.std(axis=0)
    np.testing.assert_allclose(
        (np.array(model.means) - x.mean(axis=0)) / deviation, oracle.theta_, atol=1e-10
    )
    np.testing.assert_allclose(np.array(model.variances) / deviation**2, oracle.var_, rtol=1e-10)
    np.testing.assert_allclose(np.exp(model.log_prior), oracle.class_prior_, rtol=1e-12)
    assert model.sizes == tuple(np.bincount(which))


def test_classes_of_levels_equal_scikit_learn(federate):
    rng = np.random.default_rng(3)
    which = rng.integers(0, 2, 500)
    colour = (rng.integers(0, 3, 500) + which * rng.integers(0, 2, 500)) % 3
    smokes = (rng.random(500) < 0.2 + 0.3 * which) * 1
    columns = {f"colour_{c}": (colour == c) * 1.0 for c in range(3)} | {"smokes": smokes * 1.0}
    targets = {f"is_{c}": (which == c) * 1.0 for c in range(2)}
    fitted = federate(columns | targets).fit(
        "naive_bayes",
        list(columns),
        list(targets),
        indicators=list(columns),
        groups=((0, 1, 2),),
        alpha=0.7,
    )
    oracle = CategoricalNB(alpha=0.7).fit(np.column_stack([colour, smokes]), which)
    [colours, smoking] = oracle.feature_log_prob_
    model = fitted.parameters
    np.testing.assert_allclose(np.array(model.log_true)[:, :3], colours, rtol=1e-12)
    np.testing.assert_allclose(np.array(model.log_true)[:, 3], smoking[:, 1], rtol=1e-12)
    np.testing.assert_allclose(np.array(model.log_false)[:, 3], smoking[:, 0], rtol=1e-12)


def test_a_class_without_rows_is_named(federate):
    pods = federate({"x": np.arange(6.0), "yes": np.ones(6), "no": np.zeros(6)})
    with pytest.raises(DataError, match="'no'"):
        pods.fit("naive_bayes", ["x"], ["yes", "no"])
