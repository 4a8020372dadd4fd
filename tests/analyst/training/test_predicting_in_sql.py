"""``predict('m')`` within statements: equal to statsmodels over the pooled rows, wherever it runs."""

import numpy as np
import pytest
import statsmodels.api as sm

from podsql.errors import Error

TRAIN = "TRAIN MODEL risk USING logistic_regression PREDICT died FROM (SELECT age, dose, site, smoker, died FROM patients)"


@pytest.fixture(scope="module")
def con(federate, columns):
    made = federate("open", {"patients": columns})
    made.execute(TRAIN)
    made.execute(
        "TRAIN MODEL groups USING kmeans (clusters = 3) FROM (SELECT age, dose FROM patients)"
    )
    made.execute("CREATE TEMP TABLE kept AS SELECT * FROM patients")
    return made


@pytest.fixture(scope="module")
def expected(columns):
    """Of each row, by id."""
    design = np.column_stack(
        [
            np.ones(len(columns["age"])),
            columns["age"],
            columns["dose"],
            columns["site"] == "ward",
            columns["site"] == "icu",
            columns["smoker"],
        ]
    )
    return sm.Logit(columns["died"], design).fit(disp=0, tol=1e-12).predict(design)


def refused(con, sql):
    with pytest.raises(Error) as caught:
        con.execute(sql)
    return caught.value


@pytest.mark.parametrize("table", ["patients", "kept"])
def test_every_row_gets_the_pooled_fits_prediction(con, expected, table):
    cursor = con.execute(f"SELECT id, predict('RISK') FROM {table} ORDER BY id")
    assert [column[0] for column in cursor.description] == ["id", "predict('RISK')"]
    found = cursor.fetchall()
    assert [row[0] for row in found] == list(range(len(expected)))
    np.testing.assert_allclose([row[1] for row in found], expected, rtol=1e-9)


@pytest.mark.parametrize("table", ["patients", "kept"])
def test_the_linear_predictor_is_the_other_output(con, expected, table):
    found = con.execute(f"SELECT predict('risk', 'Linear') FROM {table} ORDER BY id").fetchall()
    np.testing.assert_allclose([x for (x,) in found], np.log(expected / (1 - expected)), rtol=1e-8)


def test_aggregates_over_predictions_are_made_in_the_pods(con, columns, expected):
    cursor = con.execute(
        "SELECT site, count(*) AS n, avg(predict('risk')) AS p FROM patients"
        " WHERE predict('risk') >= 0.2 GROUP BY site ORDER BY site"
    )
    for site, n, mean in cursor.fetchall():
        chosen = (columns["site"] == site) & (expected >= 0.2)
        assert n == chosen.sum()
        assert mean == pytest.approx(expected[chosen].mean(), rel=1e-9)
    assert cursor.plan.disclosure == "additive"
    assert all(receipt.rows <= 3 for receipt in cursor.receipt)


def test_columns_are_found_by_name_whatever_their_case_and_table(con, expected):
    sql = """
        SELECT predict('risk') FROM
        (SELECT id, AGE, dose AS "Dose", site, age > 0 AND smoker AS Smoker FROM patients) AS p ORDER BY id"""
    found = con.execute(sql).fetchall()
    np.testing.assert_allclose([x for (x,) in found], expected, rtol=1e-9)


def test_a_value_that_was_not_declared_has_no_prediction(con):
    con.execute(
        "CREATE OR REPLACE TEMP TABLE odd AS SELECT 60 AS age, 1 AS dose, false AS smoker, 'icu' AS site"
    )
    [(known,)] = con.execute("SELECT predict('risk') FROM odd").fetchall()
    assert 0 < known < 1
    for site in ("'garden'", "'ICU'", "NULL::VARCHAR"):
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE odd AS SELECT 60 AS age, 1 AS dose, false AS smoker, {site} AS site"
        )
        assert con.execute("SELECT predict('risk') FROM odd").fetchall() == [(None,)]


def test_clusters_and_their_distances(con, columns):
    found = con.execute(
        "SELECT predict('groups'), predict('groups', 'distance') FROM patients ORDER BY id"
    ).fetchall()
    centres = np.array(con.bench.shelf.get("groups").fitted.parameters.centres)
    scale = [columns["age"].std(), columns["dose"].std()]
    rows = np.column_stack([columns["age"], columns["dose"]])
    distances = np.linalg.norm((rows[:, None] - centres) / scale, axis=2)
    assert [cluster for cluster, _ in found] == distances.argmin(axis=1).tolist()
    np.testing.assert_allclose(
        [distance for _, distance in found], distances.min(axis=1), rtol=1e-9
    )


def test_copies_and_plans_know_predictions(con, expected, tmp_path):
    path = tmp_path / "scores.parquet"
    copied = con.execute(f"COPY (SELECT id, predict('risk') AS p FROM patients) TO '{path}'")
    assert copied.rowcount == len(expected)
    plan = con.explain("SELECT avg(predict('risk')) FROM patients")
    assert "gives away: additive" in plan
    assert "predict" not in plan


@pytest.mark.parametrize(
    ("sql", "code", "named"),
    [
        ("SELECT predict('rsk') FROM patients", "UNKNOWN_MODEL", "risk"),
        ("SELECT predict('risk', 'class') FROM patients", "OPTION", "linear"),
        (
            "SELECT predict('risk') FROM (SELECT id, age, dose, smoker FROM patients) AS p",
            "UNKNOWN_COLUMN",
            "site",
        ),
        (
            "SELECT predict('risk') FROM (SELECT age, site, smoker FROM kept)",
            "UNKNOWN_COLUMN",
            "dose",
        ),
        ("SELECT predict(id) FROM patients", "STATEMENT", "predict"),
    ],
)
def test_what_is_missing_is_named(con, sql, code, named):
    fault = refused(con, sql)
    assert fault.code == code
    assert named in str(fault)
