"""Kaplan-Meier curves and the log-rank test from counts per bin of time: plain SQL, and what it shows.

The statement is one of the ordinary machinery; its rows hold counts only. Times are cut to the start of
their bin, so curve and test are those of the cut times, exactly. A row that leaves in a bin without the
event is at risk there. Rule to keep: nothing here rounds; counts are whole.
"""

from collections.abc import Iterable, Mapping
from math import exp, inf, isfinite, log, sqrt

import msgspec
import numpy as np

from podsql.engine.training.tails import chi_squared_tail
from podsql.errors import error

Row = tuple[object, int, int, int]
"""A row of the statement: group (None without one), bin, events, rows that leave without one."""
_QUANTILE = 1.959963984540054
"""Of the normal distribution, at 97.5 %."""


class Step(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A bin that some row ends in. ``low``, ``high``: 95 % of the survival (log-log, Greenwood)."""

    time: float
    at_risk: int
    events: int
    censored: int
    survival: float
    low: float
    high: float


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The survival of a group after each of its bins. ``median``: None where it is not reached."""

    group: object
    steps: tuple[Step, ...]
    median: float | None


class LogRank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Chi-squared of the groups' observed events against those of one common hazard."""

    statistic: float
    freedom: int
    p_value: float
    observed: tuple[int, ...]
    expected: tuple[float, ...]


def survival_sql(
    source: str, *, duration: str, event: str, width: float, group: str | None = None
) -> str:
    """The SELECT whose rows make curves and tests.

    Args:
        source: what stands after FROM, WHERE included.
        duration: an expression of a number, not negative.
        event: an expression that is true or 1 where the event ended the duration.
        width: of a bin of time, above 0.
        group: an expression that tells groups apart.
    """
    if not isfinite(width) or width <= 0:
        raise error("OPTION", "the width of a bin is a number above 0")
    grouping = f"({group})" if group else "NULL"
    bin_of = f"CAST(floor(({duration}) / {width!r}) AS BIGINT)"
    happened = f"CAST(({event}) AS BOOLEAN)"
    keys = "1, 2" if group else "2"
    return (
        f"SELECT {grouping} AS stratum, {bin_of} AS bin,"
        f" sum(CASE WHEN {happened} THEN 1 ELSE 0 END) AS events,"
        f" sum(CASE WHEN {happened} THEN 0 ELSE 1 END) AS censored"
        f" FROM (SELECT * FROM {source})"
        f" WHERE ({duration}) IS NOT NULL AND ({event}) IS NOT NULL"
        f"{f' AND {grouping} IS NOT NULL' if group else ''} GROUP BY {keys}"
    )


def curves(rows: Iterable[Row], width: float) -> tuple[Curve, ...]:
    """A curve for each group, in the order of their names."""
    return tuple(_curve(name, bins, width) for name, bins in _grouped(rows).items())


def log_rank(rows: Iterable[Row]) -> LogRank:
    """The log-rank test of two groups or more (Kalbfleisch & Prentice 2002, 1.4)."""
    groups = list(_grouped(rows).values())
    if len(groups) < 2:
        raise error("DATA", "a log-rank test compares two groups or more")
    bins = sorted(set().union(*groups))
    events = np.array([[one.get(b, (0, 0))[0] for b in bins] for one in groups], dtype=np.float64)
    leave = np.array([[sum(one.get(b, (0, 0))) for b in bins] for one in groups], dtype=np.float64)
    risk = leave[:, ::-1].cumsum(axis=1)[:, ::-1]
    total, happened = risk.sum(axis=0), events.sum(axis=0)
    share = risk / total
    expected = share * happened
    spread = happened * (total - happened) / np.maximum(total - 1, 1)
    covariance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    away = (events - expected).sum(axis=1)[:-1]
    if np.linalg.matrix_rank(covariance[:-1, :-1]) < len(away):
        raise error("DATA", "no event has rows of every group at risk: there is nothing to compare")
    statistic = float(away @ np.linalg.solve(covariance[:-1, :-1], away))
    return LogRank(
        statistic=statistic,
        freedom=len(away),
        p_value=chi_squared_tail(statistic, len(away)),
        observed=tuple(round(one) for one in events.sum(axis=1).tolist()),
        expected=tuple(expected.sum(axis=1).tolist()),
    )


def _grouped(rows: Iterable[Row]) -> Mapping[object, dict[int, tuple[int, int]]]:
    found: dict[object, dict[int, tuple[int, int]]] = {}
    for group, place, events, censored in rows:
        if place < 0:
            raise error("DATA", "a duration is negative")
        found.setdefault(group, {})[place] = (int(events), int(censored))
    return dict(sorted(found.items(), key=lambda pair: str(pair[0])))


def _curve(group: object, bins: Mapping[int, tuple[int, int]], width: float) -> Curve:
    at_risk = sum(map(sum, bins.values()))
    survival, greenwood, median = 1.0, 0.0, None
    steps = []
    for place in sorted(bins):
        events, censored = bins[place]
        survival *= 1 - events / at_risk
        greenwood += events / (at_risk * (at_risk - events)) if at_risk > events else inf
        if median is None and survival <= 0.5:
            median = place * width
        low, high = _interval(survival, greenwood)
        steps.append(
            Step(
                time=place * width,
                at_risk=at_risk,
                events=events,
                censored=censored,
                survival=survival,
                low=low,
                high=high,
            )
        )
        at_risk -= events + censored
    return Curve(group=group, steps=tuple(steps), median=median)


def _interval(survival: float, greenwood: float) -> tuple[float, float]:
    if survival in (0.0, 1.0):
        return survival, survival
    reach = _QUANTILE * sqrt(greenwood) / log(survival)
    return survival ** exp(-reach), survival ** exp(reach)
