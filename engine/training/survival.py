"""Kaplan-Meier curves and the log-rank test from counts by bin of time.

The counts are those of an ordinary statement (``planner/training/curve_select.py``). Times are cut to the
start of their bin, and rows at risk at the horizon leave there without the event; curve and test are those of
such times, exactly. A row that leaves in a bin without the event is at risk there.
Rule to keep: nothing here rounds; counts are whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, inf, log, sqrt
from typing import Final

import msgspec
import numpy as np

from podsql.engine.training.tails import chi_squared_tail
from podsql.planner.plan import NORMAL_95

KAPLAN_MEIER: Final = "kaplan_meier"
"""What ``TRAIN MODEL … USING`` calls these curves. They have no rounds, and so are no kind of ``registry``."""


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Rows of one arm that leave in one bin, with the event and without. ``place``: of the bin, from 0."""

    arm: str
    place: int
    events: int
    censored: int


class Step(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A bin that some row leaves in. ``std_error``: Greenwood's; None where no row survives it.
    ``low``, ``high``: 95 % of the survival, by log(-log)."""

    time: float
    at_risk: int
    events: int
    censored: int
    survival: float
    std_error: float | None
    low: float
    high: float


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The survival of an arm after each of its bins. ``median``: None where it is not reached."""

    arm: str
    steps: tuple[Step, ...]
    median: float | None


class LogRank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Chi-squared of the arms' observed events against those of one common hazard."""

    statistic: float
    freedom: int
    p_value: float
    observed: tuple[int, ...]
    expected: tuple[float, ...]


def curves(rows: Iterable[Row], starts: Sequence[float]) -> tuple[Curve, ...]:
    """A curve for each arm, in the order of their names. ``starts``: of the bins, by place."""
    return tuple(_curve(arm, bins, starts) for arm, bins in _by_arm(rows).items())


def log_rank(rows: Iterable[Row]) -> LogRank | None:
    """The log-rank test (Kalbfleisch & Prentice 2002, 1.4).

    None where there is nothing to compare: of one arm, and where no event has rows of every arm at risk.
    """
    arms = list(_by_arm(rows).values())
    bins = sorted(set().union(*arms))
    events = np.array([[one.get(b, (0, 0))[0] for b in bins] for one in arms], dtype=np.float64)
    leave = np.array([[sum(one.get(b, (0, 0))) for b in bins] for one in arms], dtype=np.float64)
    risk = leave[:, ::-1].cumsum(axis=1)[:, ::-1]
    total, happened = risk.sum(axis=0), events.sum(axis=0)
    share = risk / total
    expected = share * happened
    spread = happened * (total - happened) / np.maximum(total - 1, 1)
    covariance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    away = (events - expected).sum(axis=1)[:-1]
    if not len(away) or np.linalg.matrix_rank(covariance[:-1, :-1]) < len(away):
        return None
    statistic = float(away @ np.linalg.solve(covariance[:-1, :-1], away))
    return LogRank(
        statistic=statistic,
        freedom=len(away),
        p_value=chi_squared_tail(statistic, len(away)),
        observed=tuple(round(one) for one in events.sum(axis=1).tolist()),
        expected=tuple(expected.sum(axis=1).tolist()),
    )


def _by_arm(rows: Iterable[Row]) -> Mapping[str, dict[int, tuple[int, int]]]:
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for one in rows:
        found.setdefault(one.arm, {})[one.place] = (one.events, one.censored)
    return dict(sorted(found.items()))


def _curve(arm: str, bins: Mapping[int, tuple[int, int]], starts: Sequence[float]) -> Curve:
    at_risk = sum(map(sum, bins.values()))
    survival, greenwood, median = 1.0, 0.0, None
    steps = []
    for place in sorted(bins):
        events, censored = bins[place]
        survival *= 1 - events / at_risk
        greenwood += events / (at_risk * (at_risk - events)) if at_risk > events else inf
        if median is None and survival <= 0.5:
            median = starts[place]
        low, high = _interval(survival, greenwood)
        steps.append(
            Step(
                time=starts[place],
                at_risk=at_risk,
                events=events,
                censored=censored,
                survival=survival,
                std_error=survival * sqrt(greenwood) if survival else None,
                low=low,
                high=high,
            )
        )
        at_risk -= events + censored
    return Curve(arm=arm, steps=tuple(steps), median=median)


def _interval(survival: float, greenwood: float) -> tuple[float, float]:
    if survival in (0.0, 1.0):
        return survival, survival
    reach = NORMAL_95 * sqrt(greenwood) / log(survival)
    return survival ** exp(-reach), survival ** exp(reach)
