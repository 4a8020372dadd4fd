"""TRAIN MODEL through real pods, under the preset that custodians start from: equal to the pooled fit."""

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm
from scipy import stats

import podsql

COUNT = 3000
STANDARD = "standard"


def people():
    """Columns of unequal scale, and two sites that are unlike each other."""
    draw = np.random.default_rng(5)
    site = np.repeat([0, 1, 1, 2], COUNT // 4)
    age = draw.normal(50 + 8 * site, 12)
    dose = draw.gamma(2.0, 1e-3, COUNT)
    income = draw.normal(4e4 - 5e3 * site, 9e3)
    male = draw.integers(0, 2, COUNT)
    eta = -1 + 0.03 * (age - 50) + 200 * (dose - 2e-3) - 2e-5 * (income - 4e4) + 0.5 * male
    return pa.table(
        {
            "id": np.arange(COUNT),
            "age": age,
            "dose": dose,
            "income": income,
            "sex": np.where(male == 1, "m", "f"),
            "ill": (draw.random(COUNT) < 1 / (1 + np.exp(-eta))).astype(int),
            "visits": draw.poisson(np.exp(0.1 + 0.01 * (age - 50))),
            "cost": draw.gamma(3.0, np.exp(2 + 0.02 * (age - 50)) / 3),
            "mass": pa.array([None if i % 50 == 0 else float(i % 7) for i in range(COUNT)]),
        }
    )


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture(scope="module")
def con(table):
    sizes = (COUNT // 2, COUNT // 4, COUNT // 8)
    starts = (0, *np.cumsum(sizes))
    pods = {
        f"p{place}": {"people": table.slice(start, size)}
        for place, (start, size) in enumerate(zip(starts, (*sizes, COUNT), strict=True))
    }
    with (
        podsql.local(pods=pods, privacy_unit={"people": "id"}, policy=STANDARD) as federation,
        federation.connect() as made,
    ):
        yield made


def design(table, *names):
    columns = [table[name].to_numpy() for name in names]
    return sm.add_constant(np.column_stack(columns))


def described(con, name):
    rows = con.execute(f"DESCRIBE MODEL {name}").fetchall()
    return [row[0] for row in rows], *(np.array([row[at] for row in rows]) for at in (1, 2, 4))


def require_equal(con, name, fit, student=False):
    """``student``: the dispersion is estimated, so that R's glm tests by Student's t."""
    terms, estimates, errors, p_values = described(con, name)
    assert terms[0] == "(intercept)"
    assert np.allclose(estimates, fit.params, rtol=1e-8, atol=1e-10)
    assert np.allclose(errors, fit.bse, rtol=1e-8, atol=1e-10)
    expected = 2 * stats.t.sf(abs(fit.tvalues), fit.df_resid) if student else fit.pvalues
    assert np.allclose(p_values, expected, rtol=1e-6, atol=1e-12)


SELECTED = "age, dose, income, sex = 'm' AS male"


def pooled(table):
    male = (np.array(table["sex"].to_pylist()) == "m").astype(float)
    return np.column_stack([design(table, "age", "dose", "income"), male])


def test_logistic_regression_equals_the_pooled_fit(con, table):
    row = con.execute(
        "TRAIN MODEL ill USING logistic_regression PREDICT ill "
        f"FROM (SELECT {SELECTED}, ill FROM people)"
    ).fetchone()
    assert row[:4] == ("ill", "logistic_regression", COUNT, 0)
    assert row[-1] == "p0, p1, p2, p3"
    require_equal(con, "ill", sm.Logit(table["ill"].to_numpy(), pooled(table)).fit(disp=0))


def test_linear_regression_equals_the_pooled_fit(con, table):
    con.execute(
        "TRAIN MODEL line USING linear_regression PREDICT age "
        "FROM (SELECT dose, income, sex = 'm' AS male, age FROM people)"
    )
    male = pooled(table)[:, -1]
    given = np.column_stack([design(table, "dose", "income"), male])
    require_equal(con, "line", sm.OLS(table["age"].to_numpy(), given).fit())


@pytest.mark.parametrize(
    ("kind", "target", "family"),
    [
        ("poisson_regression", "visits", sm.families.Poisson()),
        ("gamma_regression", "cost", sm.families.Gamma(sm.families.links.Log())),
    ],
)
def test_generalized_models_equal_the_pooled_fit(con, table, kind, target, family):
    con.execute(
        f"TRAIN MODEL g USING {kind} PREDICT {target} FROM (SELECT {SELECTED}, {target} FROM people)"
    )
    fit = sm.GLM(table[target].to_numpy(), pooled(table), family=family).fit(
        tol=1e-12, scale="X2" if kind == "gamma_regression" else None
    )
    require_equal(con, "g", fit, student=kind == "gamma_regression")


def test_rows_without_a_value_are_an_error_or_dropped_by_an_explicit_rule(con, table):
    text = "TRAIN MODEL few USING linear_regression PREDICT age FROM (SELECT mass, age FROM people)"
    with pytest.raises(podsql.Error, match=r"60 of 3000 rows") as caught:
        con.execute(text)
    assert caught.value.code == "DATA"
    row = con.execute(f"{text} WITH (missing = 'drop')").fetchone()
    assert row[2:4] == (2940, 60)
    kept = table.filter(pa.compute.is_valid(table["mass"]))
    require_equal(con, "few", sm.OLS(kept["age"].to_numpy(), design(kept, "mass")).fit())


def test_a_few_people_are_in_no_sum(con):
    text = "TRAIN MODEL one USING linear_regression PREDICT income FROM (SELECT {}, income FROM people)"
    for columns, code in (
        ("age, id = 7 AS odd", "DENIED"),
        ("age, dose > 0.012 AS much", "WITHHELD"),
        ("age, dose", ""),
    ):
        try:
            con.execute(text.format(columns))
            found = ""
        except podsql.PolicyError as refusal:
            found = refusal.code
        assert found == code
    with pytest.raises(podsql.PolicyError) as caught:
        con.execute(text.format("age, dose").replace("people)", "people WHERE age > 85)"))
    assert caught.value.code == "WITHHELD"


def test_models_are_listed_exported_imported_and_dropped(con, tmp_path):
    con.execute(
        "TRAIN MODEL kept USING linear_regression PREDICT age FROM (SELECT dose, age FROM people)"
    )
    before = con.execute("DESCRIBE MODEL kept").fetchall()
    assert ("kept", "linear_regression", "age", COUNT) in [
        row[:4] for row in con.execute("SHOW MODELS").fetchall()
    ]
    file = tmp_path / "kept.safetensors"
    con.execute(f"EXPORT MODEL kept TO '{file}'")
    con.execute("DROP MODEL kept")
    with pytest.raises(podsql.Error, match="no model") as caught:
        con.execute("DESCRIBE MODEL kept")
    assert caught.value.code == "UNKNOWN_MODEL"
    con.execute(f"IMPORT MODEL again FROM '{file}'")
    assert con.execute("DESCRIBE MODEL again").fetchall() == before


def test_a_model_may_begin_where_another_ended(con):
    text = (
        "TRAIN MODEL {} USING logistic_regression PREDICT ill FROM (SELECT age, ill FROM people){}"
    )
    cold = con.execute(text.format("cold", "")).fetchone()
    warm = con.execute(text.format("warm", " FROM MODEL cold")).fetchone()
    assert warm[4] < cold[4]
    first, second = described(con, "cold")[1], described(con, "warm")[1]
    assert np.allclose(first, second, rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("TRAIN MODEL m USING magic PREDICT ill FROM (SELECT age, ill FROM people)", "OPTION"),
        (
            "TRAIN MODEL m USING logistic_regression (depth = 3) PREDICT ill "
            "FROM (SELECT age, ill FROM people)",
            "OPTION",
        ),
        (
            "TRAIN MODEL m USING linear_regression PREDICT age FROM (SELECT age, dose FROM people) "
            "WITH (speed = 3)",
            "OPTION",
        ),
        (
            "TRAIN MODEL m USING linear_regression PREDICT wage FROM (SELECT age, dose FROM people)",
            "UNKNOWN_COLUMN",
        ),
        ("TRAIN MODEL m USING linear_regression FROM (SELECT age, dose FROM people)", "STATEMENT"),
        (
            "TRAIN MODEL m USING linear_regression PREDICT age FROM (SELECT age, sex FROM people)",
            "BINDING",
        ),
        (
            "TRAIN MODEL m USING linear_regression PREDICT age "
            "FROM (SELECT avg(age) AS age, dose FROM people GROUP BY dose)",
            "NOT_SUPPORTED",
        ),
        (
            "TRAIN MODEL m USING linear_regression PREDICT age "
            "FROM (SELECT age, dose, 2 * dose AS twice FROM people)",
            "COLLINEAR",
        ),
        ("TRAIN MODEL USING linear_regression", "STATEMENT"),
        ("DROP MODEL nothing", "UNKNOWN_MODEL"),
    ],
)
def test_what_is_wrong_is_said(con, text, code):
    with pytest.raises(podsql.Error) as caught:
        con.execute(text)
    assert caught.value.code == code


def test_ordinary_statements_go_on_beside_models(con):
    con.execute("DROP MODEL IF EXISTS nothing")
    assert con.execute("SELECT count(*) FROM people").fetchone() == (COUNT,)
