"""Curves and tests from counts per bin equal lifelines' on the pooled times, cut to the same bins."""

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from podsql.engine.training.survival import curves, log_rank, survival_sql
from podsql.errors import DataError, ProgrammingError

WIDTH = 0.25


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

    def counted(group=None, source="t", event="died"):
        sql = survival_sql(source, duration="seen", event=event, width=WIDTH, group=group)
        table = patients.copy()
        table.loc[table["age"] == 7, "seen"] = np.nan  # takes no part
        total = {}
        for low, high in [(0, 250), (250, 430), (430, 430), (430, 500)]:
            engine.register("t", table.iloc[low:high])
            for name, place, events, censored in engine.execute(sql).fetchall():
                before = total.get((name, place), (0, 0))
                total[name, place] = (before[0] + events, before[1] + censored)
            engine.unregister("t")
        return [(*key, *value) for key, value in total.items()]

    return counted


def known(patients):
    kept = patients[patients["age"] != 7]
    return kept.assign(seen=np.floor(kept["seen"] / WIDTH) * WIDTH)


def test_a_curve_equals_that_of_the_cut_times(counted, patients):
    pooled = known(patients)
    [curve] = curves(counted(), WIDTH)
    oracle = KaplanMeierFitter().fit(pooled["seen"], pooled["died"])
    table = oracle.event_table.loc[[step.time for step in curve.steps]]
    assert [step.at_risk for step in curve.steps] == table["at_risk"].tolist()
    assert [step.events for step in curve.steps] == table["observed"].tolist()
    times = [step.time for step in curve.steps]
    expected = oracle.survival_function_.loc[times].to_numpy().ravel()
    np.testing.assert_allclose([step.survival for step in curve.steps], expected, rtol=1e-12)
    bounds = oracle.confidence_interval_.loc[times].to_numpy()
    found = np.array([(step.low, step.high) for step in curve.steps])
    inside = (expected > 0) & (expected < 1)
    np.testing.assert_allclose(found[inside], bounds[inside], rtol=1e-10)
    assert curve.median == oracle.median_survival_time_


def test_a_curve_of_each_group(counted, patients):
    pooled = known(patients)
    found = curves(counted("arm"), WIDTH)
    assert [curve.group for curve in found] == ["a", "b", "c"]
    for curve in found:
        part = pooled[pooled["arm"] == curve.group]
        oracle = KaplanMeierFitter().fit(part["seen"], part["died"])
        expected = oracle.survival_function_.loc[[step.time for step in curve.steps]]
        np.testing.assert_allclose(
            [step.survival for step in curve.steps], expected.to_numpy().ravel(), rtol=1e-12
        )


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4.0")  # within lifelines
@pytest.mark.parametrize("arms", [("a", "b"), ("a", "b", "c")])
def test_a_log_rank_test_equals_that_of_the_cut_times(counted, patients, arms):
    pooled = known(patients)
    pooled = pooled[pooled["arm"].isin(arms)]
    listed = ", ".join(f"'{arm}'" for arm in arms)
    found = log_rank(counted("arm", source=f"t WHERE arm IN ({listed})"))
    oracle = multivariate_logrank_test(pooled["seen"], pooled["arm"], pooled["died"])
    assert found.freedom == len(arms) - 1
    assert found.statistic == pytest.approx(oracle.test_statistic, rel=1e-10)
    assert found.p_value == pytest.approx(oracle.p_value, rel=1e-8)
    assert sum(found.observed) == pytest.approx(sum(found.expected), rel=1e-12)


def test_a_test_without_anything_to_compare(counted):
    with pytest.raises(DataError, match="two groups"):
        log_rank(counted())
    with pytest.raises(DataError, match="nothing to compare"):
        log_rank(counted("arm", event="false"))
    with pytest.raises(DataError, match="negative"):
        curves([(None, -1, 1, 0)], WIDTH)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bin_has_a_width(width):
    with pytest.raises(ProgrammingError, match="above 0"):
        survival_sql("t", duration="seen", event="died", width=width)
