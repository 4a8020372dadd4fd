"""k-means by Lloyd's rounds: every row to the nearest centre, every centre to the mean of its rows.

The start is made without a row: points of a low-discrepancy sequence within two standard deviations of
the means (Roberts' R sequence), or centres that are given. A centre that has no row stays where it is.
Done when no centre moves by more than the tolerance; the result is the centres that the last round
counted, with its sizes and its inertia. Rule to keep: these belong together.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from podsql.engine.training.fitted import Centres, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.information import Array
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    counts,
    known,
    refuse_constants,
    take_moments,
    vector,
)
from podsql.engine.training.scoring import not_converged

_REACH = 2.0
"""Standard deviations about the mean within which the start lies."""


class KmeansState(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="kmeans/1", kw_only=True
):
    """A fit between two rounds. ``at``: the centres asked next, in the scale of the rounds."""

    rounds: int = 0
    moments: Moments | None = None
    at: tuple[float, ...] = ()
    change: float | None = None
    trace: tuple[float, ...] = ()
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kmeans:
    """How to fit one. ``start``: raw centres one after the other, or none."""

    method: str
    design: Design
    clusters: int
    seed: int = 0
    tolerance: float = 1e-4
    most_rounds: int = 300
    standardize: bool = True
    start: tuple[float, ...] = ()

    def begin(self) -> KmeansState:
        """The state before any round."""
        return KmeansState()

    def ask(self, state: KmeansState) -> Round | None:
        """Moments, then at centres."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments = known(state.moments)
        return Round(
            family="kmeans", centre=moments.mean, scale=self._scale(moments), state=state.at
        )

    def advance(self, state: KmeansState, sums: Sums) -> KmeansState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is not None:
            moments = take_moments(state.moments, sums, self.design)
            if not moments.settled:
                return msgspec.structs.replace(state, moments=moments)
            refuse_constants(moments, self.design)
            return msgspec.structs.replace(state, moments=moments, at=self._begun(moments))
        counts(sums, state.moments)
        size = len(self.design.terms)
        at = np.array(state.at).reshape(self.clusters, size)
        rows = vector(sums, "n", self.clusters)
        totals = np.array([vector(sums, f"s{c}_", size) for c in range(self.clusters)])
        moved = np.where(rows[:, None] > 0, totals / np.maximum(rows, 1)[:, None], at)
        change = float(np.max(np.abs(moved - at)))
        state = msgspec.structs.replace(state, change=change, trace=(*state.trace, sums["inertia"]))
        if change <= self.tolerance:
            return msgspec.structs.replace(state, fitted=self._fit(state, at, rows, sums))
        if state.rounds >= self.most_rounds:
            raise not_converged(state.rounds)
        return msgspec.structs.replace(state, at=tuple(moved.ravel().tolist()))

    def progress(self, state: KmeansState) -> Progress:
        """Rounds, inertia, the largest move of a coordinate."""
        objective = state.trace[-1] if state.trace else None
        return Progress(rounds=state.rounds, objective=objective, change=state.change)

    def fitted(self, state: KmeansState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    def _scale(self, moments: Moments) -> tuple[float, ...]:
        """Deviations; without standardizing one unit for all, which changes no distance's rank."""
        if self.standardize:
            return moments.deviation
        return (max(moments.deviation),) * len(moments.deviation)

    def _begun(self, moments: Moments) -> tuple[float, ...]:
        size = len(self.design.terms)
        if self.start:
            given = np.array(self.start).reshape(self.clusters, size)
            placed = (given - np.array(moments.mean)) / np.array(self._scale(moments))
        else:
            reach = np.array(moments.deviation) / np.array(self._scale(moments))
            placed = spread_points(self.clusters, size, self.seed) * _REACH * reach
        return tuple(placed.ravel().tolist())

    def _fit(self, state: KmeansState, at: Array, rows: Array, sums: Sums) -> Fitted:
        moments = known(state.moments)
        scale = np.array(self._scale(moments))
        # without standardizing, distances are those of the raw features
        unit = 1.0 if self.standardize else float(scale[0]) ** 2
        inertia = state.trace[-1] * unit
        total = moments.n * float(np.sum((np.array(moments.deviation) / scale) ** 2)) * unit
        return Fitted(
            method=self.method,
            terms=self.design.terms,
            targets=(),
            n=moments.n,
            dropped=round(sums["dropped"]),
            rounds=state.rounds,
            parameters=Centres(
                centres=tuple(map(tuple, (at * scale + np.array(moments.mean)).tolist())),
                sizes=tuple(round(one) for one in rows.tolist()),
                centre=moments.mean,
                scale=tuple(scale.tolist()),
            ),
            metrics={"inertia": inertia, "total_inertia": total, "explained": 1 - inertia / total},
            trace=state.trace,
        )


def spread_points(count: int, size: int, seed: int) -> Array:
    """``count`` points of [-1, 1]^size that fill it evenly; another seed takes later ones."""
    root = 2.0
    for _ in range(60):  # the root of x^(size + 1) = x + 1
        root = (1 + root) ** (1 / (size + 1))
    steps = root ** -np.arange(1.0, size + 1)
    places = np.arange(1.0, count + 1) + float(seed) * count
    found: Array = 2 * ((0.5 + np.outer(places, steps)) % 1.0) - 1
    return found
