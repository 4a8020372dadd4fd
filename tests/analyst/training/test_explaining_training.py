"""``EXPLAIN TRAIN MODEL`` says what TRAIN MODEL then does, and asks no pod to run anything."""

import pytest

SELECT = "SELECT dose, smoker, died FROM patients"


@pytest.fixture(scope="module")
def con(federate, columns):
    return federate("guarded", {"patients": columns})


def explained(con, statement):
    cursor = con.execute(f"EXPLAIN {statement}")
    assert [column[0] for column in cursor.description] == ["explain"]
    assert cursor.receipt == ()
    return [line for (line,) in cursor.fetchall()]


@pytest.mark.parametrize(
    ("family", "rest", "most", "sums"),
    [
        # 2 features and a constant: 6 products, 3 of the score, 3 totals
        ("logistic_regression", "PREDICT died", 40, 12),
        ("logistic_regression (rounds = 9)", "PREDICT died", 9, 12),
        ("linear_regression", "PREDICT died", 4, 12),
        ("pca", "", 3, 6),
        ("kmeans (clusters = 2)", "", 300, 2 + 4 + 1),
    ],
)
def test_rounds_and_sums_are_those_of_training(con, family, rest, most, sums):
    columns = "dose, age" if family.startswith("kmeans") else "dose, smoker"
    select = SELECT if rest else f"SELECT {columns} FROM patients"
    statement = f"TRAIN MODEL m USING {family} {rest} FROM ({select})"
    lines = explained(con, statement)
    assert f"at most {most} rounds" in lines[0]
    assert lines[1] == "at north, south"
    assert f"n, dropped and {sums} sums" in next(
        line for line in reversed(lines) if "sums:" in line
    )
    cursor = con.execute(statement)
    [(_, _, n, _, rounds, *_)] = cursor.fetchall()
    assert (n, rounds <= most) == (1600, True)
    assert {receipt.rows for receipt in cursor.receipt} == {1}


def test_columns_and_what_is_predicted_are_listed(con):
    lines = explained(con, f"TRAIN MODEL m USING logistic_regression PREDICT died FROM ({SELECT})")
    start = next(place for place, line in enumerate(lines) if line.startswith("columns"))
    assert lines[start : start + 5] == [
        'columns, FROM "main"."patients" AS "patients"',
        '  dose [number] = "patients"."dose"',
        '  smoker [1 or 0] = "patients"."smoker"',
        "predicts",
        '  died [number] = "patients"."died"',
    ]


def test_every_pods_policy_is_asked(con):
    fine = f"TRAIN MODEL m USING logistic_regression PREDICT died FROM ({SELECT})"
    assert explained(con, fine)[-3:] == [
        "policy",
        "  north allow, at least 10 units (guarded)",
        "  south allow, at least 10 units (guarded)",
    ]
    hidden = "TRAIN MODEL m USING linear_regression PREDICT dose FROM (SELECT age > 60 AS old, dose FROM patients)"
    assert explained(con, hidden)[-2:] == [
        "  north deny: FILTER_ROLE (guarded)",
        "  south deny: FILTER_ROLE (guarded)",
    ]


def test_masked_rounds_give_away_sums_of_all_pods_only(con):
    statement = f"TRAIN MODEL m USING linear_regression PREDICT died FROM ({SELECT})"
    plain = explained(con, statement)
    masked = explained(con, f"{statement} WITH (secure_aggregation = true)")
    assert not any("masks" in line for line in plain)
    assert sum("under masks" in line for line in masked) == 2
    given = [line for line in masked if "gives away" in line]
    assert given == ["  gives away: moments of all pods together"] * 2


def test_nothing_runs_at_the_pods(con, tmp_path):
    statement = f"TRAIN MODEL unmade USING logistic_regression PREDICT died FROM ({SELECT})"
    explained(con, statement)
    assert "unmade" not in [row[0] for row in con.execute("SHOW MODELS").fetchall()]
