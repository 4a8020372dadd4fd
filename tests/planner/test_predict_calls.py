"""Which calls of predict a text has, and that everything else of it stays as it was written."""

import pytest

from podsql.errors import Error
from podsql.planner.training.predict_calls import predict_calls, replaced


def written(sql):
    return replaced(sql, predict_calls(sql), lambda call: f"<{call.model} {call.output}>")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT predict('m')", """SELECT <m > AS "predict('m')\""""),
        (
            "SELECT a, Predict ( 'm' , 'x' ) FROM t",
            """SELECT a, <m x> AS "Predict ( 'm' , 'x' )" FROM t""",
        ),
        ("SELECT predict('m') AS p FROM t", "SELECT <m > AS p FROM t"),
        ("SELECT predict('m') p FROM t", "SELECT <m > p FROM t"),
        ("SELECT 1 + predict('m') FROM t", "SELECT 1 + <m > FROM t"),
        ("SELECT avg(predict('m')) FROM t", "SELECT avg(<m >) FROM t"),
        ("SELECT round(1, predict('m')) FROM t", "SELECT round(1, <m >) FROM t"),
        ("SELECT 1 FROM t WHERE predict('m') > 1", "SELECT 1 FROM t WHERE <m > > 1"),
        ("SELECT 1 FROM t ORDER BY a, predict('m')", "SELECT 1 FROM t ORDER BY a, <m >"),
        (
            "SELECT a, (SELECT predict('m') FROM u)",
            """SELECT a, (SELECT <m > AS "predict('m')" FROM u)""",
        ),
        ("SELECT predict('a'), predict('b') p", """SELECT <a > AS "predict('a')", <b > p"""),
        ("SELECT predict('a''b') AS p", "SELECT <a'b > AS p"),
        ("SELECT 'predict(''m'')' -- predict('m')", "SELECT 'predict(''m'')' -- predict('m')"),
        ('SELECT "predict", predict FROM t', 'SELECT "predict", predict FROM t'),
        ("SELECT x.predict('m') FROM t", "SELECT x.predict('m') FROM t"),
        ("PREDICT USING MODEL m FROM (SELECT 1)", "PREDICT USING MODEL m FROM (SELECT 1)"),
        ("TRAIN MODEL m USING f PREDICT y FROM (SELECT 1)",) * 2,
    ],
)
def test_a_call_is_replaced_and_nothing_else(sql, expected):
    assert written(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT predict()",
        "SELECT predict(m)",
        "SELECT predict(1)",
        "SELECT predict('m', 'a', 'b')",
        "SELECT predict('m' 'a')",
        "SELECT predict(lower('m'))",
        "SELECT predict('m'",
        "SELECT predict(?)",
    ],
)
def test_a_call_without_a_plain_name_is_refused(sql):
    with pytest.raises(Error) as caught:
        predict_calls(sql)
    assert caught.value.code == "STATEMENT"
    assert "predict('m')" in caught.value.hint
