"""``TRAIN MODEL … USING kaplan_meier`` over pods equals lifelines on the pooled times, cut to the same bins."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from podsql.errors import Error

WIDTH, HORIZON = 0.5, 16.0
BINS = f"width = {WIDTH}, horizon = {HORIZON:g}"
Z = 1.959963984540054


@pytest.fixture(scope="module")
def gaps(columns):
    """Of some people a column is not known, or odd."""
    low = columns["age"] < 40
    return {
        **columns,
        "stay": np.where(low, np.nan, columns["stay"]),
        "died": np.where(low, 2, columns["died"]),
        "late": columns["stay"] - 9,
    }


@pytest.fixture(scope="module")
def con(federate, columns, gaps):
    return federate("open", {"patients": columns, "gaps": gaps})


@pytest.fixture(scope="module")
def guarded(federate, columns):
    return federate("guarded", {"patients": columns})


def train(con, options, columns, rest=""):
    con.execute(
        f"TRAIN MODEL s USING kaplan_meier ({options}) PREDICT stay, died"
        f" FROM (SELECT {columns} FROM patients {rest})"
    )
    return con.execute("DESCRIBE MODEL s").fetch_arrow_table().to_pylist()


def cut(columns, edges):
    """Times at the start of their bins; who is at risk at the horizon leaves in the last one."""
    edges = np.array(edges)
    stay, within = columns["stay"], columns["stay"] < edges[-1]
    place = np.minimum(np.searchsorted(edges, stay, side="right") - 1, len(edges) - 2)
    return pd.DataFrame(
        {"stay": edges[place], "died": (columns["died"] == 1) & within, "site": columns["site"],
         "smoker": columns["smoker"]}
    )  # fmt: skip


def same(rows, pooled):
    """Whether the steps are those of lifelines over these rows."""
    oracle = KaplanMeierFitter().fit(pooled["stay"], pooled["died"])
    times = [row["time"] for row in rows]
    table = oracle.event_table
    assert times == table.index[table["removed"] > 0].tolist()
    assert [row["at_risk"] for row in rows] == table.loc[times, "at_risk"].tolist()
    assert [row["events"] for row in rows] == table.loc[times, "observed"].tolist()
    survival = oracle.survival_function_.loc[times].to_numpy().ravel()
    np.testing.assert_allclose([row["survival"] for row in rows], survival, rtol=1e-12)
    bounds = oracle.confidence_interval_.loc[times].to_numpy()
    some = survival < 1
    found = np.array([(row["low"], row["high"]) for row in rows])
    np.testing.assert_allclose(found[some], bounds[some], rtol=1e-12)
    spread = np.array([row["std_error"] for row in rows])[some]
    reach = Z * spread / (survival[some] * np.log(survival[some]))
    np.testing.assert_allclose(survival[some] ** np.exp(-reach), bounds[some, 0], rtol=1e-12)


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4.0")  # within lifelines
def test_curves_of_arms_and_their_test(con, columns):
    rows = train(con, BINS, "stay, died, site")
    pooled = cut(columns, np.arange(0, HORIZON + WIDTH, WIDTH))
    assert (columns["stay"] >= HORIZON).any()
    *steps, test = rows
    assert [*dict.fromkeys(row["arm"] for row in steps)] == ["home", "icu", "ward"]
    for arm in ("home", "icu", "ward"):
        same([row for row in steps if row["arm"] == arm], pooled[pooled["site"] == arm])
    oracle = multivariate_logrank_test(pooled["stay"], pooled["site"], pooled["died"])
    assert (test["arm"], test["df"], test["time"]) == ("(log-rank)", 2, None)
    assert test["statistic"] == pytest.approx(oracle.test_statistic, rel=1e-12)
    assert test["p_value"] == pytest.approx(oracle.p_value, rel=1e-12)


def test_a_curve_without_arms_over_bins_that_are_listed(con, columns):
    rows = train(con, "bins = [0, 9, 11.5, 12, 16]", "died, stay")
    assert {row["arm"] for row in rows} == {""}
    same(rows, cut(columns, [0, 9, 11.5, 12, 16]))


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4.0")  # within lifelines
def test_arms_of_conditions_and_an_event_that_is_one(con, columns):
    *steps, test = train(
        con,
        "width = 1, horizon = 20",
        "stay, smoker, site = 'icu' AS icu, died = 1 AS died",
        "WHERE age > 50",
    )
    old = {name: values[columns["age"] > 50] for name, values in columns.items()}
    pooled = cut(old, range(21))
    arms = {
        f"{'' if smoker else 'not '}smoker, {'' if icu else 'not '}icu": (smoker, icu)
        for smoker in (True, False)
        for icu in (True, False)
    }
    assert {row["arm"] for row in steps} == set(arms)
    for arm, (smoker, icu) in arms.items():
        part = (pooled["smoker"] == smoker) & ((pooled["site"] == "icu") == icu)
        same([row for row in steps if row["arm"] == arm], pooled[part])
    named = np.char.add(
        pooled["smoker"].astype(str).tolist(), pooled["site"].eq("icu").astype(str).tolist()
    )
    oracle = multivariate_logrank_test(pooled["stay"], named, pooled["died"])
    assert test["statistic"] == pytest.approx(oracle.test_statistic, rel=1e-12)


def test_curves_are_a_model_like_others(con, columns, tmp_path):
    cursor = con.execute(
        "TRAIN MODEL kept USING kaplan_meier (width = 2, horizon = 16) PREDICT stay, died"
        " FROM (SELECT stay, died FROM patients WHERE age > ?) WITH (pods = 'south')",
        (30,),
    )
    assert cursor.fetchone() == (
        "kept",
        "kaplan_meier",
        640 - (columns["age"][960:] <= 30).sum(),
        0,
        1,
        None,
        "south",
    )
    assert {receipt.pod for receipt in cursor.receipt} == {"south"}
    before = con.execute("DESCRIBE MODEL kept").fetchall()
    for path in (tmp_path / "kept.json", tmp_path / "kept.safetensors"):
        con.execute(f"EXPORT MODEL kept TO '{path}'")
        con.execute(f"IMPORT MODEL other FROM '{path}'")
        assert con.execute("DESCRIBE MODEL other").fetchall() == before
    shown = con.execute("SHOW MODELS").fetch_arrow_table().to_pylist()
    assert ("other", "kaplan_meier", "stay, died") in [
        (row["model"], row["family"], row["targets"]) for row in shown
    ]


def test_the_picture_falls_as_the_curves_do(con):
    *rows, test = train(con, BINS, "stay, died, site")
    drawn = ElementTree.fromstring(con.execute("DESCRIBE MODEL s").picture())
    space = "{http://www.w3.org/2000/svg}"
    frame = next(one for one in drawn.iter(f"{space}rect") if one.get("class") == "frame")
    left, top, wide, high = (float(frame.get(name)) for name in ("x", "y", "width", "height"))
    lines = [one.get("d") for one in drawn.iter(f"{space}path") if "V" in one.get("d")]
    last = max(row["time"] for row in rows)
    for name, line in zip(("low", "high", "survival"), lines, strict=False):
        steps = [row for row in rows if row["arm"] == "home"]
        falls = [fall.split("V") for fall in line.split("H")[1:-1]]
        assert len(falls) == len(steps)
        for (x, y), row in zip(falls, steps, strict=True):
            assert (float(x) - left) / wide * last == pytest.approx(row["time"], abs=0.02)
            assert 1 - (float(y) - top) / high == pytest.approx(row[name], abs=1e-4)
    assert len(lines) == 9
    words = [one.text for one in drawn.iter(f"{space}text")]
    assert f"home: {rows[0]['at_risk']} at risk" in words
    assert any(f"log-rank {test['statistic']:.3f}, df 2" in word for word in words)


def test_explain_shows_the_select_and_what_policies_say(guarded):
    lines = [
        line
        for (line,) in guarded.execute(
            f"EXPLAIN TRAIN MODEL s USING kaplan_meier ({BINS}) PREDICT stay, died"
            " FROM (SELECT stay, died, smoker FROM patients)"
        )
    ]
    assert lines[0].startswith("kaplan_meier: one SELECT; 32 bins")
    assert lines[-2:] == [
        line for line in lines if line.startswith(("  north allow", "  south allow"))
    ]
    assert "at least 10 units" in lines[-1]


def test_under_rules_of_disclosure_bins_are_as_wide_as_people_are_many(guarded, columns):
    edges = [0, 11, 12, 13, 14, 15, 16]
    rows = train(guarded, f"bins = {edges}", "stay, died")
    same(rows, cut(columns, edges))
    with pytest.raises(Error) as caught:
        train(guarded, BINS, "stay, died")
    assert caught.value.code == "WITHHELD"
    assert "wider bins" in caught.value.hint
    assert guarded.execute("DESCRIBE MODEL s").fetch_arrow_table().to_pylist() == rows


@pytest.mark.parametrize(
    ("options", "rest", "code", "named"),
    [
        ("", "PREDICT stay, died FROM (SELECT stay, died FROM patients)", "OPTION", "width"),
        ("(width = 3)", "PREDICT stay, died FROM (SELECT stay, died FROM patients)", "OPTION", "horizon"),
        ("(bins = [0, 3], width = 1)", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "bins"),
        ("(bins = [1, 3])", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "begin at 0"),
        ("(bins = [0, 3, 3])", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "grow"),
        ("(bins = [0, day])", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "numbers"),
        ("(width = 0.01, horizon = 16)", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "200"),
        ("(width = 0, horizon = 16)", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "above 0"),
        (f"({BINS}, l2 = 1)", "PREDICT stay, died FROM (SELECT 1)", "OPTION", "l2"),
        (f"({BINS})", "PREDICT stay FROM (SELECT stay, died FROM patients)", "STATEMENT", "event"),
        (f"({BINS})", "PREDICT stay, died FROM (SELECT stay, died, dose FROM patients)", "BINDING", "dose"),
        (f"({BINS})", "PREDICT smoker, died FROM (SELECT smoker, died FROM patients)", "BINDING", "time"),
        (f"({BINS})", "PREDICT stay, died FROM (SELECT stay, died FROM gaps)", "DATA", "no time"),
        (f"({BINS})", "PREDICT cost, died FROM (SELECT cost, died FROM gaps)", "DATA", "neither so"),
        (f"({BINS})", "PREDICT late, smoker FROM (SELECT late, smoker FROM gaps)", "DATA", "negative"),
        (f"({BINS})", "PREDICT stay, died FROM (SELECT stay, died FROM patients WHERE false)", "DATA", "no row"),
        (f"({BINS})", "PREDICT stay, died FROM (SELECT stay, died FROM patients) FROM MODEL s", "MODEL_STATE", "earlier"),
        (f"({BINS})", "PREDICT stay, died FROM (SELECT stay, died FROM patients) WITH (missing = 'drop')", "OPTION", "missing"),
    ],
)  # fmt: skip
def test_what_makes_no_curve_is_said(con, options, rest, code, named):
    with pytest.raises(Error) as caught:
        con.execute(f"TRAIN MODEL odd USING kaplan_meier {options} {rest}")
    assert caught.value.code == code
    assert named in f"{caught.value} {caught.value.hint}"


def test_curves_foretell_no_row(con):
    train(con, BINS, "stay, died")
    for sql in (
        "SELECT predict('s') FROM patients",
        "EVALUATE MODEL s FROM (SELECT stay, died FROM patients)",
    ):
        with pytest.raises(Error) as caught:
            con.execute(sql)
        assert caught.value.code == "NOT_SUPPORTED"
