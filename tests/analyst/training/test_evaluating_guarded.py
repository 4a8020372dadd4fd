"""``EVALUATE MODEL`` where rows may not leave: what is withheld, and that the rest is as exact."""

import numpy as np
import pytest
from sklearn import metrics as sk

from podsql.errors import Error

SELECT = "SELECT dose, smoker, died FROM patients"


@pytest.fixture(scope="module")
def con(federate, columns):
    made = federate("guarded", {"patients": columns})
    made.execute(f"TRAIN MODEL risk USING logistic_regression PREDICT died FROM ({SELECT})")
    made.execute(
        "TRAIN MODEL days USING linear_regression PREDICT stay FROM (SELECT age, dose, stay FROM patients)"
    )
    made.execute(
        "TRAIN MODEL aged USING logistic_regression PREDICT died FROM (SELECT age, died FROM patients)"
    )
    return made


def evaluated(con, sql):
    rows = con.execute(sql).fetch_arrow_table().to_pylist()
    return {(row["pod"], row["metric"]): row["value"] for row in rows if row["metric"] != "rate"}


def test_areas_come_from_bins_that_are_joined_until_enough_people_are_in_them(con, columns, scopes):
    kept = con.bench.shelf.get("risk").fitted.parameters
    slopes = np.array(kept.slopes)
    found = evaluated(con, f"EVALUATE MODEL risk FROM ({SELECT})")
    for pod, part in scopes(columns).items():
        rows = np.column_stack([part["dose"], part["smoker"]])
        p = 1 / (1 + np.exp(-(kept.at_centre + (rows - kept.centre) @ slopes)))
        area, hidden = found[pod, "auc"], found[pod, "auc_bin_error"]
        assert abs(area - sk.roc_auc_score(part["died"], p)) <= hidden < 0.08
        assert found[pod, "accuracy"] == pytest.approx(((p >= 0.5) == part["died"]).mean())
        assert found[pod, "brier"] == pytest.approx(sk.brier_score_loss(part["died"], p))


def test_columns_that_may_not_filter_make_no_bins(con):
    found = evaluated(con, "EVALUATE MODEL aged FROM (SELECT age, died FROM patients)")
    for pod in ("north", "south", "(pooled)"):
        assert found[pod, "brier"] is not None
        assert [found[pod, name] for name in ("accuracy", "auc", "auc_bin_error")] == [None] * 3


def test_absolute_errors_do_not_leave(con, columns):
    found = evaluated(con, "EVALUATE MODEL days FROM (SELECT age, dose, stay FROM patients)")
    assert found["(pooled)", "rmse"] == pytest.approx(
        con.bench.shelf.get("days").fitted.metrics["deviance"] ** 0.5 / len(columns["id"]) ** 0.5
    )
    assert found["(pooled)", "mae"] is found["north", "mae"] is None


def test_few_people_give_nothing(con):
    with pytest.raises(Error) as caught:
        con.execute(f"EVALUATE MODEL risk FROM ({SELECT} WHERE dose > 6.5)")
    assert caught.value.code == "WITHHELD"
    assert "south" in str(caught.value)
