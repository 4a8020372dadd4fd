"""Naive Bayes: within a class every column is on its own, numbers normal, indicators counted.

Rounds: ``moments``; per class the count, the sums and the sums of squares of every feature. A class's
variance of a number gets ``smoothing`` times its variance over all rows (scikit-learn takes the largest
feature's, which depends on units). Counts get ``alpha`` (Laplace): a column of L levels L times, an
indicator on its own twice. Rule to keep: counts are whole numbers and are read as such.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from podsql.engine.training.fitted import Classes, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.information import Array
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    constants,
    counts,
    known,
    listed,
    take_moments,
    vector,
)
from podsql.errors import error


class NaiveBayesState(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="naive_bayes/1", kw_only=True
):
    """A fit between two rounds."""

    rounds: int = 0
    moments: Moments | None = None
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveBayes:
    """How to fit one. Every target is the indicator of a class."""

    method: str
    design: Design
    alpha: float = 1.0
    smoothing: float = 1e-9

    def begin(self) -> NaiveBayesState:
        """The state before any round."""
        return NaiveBayesState()

    def ask(self, state: NaiveBayesState) -> Round | None:
        """Moments, then per class."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments = known(state.moments)
        return Round(family="classes", centre=moments.mean, scale=_scale(moments))

    def advance(self, state: NaiveBayesState, sums: Sums) -> NaiveBayesState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is None:
            counts(sums, state.moments)
            return msgspec.structs.replace(state, fitted=self._fit(state, sums))
        moments = take_moments(state.moments, sums, self.design)
        pairs = zip(self.design.targets, moments.sums, strict=True)
        empty = [one.name for one, rows in pairs if rows < 1]
        if empty:
            raise error("DATA", f"no row is of {listed(empty)}", hint="leave the class out")
        return msgspec.structs.replace(state, moments=moments)

    def progress(self, state: NaiveBayesState) -> Progress:
        """Rounds."""
        return Progress(rounds=state.rounds)

    def fitted(self, state: NaiveBayesState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    def _fit(self, state: NaiveBayesState, sums: Sums) -> Fitted:
        moments, features = known(state.moments), self.design.features
        many = range(len(self.design.targets))
        centre, scale = np.array(moments.mean), np.array(_scale(moments))
        rows = np.round(vector(sums, "n", len(many)))[:, None]
        totals = np.array([vector(sums, f"s{c}_", len(features)) for c in many])
        squares = np.array([vector(sums, f"q{c}_", len(features)) for c in many])
        means = totals / rows
        variances = np.maximum(squares / rows - means**2, 0.0) * scale**2
        variances += self.smoothing * np.array(moments.deviation) ** 2
        numbers = [j for j, one in enumerate(features) if not one.indicator]
        indicators = [j for j, one in enumerate(features) if one.indicator]
        true = np.round(totals * scale + rows * centre)[:, indicators]
        log_true, log_false = self._levels(true, rows, indicators)
        return Fitted(
            method=self.method,
            terms=self.design.terms,
            targets=tuple(one.name for one in self.design.targets),
            n=moments.n,
            dropped=round(sums["dropped"]),
            rounds=state.rounds,
            parameters=Classes(
                classes=tuple(one.name for one in self.design.targets),
                sizes=tuple(round(one) for one in rows.ravel().tolist()),
                log_prior=tuple(np.log(rows.ravel() / rows.sum()).tolist()),
                numbers=tuple(numbers),
                means=tuple(map(tuple, (means * scale + centre)[:, numbers].tolist())),
                variances=tuple(map(tuple, variances[:, numbers].tolist())),
                indicators=tuple(indicators),
                log_true=tuple(map(tuple, log_true.tolist())),
                log_false=tuple(map(tuple, log_false.tolist())),
            ),
            metrics={},
        )

    def _levels(self, true: Array, rows: Array, indicators: list[int]) -> tuple[Array, Array]:
        """Log-probabilities of every indicator's being true, and false, within every class."""
        grouped = {place: len(group) for group in self.design.groups for place in group}
        levels = np.array([grouped.get(place, 2) for place in indicators], dtype=np.float64)
        alone = np.array([place not in grouped for place in indicators], dtype=bool)
        whole = rows + self.alpha * levels
        log_true = np.log((true + self.alpha) / whole)
        log_false = np.where(alone, np.log((rows - true + self.alpha) / whole), 0.0)
        return log_true, log_false


def _scale(moments: Moments) -> tuple[float, ...]:
    """Deviations; 1 of a column of one value, which says nothing of the class but does no harm."""
    same = constants(moments)
    return tuple(1.0 if place in same else one for place, one in enumerate(moments.deviation))
