"""Curves and tests from counts per bin equal lifelines' on the pooled times, cut to the same bins."""

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from podsql.engine.training.survival import Row, curves, log_rank
from podsql.planner.training.curve_select import curve_select

WIDTH, HORIZON = 0.25, 4.0
EDGES = tuple(np.arange(0, HORIZON + WIDTH, WIDTH).tolist())
STARTS = EDGES[:-1]


@pytest.fixture
def patients():
    rng = np.random.default_rng(1)
    arm = rng.choice(["a", "b", "c"], 500, p=[0.5, 0.3, 0.2])
    time = rng.exponential(np.where(arm == "b", 3.0, 1.5))
    end = rng.exponential(2.5, 500)
    return pd.DataFrame(
        {"arm": arm, "seen": np.minimum(time, end), "died": time <= end, "age": np.arange(500)}
    )


@pytest.fixture
def counted(engine, patients):
    """Rows of the statement, added over four pods as the ordinary machinery would."""

    def counted(*arms, where="true"):
        sql = curve_select(
            f"SELECT * FROM t WHERE {where}",
            time="seen",
            event="died",
            condition=True,
            arms=arms,
            edges=EDGES,
        )
        total = {}
        for low, high in [(0, 250), (250, 430), (430, 430), (430, 500)]:
            engine.register("t", patients.iloc[low:high])
            for *arm, place, n, known, events in engine.execute(sql).fetchall():
                assert known == n
                before = total.get((*arm, place), (0, 0))
                total[*arm, place] = (before[0] + events, before[1] + n - events)
            engine.unregister("t")
        return [Row("".join(key[:-1]), key[-1], *value) for key, value in total.items()]

    return counted


def cut(patients):
    """Times at the start of their bins; who is at risk at the horizon leaves in the last one."""
    within = patients["seen"] < HORIZON
    seen = np.floor(patients["seen"] / WIDTH) * WIDTH
    return patients.assign(seen=seen.where(within, STARTS[-1]), died=patients["died"] & within)


def test_a_curve_equals_that_of_the_cut_times(counted, patients):
    pooled = cut(patients)
    assert (patients["seen"] >= HORIZON).sum() > 5
    [curve] = curves(counted(), STARTS)
    oracle = KaplanMeierFitter().fit(pooled["seen"], pooled["died"])
    times = [step.time for step in curve.steps]
    table = oracle.event_table.loc[times]
    assert [step.at_risk for step in curve.steps] == table["at_risk"].tolist()
    assert [step.events for step in curve.steps] == table["observed"].tolist()
    assert [step.censored for step in curve.steps] == table["censored"].tolist()
    expected = oracle.survival_function_.loc[times].to_numpy().ravel()
    np.testing.assert_allclose([step.survival for step in curve.steps], expected, rtol=1e-12)
    bounds = oracle.confidence_interval_.loc[times].to_numpy()
    found = np.array([(step.low, step.high) for step in curve.steps])
    np.testing.assert_allclose(found, bounds, rtol=1e-10)
    # Greenwood: the bounds are exp(-exp(log(-log S) ± z s / (S log S)))
    spread = np.array([step.std_error for step in curve.steps])
    reach = 1.959963984540054 * spread / (expected * np.log(expected))
    np.testing.assert_allclose(expected ** np.exp(-reach), bounds[:, 0], rtol=1e-10)
    assert curve.median == oracle.median_survival_time_


def test_a_curve_of_each_arm(counted, patients):
    pooled = cut(patients)
    found = curves(counted("arm"), STARTS)
    assert [curve.arm for curve in found] == ["a", "b", "c"]
    for curve in found:
        part = pooled[pooled["arm"] == curve.arm]
        oracle = KaplanMeierFitter().fit(part["seen"], part["died"])
        expected = oracle.survival_function_.loc[[step.time for step in curve.steps]]
        np.testing.assert_allclose(
            [step.survival for step in curve.steps], expected.to_numpy().ravel(), rtol=1e-12
        )


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4.0")  # within lifelines
@pytest.mark.parametrize("arms", [("a", "b"), ("a", "b", "c")])
def test_a_log_rank_test_equals_that_of_the_cut_times(counted, patients, arms):
    pooled = cut(patients)
    pooled = pooled[pooled["arm"].isin(arms)]
    listed = ", ".join(f"'{arm}'" for arm in arms)
    found = log_rank(counted("arm", where=f"arm IN ({listed})"))
    oracle = multivariate_logrank_test(pooled["seen"], pooled["arm"], pooled["died"])
    assert found.freedom == len(arms) - 1
    assert found.statistic == pytest.approx(oracle.test_statistic, rel=1e-10)
    assert found.p_value == pytest.approx(oracle.p_value, rel=1e-8)
    assert sum(found.observed) == pytest.approx(sum(found.expected), rel=1e-12)


def test_where_there_is_nothing_to_compare_there_is_no_test(counted):
    assert log_rank(counted()) is None
    assert log_rank([Row(one.arm, one.place, 0, 1) for one in counted("arm")]) is None


def test_a_curve_that_ends_at_zero_has_no_standard_error_there():
    [curve] = curves([Row("", 0, 1, 1), Row("", 2, 1, 0)], (0.0, 1.0, 2.0))
    first, last = curve.steps
    assert (first.survival, first.std_error) == pytest.approx((2 / 3, (2 / 3) * (1 / 6) ** 0.5))
    assert (last.time, last.at_risk, last.survival, last.std_error) == (2.0, 1, 0.0, None)
    assert (last.low, last.high, curve.median) == (0.0, 0.0, 2.0)
