"""``WITH (validation = …)``: a part of the people is held back, the same ones at training and evaluation."""

from hashlib import md5

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn import metrics as sk

from podsql.errors import Error

SELECT = "SELECT age, dose, died FROM patients"
TRAIN = f"TRAIN MODEL risk USING logistic_regression PREDICT died FROM ({SELECT})"


@pytest.fixture(scope="module", params=["open", "guarded"])
def con(request, federate, columns):
    return federate(request.param, {"patients": columns})


@pytest.fixture(scope="module")
def held(columns):
    """Whether each row is of the first three tenths of the people."""
    digests = [md5(f"podsql split:{one}".encode(), usedforsecurity=False) for one in columns["id"]]
    return np.array([int(one.hexdigest()[:8], 16) % 10 < 3 for one in digests])


def design(columns, rows):
    return sm.add_constant(np.column_stack([columns["age"], columns["dose"]])[rows])


def test_the_model_is_the_one_of_the_others_and_is_evaluated_on_them(con, columns, held):
    ((_, _, n, *_),) = con.execute(f"{TRAIN} WITH (validation = 0.3)").fetchall()
    assert n == (~held).sum()
    pooled = sm.Logit(columns["died"][~held], design(columns, ~held)).fit(disp=0, tol=1e-12)
    terms = con.execute("DESCRIBE MODEL risk").fetchall()
    assert [row[1] for row in terms] == pytest.approx(pooled.params, rel=1e-8)
    assert [row[2] for row in terms] == pytest.approx(pooled.bse, rel=1e-8)
    for part, rows in (("validation", held), ("training", ~held), ("all", held | ~held)):
        found = con.execute(f"EVALUATE MODEL risk FROM ({SELECT}) WITH (part = '{part}')")
        by = {(row[1], row[2]): row[3] for row in found.fetchall()}
        p = pooled.predict(design(columns, rows))
        assert by["(pooled)", "n"] == rows.sum()
        assert by["(pooled)", "log_loss"] == pytest.approx(sk.log_loss(columns["died"][rows], p))


@pytest.mark.parametrize("share", ["0", "1", "0.25", "'most'", "true"])
def test_shares_are_tenths(con, share):
    with pytest.raises(Error) as caught:
        con.execute(f"{TRAIN} WITH (validation = {share})")
    assert caught.value.code == "OPTION"


def test_a_model_of_all_rows_has_no_part_of_its_own(con):
    con.execute(TRAIN.replace("risk", "whole"))
    with pytest.raises(Error) as caught:
        con.execute(f"EVALUATE MODEL whole FROM ({SELECT}) WITH (part = 'validation')")
    assert caught.value.code == "MODEL_STATE"


def test_the_explanation_says_who_is_held_back(con):
    lines = con.execute(f"EXPLAIN {TRAIN} WITH (validation = 0.3)").fetchall()
    assert any("3 tenths of the people are held back" in line for (line,) in lines)
