"""Pods with next to no rows, and pods whose sums are no numbers: the model is right, or says whose they are."""

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

import podsql
from podsql.errors import Error


@pytest.fixture(scope="module")
def con(columns):
    """Four pods: most rows, none, one row, and one row of a value that cannot be squared."""
    rows = pa.table({name: columns[name] for name in ("id", "age", "dose", "died", "stay")})
    rows = rows.append_column("huge", pa.array(np.where(columns["id"] == 1599, 1e200, 1.0)))
    cuts = {"north": (0, 1598), "empty": (0, 0), "east": (1598, 1599), "west": (1599, 1600)}
    pods = {name: {"patients": rows.slice(a, b - a)} for name, (a, b) in cuts.items()}
    with (
        podsql.local(pods, policy="open", isolation="thread") as federation,
        federation.connect() as made,
    ):
        yield made


def design(columns):
    return sm.add_constant(np.column_stack([columns["age"], columns["dose"]]))


@pytest.mark.parametrize("masked", [False, True])
def test_a_pod_of_one_row_or_none_is_a_part_of_the_whole(con, columns, masked):
    con.execute(
        "TRAIN MODEL died USING logistic_regression PREDICT died FROM (SELECT age, dose, died FROM patients)"
        f" WITH (secure_aggregation = {masked})"
    )
    pooled = sm.Logit(columns["died"], design(columns)).fit(disp=0, tol=1e-12)
    rows = con.execute("DESCRIBE MODEL died").fetchall()
    assert [row[1] for row in rows] == pytest.approx(pooled.params, rel=1e-8)
    assert [row[2] for row in rows] == pytest.approx(pooled.bse, rel=1e-8)


def test_a_sum_that_is_no_number_names_the_pod_and_no_value(con):
    with pytest.raises(Error) as caught:
        con.execute(
            "TRAIN MODEL m USING linear_regression PREDICT stay FROM (SELECT huge, stay FROM patients)"
        )
    assert (caught.value.code, caught.value.pod) == ("DATA", "west")
    assert "1e200" not in str(caught.value)
    assert con.execute("SHOW MODELS").fetchall()[0][0] == "died"
