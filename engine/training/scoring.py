"""The ascent to a maximum of likelihood: Fisher scoring, halving of steps, when to stop, when none exists.

What falls is the deviance plus the penalty. A point is taken when it did not rise there, else the
step to it is halved (as R's glm does). Done, when the fall is small (R's measure) and the step that
would follow is too small to matter; that step is still made, so the estimate has the digits of it. Scoring is
Newton's method where the link is canonical; for gamma it would arrive slowly, so the curvature is learnt.
Rule to keep: where a maximum may not exist, only a proof or a step that does not shrink says so.
"""

from dataclasses import dataclass
from math import inf, isfinite, log

import msgspec
import numpy as np

from podsql.engine.training.information import Array, inverse
from podsql.engine.training.moments import listed
from podsql.errors import Error, error
from podsql.planner.training.written import MOST_ETA

MOST_HALVINGS = 30
_RISE = 1e-10
"""A relative rise below this is rounding of the sums."""
_STEP = 1e-20
"""Squared length of the last step in standard errors, beside the deviance."""
_ROUNDED_STEP = 1e-14
"""The same, once many steps have brought nothing: what the sums' own rounding leaves."""
_PATIENCE = 6
CUT = (
    f"it may need linear predictors beyond {MOST_ETA:g} or -{MOST_ETA:g}, where the rounds cut them"
)
_CERTAIN = 2 * log(2)
"""Below this every fitted probability of what happened is above 1/2: the rows are separated."""


class Ascent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where it stands, in the scale of the rounds."""

    at: tuple[float, ...]
    """Asked next."""
    best: tuple[float, ...] = ()
    objective: float = inf
    halvings: int = 0
    calm: int = 0
    """Rounds in a row that brought next to nothing."""
    movement: float = inf
    trace: tuple[float, ...] = ()
    gradient: tuple[float, ...] = ()
    """At ``best``; with ``spread``, what secants need."""
    spread: tuple[tuple[float, ...], ...] = ()
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """What a round says of the point ``at``, and what judges it."""

    deviance: float
    score: Array
    information: Array
    penalty: Array
    """Added to the diagonal of the information."""
    metric: Array
    """Information where the ascent started: measures how far linear predictors move."""
    names: tuple[str, ...]
    tolerance: float
    unbounded: bool
    """Without a penalty the likelihood may rise for ever (binomial, Poisson, Cox)."""
    certain: bool
    """A deviance below 2 ln 2 proves that it does (binomial, Cox)."""
    secant: bool
    """The information is not the curvature (gamma): learn that from the gradients."""
    rounds: int

    def objective(self, at: Array) -> float:
        """The deviance and the penalty there."""
        return self.deviance + float(at @ (self.penalty * at))

    def missed(self, at: Array) -> Error:
        """NOT_CONVERGED, with what the linear predictors say of it."""
        return not_converged(self.rounds, reason=CUT if self.far(at) else "")

    def far(self, at: Array) -> bool:
        """Linear predictors are so spread that some may be cut."""
        size = float(at @ self.metric @ at) / float(np.mean(np.diag(self.metric)))
        return size > (MOST_ETA / 3) ** 2


def climb(ascent: Ascent, slope: Slope) -> Ascent:
    """The ascent after the round at ``ascent.at``."""
    at = np.array(ascent.at)
    objective = slope.objective(at)
    bearing = 0.1 + abs(objective)
    if not isfinite(objective) or objective > ascent.objective + _RISE * bearing:
        return _halved(ascent, slope)
    if slope.certain and slope.deviance < _CERTAIN:
        raise separation(_growing(at, slope))
    free = slope.unbounded and not np.any(slope.penalty)
    spread = inverse(slope.information + np.diag(slope.penalty))
    if spread is None:
        # the rank was there at the start: weights have vanished since
        raise separation(_growing(at, slope)) if free else slope.missed(at)
    gradient = slope.score - slope.penalty * at
    if slope.secant and ascent.gradient:
        spread = _learnt(ascent, at, gradient)
    step = spread @ gradient
    length = float(gradient @ step)
    moved = float(step @ slope.metric @ step)
    calm = ascent.calm + 1 if abs(objective - ascent.objective) < slope.tolerance * bearing else 0
    vanished = length < 1e-5 * moved and moved > 0.5 * ascent.movement and moved > 1e-3
    if free and calm and vanished:
        raise separation(_growing(step, slope))
    small = _STEP if calm < _PATIENCE else _ROUNDED_STEP
    return Ascent(
        at=tuple((at + step).tolist()),
        best=ascent.at,
        objective=objective,
        calm=calm,
        movement=moved,
        trace=(*ascent.trace, slope.deviance),
        gradient=tuple(gradient.tolist()) if slope.secant else (),
        spread=tuple(map(tuple, spread.tolist())) if slope.secant else (),
        done=calm > 0 and length <= small * bearing,
    )


def _learnt(ascent: Ascent, at: Array, gradient: Array) -> Array:
    """The inverse curvature after a step (BFGS: Nocedal & Wright 2006, 6.17)."""
    spread = np.array(ascent.spread)
    step, fall = at - np.array(ascent.best), np.array(ascent.gradient) - gradient
    along = float(step @ fall)
    if along <= 0:  # rounding: the objective is convex
        return spread
    turn = np.eye(len(at)) - np.outer(step, fall) / along
    found: Array = turn @ spread @ turn.T + np.outer(step, step) / along
    return found


def _halved(ascent: Ascent, slope: Slope) -> Ascent:
    if not ascent.best or ascent.halvings >= MOST_HALVINGS:
        raise slope.missed(np.array(ascent.at))
    middle = (np.array(ascent.at) + np.array(ascent.best)) / 2
    return msgspec.structs.replace(ascent, at=tuple(middle.tolist()), halvings=ascent.halvings + 1)


def _growing(step: Array, slope: Slope) -> list[str]:
    """Names of what moves most."""
    size = np.abs(step) * np.sqrt(np.diag(slope.metric))
    return [slope.names[place] for place in np.flatnonzero(size >= 0.1 * size.max())]


def separation(names: list[str]) -> Error:
    """The estimates grow without bound."""
    return error(
        "SEPARATION",
        f"no finite estimate: the likelihood rises for ever along {listed(names)}",
        hint="these columns foretell the target without error (or a level never has the event):"
        " leave one out, join levels, or give a penalty (l2)",
    )


def not_converged(rounds: int, reason: str = "") -> Error:
    """The rounds did not come to an estimate."""
    return error(
        "NOT_CONVERGED",
        f"no estimate after {rounds} rounds{': ' if reason else ''}{reason}",
        hint="allow more rounds, give a penalty (l2), or look for extreme values and units in the columns",
    )
