"""Generalized linear models, by Fisher scoring over sums of score and information.

Rounds: ``moments``; the family's start from the targets, as R's glm; then at coefficients until they
stand. A linear model is exact after one of these, which refines the first solution and gives the
residual sum of squares. A penalty ``l2`` minimises minus the log-likelihood (of unit dispersion)
plus l2/2 times the sum of the squared slopes of the raw features; the constant bears none.
Rule to keep: estimate, score and information belong to the same point.
"""

from dataclasses import dataclass
from math import isfinite

import msgspec
import numpy as np

from podsql.engine.training.fitted import INTERCEPT, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.glm_result import End, fitted_glm
from podsql.engine.training.information import Array, from_raw, inverse, refuse_collinear, square
from podsql.engine.training.links import (
    Point,
    Sample,
    null_deviance,
    null_point,
    refuse_targets,
)
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    counts,
    known,
    refuse_constants,
    take_moments,
    vector,
)
from podsql.engine.training.scoring import Ascent, Slope, climb, not_converged
from podsql.planner.fragment import Family


class GlmState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="glm/1", kw_only=True):
    """A fit between two rounds."""

    rounds: int = 0
    moments: Moments | None = None
    metric: tuple[tuple[float, ...], ...] = ()
    """Information at the start."""
    log_total: float = 0.0
    ascent: Ascent | None = None
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Glm:
    """How to fit one. ``start``: coefficients in the raw scale, the constant first, or none."""

    method: str
    family: Family
    design: Design
    l2: float = 0.0
    tolerance: float = 1e-8
    most_rounds: int = 40
    start: tuple[float, ...] = ()

    def begin(self) -> GlmState:
        """The state before any round."""
        return GlmState()

    def ask(self, state: GlmState) -> Round | None:
        """Moments, the start, then at coefficients."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments = known(state.moments)
        at = state.ascent.at if state.ascent else ()
        return Round(family=self.family, centre=moments.mean, scale=moments.deviation, state=at)

    def advance(self, state: GlmState, sums: Sums) -> GlmState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is not None:
            moments = take_moments(state.moments, sums, self.design)
            if moments.settled:
                refuse_constants(moments, self.design)
                sample = Sample(n=moments.n, total=moments.sums[0])
                refuse_targets(self.family, sample, state.rounds)
            return msgspec.structs.replace(state, moments=moments)
        counts(sums, state.moments)
        if state.ascent is None:
            return self._started(state, sums)
        ascent = self._climbed(state, state.ascent, sums)
        if ascent.done:
            end = End(
                method=self.method,
                family=self.family,
                design=self.design,
                l2=self.l2,
                moments=known(state.moments),
                sample=self._sample(state),
                point=self._point(ascent.best, sums),
                at=np.array(ascent.at),
                penalty=self._penalty(known(state.moments)),
                dropped=round(sums["dropped"]),
                rounds=state.rounds,
                trace=ascent.trace,
            )
            return msgspec.structs.replace(state, ascent=ascent, fitted=fitted_glm(end))
        if state.rounds >= self.most_rounds:
            raise not_converged(state.rounds)
        return msgspec.structs.replace(state, ascent=ascent)

    def progress(self, state: GlmState) -> Progress:
        """Rounds, the deviance, and the largest change of a standardised coefficient."""
        if state.ascent is None or not state.ascent.trace:
            return Progress(rounds=state.rounds)
        change = np.max(np.abs(np.array(state.ascent.at) - np.array(state.ascent.best)))
        return Progress(rounds=state.rounds, objective=state.ascent.trace[-1], change=float(change))

    def fitted(self, state: GlmState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coefficients."""
        return (INTERCEPT, *self.design.terms)

    def _started(self, state: GlmState, sums: Sums) -> GlmState:
        moments, size = known(state.moments), len(self.names)
        matrix, cross = square(sums, size), vector(sums, "u", size)
        penalty = self._penalty(moments)
        refuse_collinear(matrix + np.diag(penalty), self.names)
        spread = inverse(matrix + np.diag(penalty))
        assert spread is not None  # it has its rank
        at = spread @ cross
        if self.start:
            raw = np.array(self.start)
            at = from_raw(np.array(moments.mean), np.array(moments.deviation)) @ raw
        return msgspec.structs.replace(
            state,
            metric=tuple(tuple(row) for row in matrix.tolist()),
            log_total=float(cross[0]) if self.family == "gamma" else 0.0,
            ascent=Ascent(at=tuple(at.tolist())),
        )

    def _climbed(self, state: GlmState, ascent: Ascent, sums: Sums) -> Ascent:
        point = self._point(ascent.at, sums)
        slope = Slope(
            deviance=point.deviance,
            score=point.score,
            information=point.information,
            penalty=self._penalty(known(state.moments)),
            metric=np.array(state.metric),
            names=self.names,
            tolerance=self.tolerance,
            unbounded=self.family in ("binomial", "poisson"),
            certain=self.family == "binomial",
            secant=self.family == "gamma",
            rounds=state.rounds,
        )
        if self.family == "gaussian":
            # quadratic: the next point is exact, the first one may be off by rounding
            refined = climb(ascent, slope)
            return msgspec.structs.replace(refined, done=True)
        if not ascent.trace and isfinite(point.deviance):
            # a first point that is worse than the constant alone is a step too far from there; where
            # linear predictors were cut, that deviance is wrong until halving has left them uncut
            sample = self._sample(state)
            null = (null_point(self.family, sample), *(0.0,) * len(self.design.features))
            level = null_deviance(self.family, sample, point)
            ascent = msgspec.structs.replace(ascent, best=null, objective=level)
        return climb(ascent, slope)

    def _point(self, at: tuple[float, ...], sums: Sums) -> Point:
        size = len(self.names)
        return Point(
            at=np.array(at),
            score=vector(sums, "u", size),
            information=square(sums, size),
            deviance=sums["deviance"],
            pearson=sums["pearson"],
            likelihood=sums["ll"],
        )

    def _penalty(self, moments: Moments) -> Array:
        """In the scale of the rounds, where a slope is the raw one times the deviation."""
        return np.array([0.0, *(self.l2 / one**2 for one in moments.deviation)])

    def _sample(self, state: GlmState) -> Sample:
        moments = known(state.moments)
        return Sample(n=moments.n, total=moments.sums[0], log_total=state.log_total)
