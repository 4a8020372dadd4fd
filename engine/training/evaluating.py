"""How well a model foretells rows, from the sums of ``score_…``, ``absolute_…`` and ``ranks``.

Intervals are of 95 %: Wald's for means of what single rows add (log-loss, Brier, accuracy, absolute error);
for a root mean square its delta method under normal errors; of the area under the curve Hanley &
McNeil's (Radiology 1982), which leave out what the bins hide: ``auc_bin_error`` says how much that can be.
Rates are Wilson's (JASA 1927).
Rule to keep: a number that cannot be known from the sums is None, never a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import Final

import numpy as np

from podsql.planner.plan import NORMAL_95
from podsql.planner.training.score_steps import EDGES, HALF, RANKS

Sums = Mapping[str, float]
GROUPS: Final = 10
"""Rows of a calibration table at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its interval. Of a rate: among ``n`` rows whose probability is predicted between
    ``predicted_low`` and ``predicted_high``."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    predicted_low: float | None = None
    predicted_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Rows whose linear predictor is in the bins ``first`` to ``last``: of target 0 and of 1."""

    first: int
    last: int
    negatives: int
    positives: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.negatives + self.positives


def cells_of(sums: Sums) -> tuple[Cell, ...]:
    """The bins of one pod's ``ranks``, those that are counted together as one; empty ones left out."""
    found, first = [], 0
    for k in range(RANKS):
        negatives, positives = round(sums[f"n{k}"]), round(sums[f"p{k}"])
        if negatives < 0:
            continue
        if negatives + positives:
            found.append(Cell(first=first, last=k, negatives=negatives, positives=positives))
        first = k + 1
    return tuple(found)


def metrics(
    base: str,
    sums: Sums,
    *,
    absolute: Sums | None = None,
    cells: Sequence[Cell] | None = None,
) -> list[Metric]:
    """All metrics of rows whose sums these are, of one pod or of several together.

    Args:
        base: gaussian, binomial, poisson or gamma.
        sums: of ``score_…``.
        absolute: of ``absolute_…``, where it may be known.
        cells: of ``ranks``, of all pods, where they may be known.
    """
    n = round(sums["n"])
    found = [
        Metric(name="n", value=n),
        Metric(name="mean_target", value=share_of(sums["t"], n)),
        Metric(name="mean_prediction", value=share_of(sums["m"], n)),
    ]
    if base == "binomial":
        return [*found, *_binomial(sums, n), *_ranked(cells, n)]
    error = share_of(sums["squares"], n)
    root = None if error is None else sqrt(error)
    spread = None if root is None or base != "gaussian" else root / sqrt(2 * n)
    found.append(wald("rmse", root, spread))
    mean = None if absolute is None else share_of(absolute["absolute"], n)
    if mean is None or error is None:
        found.append(Metric(name="mae", value=None))
    else:
        found.append(wald("mae", mean, sqrt(max(error - mean**2, 0.0) / n)))
    total = sums["tt"] - sums["tc"] ** 2 / n if n else 0.0
    r_squared = 1 - sums["squares"] / total if total > 0 else None
    found.append(Metric(name="r_squared", value=r_squared))
    return [*found, Metric(name="deviance", value=sums["deviance"])]


def _binomial(sums: Sums, n: int) -> list[Metric]:
    found = []
    # a row's deviance is twice its log-loss
    for name, one, part in (("log_loss", "deviance", 2), ("brier", "squares", 1)):
        mean, square = share_of(sums[one], part * n), share_of(sums[f"{one}2"], part**2 * n)
        spread = None
        if mean is not None and square is not None:
            spread = sqrt(max(square - mean**2, 0.0) / n)
        found.append(wald(name, mean, spread))
    return [*found, Metric(name="deviance", value=sums["deviance"])]


def _ranked(cells: Sequence[Cell] | None, n: int) -> list[Metric]:
    names = ("accuracy", "auc", "auc_bin_error")
    if not cells:
        return [Metric(name=name, value=None) for name in names]
    found = []
    halved = all(one.last < HALF or one.first >= HALF for one in cells)
    right = sum(one.positives if one.first >= HALF else one.negatives for one in cells) / n
    found.append(
        wald("accuracy", right, sqrt(right * (1 - right) / n))
        if halved
        else Metric(name="accuracy", value=None)
    )
    area, hidden, positives, negatives = area_under(cells)
    spread = None if area is None else hanley_mcneil(area, positives, negatives)
    found += [wald("auc", area, spread), Metric(name="auc_bin_error", value=hidden)]
    return [*found, *_calibration(cells)]


def area_under(cells: Sequence[Cell]) -> tuple[float | None, float | None, int, int]:
    """Of all pairs of a positive and a negative row: the share in which the positive one is predicted
    higher, pairs in bins that overlap counting half; how far that may be from the share itself; and how many rows
    are positive and negative. None where there are none of either."""
    merged: dict[tuple[int, int], Cell] = {}
    for one in cells:
        merged[one.first, one.last] = _together(merged.get((one.first, one.last)), one)
    ranges = np.array(list(merged), dtype=np.int64).reshape(-1, 2)
    ill = np.array([one.positives for one in merged.values()], dtype=np.float64)
    well = np.array([one.negatives for one in merged.values()], dtype=np.float64)
    positives, negatives = round(ill.sum()), round(well.sum())
    if not negatives or not positives:
        return None, None, positives, negatives
    above = ranges[:, None, 0] > ranges[None, :, 1]
    below = ranges[:, None, 1] < ranges[None, :, 0]
    pairs = np.outer(ill, well)
    whole = float(positives) * negatives
    tied = float(pairs[~(above | below)].sum()) / whole / 2
    return float(pairs[above].sum()) / whole + tied, tied, positives, negatives


def hanley_mcneil(area: float, positives: int, negatives: int) -> float:
    """Standard error of an area under the curve (Hanley & McNeil 1982, formula 2)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    ) / (positives * negatives)
    return sqrt(max(variance, 0.0))


def _calibration(cells: Sequence[Cell]) -> list[Metric]:
    """Observed rates, of neighbouring bins until about a tenth of all rows is in each."""
    groups: list[list[Cell]] = [[]]
    least = sum(one.rows for one in cells) / GROUPS
    for one in _apart(cells):
        if groups[-1] and sum(cell.rows for cell in groups[-1]) >= least:
            groups.append([])
        groups[-1].append(one)
    found = []
    for group in groups:
        rows, positives = sum(one.rows for one in group), sum(one.positives for one in group)
        low, high = wilson(positives, rows)
        found.append(
            Metric(
                name="rate",
                value=positives / rows,
                low=low,
                high=high,
                n=rows,
                predicted_low=_probability(group[0].first - 1, 0.0),
                predicted_high=_probability(group[-1].last, 1.0),
            )
        )
    return found


def _apart(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of several pods joined until none overlaps another, in order."""
    found: list[Cell] = []
    for one in sorted(cells, key=lambda cell: (cell.first, cell.last)):
        if found and one.first <= found[-1].last:
            one = _together(found.pop(), one)
        found.append(one)
    return found


def _together(before: Cell | None, one: Cell) -> Cell:
    if before is None:
        return one
    return Cell(
        first=before.first,
        last=max(before.last, one.last),
        negatives=before.negatives + one.negatives,
        positives=before.positives + one.positives,
    )


def wilson(positives: int, rows: int) -> tuple[float, float]:
    """The score interval of a rate."""
    z2 = NORMAL_95**2
    middle = (positives + z2 / 2) / (rows + z2)
    rate = positives / rows
    half = NORMAL_95 * sqrt(rate * (1 - rate) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _probability(edge: int, beyond: float) -> float:
    """At the edge of that number; ``beyond`` where there is none."""
    return 1 / (1 + exp(-EDGES[edge])) if 0 <= edge < len(EDGES) else beyond


def share_of(total: float, n: float) -> float | None:
    """Their quotient; None of no rows."""
    return total / n if n else None


def wald(name: str, value: float | None, spread: float | None) -> Metric:
    """A metric with Wald's interval, where its standard error is known."""
    if value is None or spread is None:
        return Metric(name=name, value=value)
    half = NORMAL_95 * spread
    return Metric(name=name, value=value, low=value - half, high=value + half)
