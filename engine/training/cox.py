"""Cox's proportional hazards, stratified by pod: each pod's rows are a stratum with a hazard of its own.

Rounds: ``moments``; score and information at 0, which are also the null model; then Newton's steps until
they stand. The log partial likelihood adds over strata, so sums over pods are exact (WebDISCO,
PMC5009917). Rule to keep: ties are Breslow's; there is no constant among the coefficients.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from podsql.engine.training.fitted import Coefficients, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.information import Array, inverse, refuse_collinear, square
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    counts,
    known,
    refuse_constants,
    take_moments,
    vector,
)
from podsql.engine.training.scoring import CUT, Ascent, Slope, climb, not_converged
from podsql.errors import error


class CoxState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="cox/1", kw_only=True):
    """A fit between two rounds."""

    rounds: int = 0
    moments: Moments | None = None
    metric: tuple[tuple[float, ...], ...] = ()
    """Information at 0."""
    null_likelihood: float = 0.0
    ascent: Ascent | None = None
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cox:
    """How to fit one. Targets: time, event. ``start``: raw coefficients to go on from, or none."""

    method: str
    design: Design
    l2: float = 0.0
    tolerance: float = 1e-9
    most_rounds: int = 40
    start: tuple[float, ...] = ()

    def begin(self) -> CoxState:
        """The state before any round."""
        return CoxState()

    def ask(self, state: CoxState) -> Round | None:
        """Moments, then at coefficients, 0 first."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments = known(state.moments)
        at = state.ascent.at if state.ascent else (0.0,) * len(self.design.terms)
        return Round(family="cox", centre=moments.mean, scale=moments.deviation, state=at)

    def advance(self, state: CoxState, sums: Sums) -> CoxState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is not None:
            moments = take_moments(state.moments, sums, self.design)
            if moments.settled:
                refuse_constants(moments, self.design)
                self._refuse_events(moments.sums[1])
            return msgspec.structs.replace(state, moments=moments)
        counts(sums, state.moments)
        if state.ascent is None:
            state = self._started(state, sums)
        assert state.ascent is not None  # made by the line above at the latest
        slope = self._slope(state, sums)
        ascent = climb(state.ascent, slope)
        if self.start and not state.ascent.trace:
            at = np.array(self.start) * known(state.moments).deviation
            ascent = msgspec.structs.replace(ascent, at=tuple(at.tolist()), done=False)
        if ascent.done:
            fitted = self._fit(state, ascent, slope, sums)
            return msgspec.structs.replace(state, ascent=ascent, fitted=fitted)
        if state.rounds >= self.most_rounds:
            raise not_converged(state.rounds)
        return msgspec.structs.replace(state, ascent=ascent)

    def progress(self, state: CoxState) -> Progress:
        """Rounds, minus twice the log partial likelihood, the largest standardised change."""
        if state.ascent is None or not state.ascent.trace:
            return Progress(rounds=state.rounds)
        change = np.max(np.abs(np.array(state.ascent.at) - np.array(state.ascent.best)))
        return Progress(rounds=state.rounds, objective=state.ascent.trace[-1], change=float(change))

    def fitted(self, state: CoxState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    def _refuse_events(self, events: float) -> None:
        if events < 1:
            raise error("DATA", "no row has the event", hint="the second target is 1 where it has")

    def _started(self, state: CoxState, sums: Sums) -> CoxState:
        matrix = square(sums, len(self.design.terms), first=1)
        if not np.any(np.diag(matrix) > 1e-12 * sums["events"]):
            raise error(
                "DATA",
                "no event has another row of its pod at risk that differs from it",
                hint="each pod is a stratum: look at the times and events of one pod",
            )
        refuse_collinear(matrix + np.diag(self._penalty(state)), self.design.terms)
        return msgspec.structs.replace(
            state,
            metric=tuple(tuple(row) for row in matrix.tolist()),
            null_likelihood=sums["ll"],
            ascent=Ascent(at=(0.0,) * len(self.design.terms)),
        )

    def _slope(self, state: CoxState, sums: Sums) -> Slope:
        size = len(self.design.terms)
        return Slope(
            deviance=-2 * sums["ll"],
            score=vector(sums, "u", size, first=1),
            information=square(sums, size, first=1),
            penalty=self._penalty(state),
            metric=np.array(state.metric),
            names=self.design.terms,
            tolerance=self.tolerance,
            unbounded=True,
            certain=True,
            secant=False,
            rounds=state.rounds,
        )

    def _penalty(self, state: CoxState) -> Array:
        return self.l2 / np.array(known(state.moments).deviation) ** 2

    def _fit(self, state: CoxState, ascent: Ascent, slope: Slope, sums: Sums) -> Fitted:
        moments, at = known(state.moments), np.array(ascent.at)
        spread = inverse(slope.information + np.diag(slope.penalty))
        if spread is None:
            raise not_converged(state.rounds)
        if slope.far(at):
            raise not_converged(state.rounds, reason=CUT)
        covariance = spread @ slope.information @ spread if self.l2 else spread
        scale = np.array(moments.deviation)
        used = float(np.trace(spread @ slope.information)) if self.l2 else float(len(at))
        return Fitted(
            method=self.method,
            terms=self.design.terms,
            targets=tuple(one.name for one in self.design.targets),
            n=moments.n,
            dropped=round(sums["dropped"]),
            rounds=state.rounds,
            parameters=Coefficients(
                link="hazard",
                names=self.design.terms,
                estimates=tuple((at / scale).tolist()),
                covariance=tuple((covariance / np.outer(scale, scale)).ravel().tolist()),
                dispersion=1.0,
                freedom=None,
                penalty=self.l2,
                centre=moments.mean,
                scale=moments.deviation,
                at_centre=0.0,
            ),
            metrics={
                "events": sums["events"],
                "log_likelihood": sums["ll"],
                "null_log_likelihood": state.null_likelihood,
                "likelihood_ratio": 2 * (sums["ll"] - state.null_likelihood),
                "aic": 2 * used - 2 * sums["ll"],
            },
            trace=ascent.trace,
        )
