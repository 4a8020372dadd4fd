"""Models of sums that carry noise: a linear one from one round, a logistic one in a fixed number of rounds.

Columns are in the scale of their public ranges (``planner/training/noisy_steps.py``), never of the
data. All that is done here to noisy sums costs no privacy. A noisy matrix of products may have
eigenvalues that no rows give: those below the size of the noise are raised to it, which is a ridge in
the directions alone that the noise drowns (cf. Sheffet 2017; Wang 2018, AdaSSP, which adds to all).
Rule to keep: how many rounds there are, and which are averaged, no sum decides.
"""

from dataclasses import dataclass
from math import sqrt

import msgspec
import numpy as np

from podsql.engine.training.fitted import INTERCEPT, Coefficients, Fitted
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.information import Array, square, to_raw
from podsql.engine.training.moments import vector
from podsql.planner.training.noisy_steps import MOST_STATE, centred


class NoisyState(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="noisy/1", kw_only=True
):
    """A fit between two rounds."""

    series: bytes
    rounds: int = 0
    matrix: tuple[tuple[float, ...], ...] = ()
    """Noisy products of the constant and the features."""
    at: tuple[float, ...] = ()
    total: tuple[float, ...] = ()
    """Of the coefficients that the estimate is the mean of."""
    change: float | None = None
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """``ranges`` of every feature, then target; ``deviation``: of the noise in each sum of the first
    round, over all pods; ``series``: what the rounds are known by at the pods."""

    ranges: tuple[tuple[float, float], ...]
    deviation: float
    series: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyLinear:
    """Least squares, with half ``l2`` on the squared slopes."""

    method: str
    design: Design
    scale: Scale
    l2: float = 0.0

    def begin(self) -> NoisyState:
        """The state before the round."""
        return NoisyState(series=self.scale.series)

    def ask(self, state: NoisyState) -> Round | None:
        """The one round."""
        return Round(family="gaussian") if state.fitted is None else None

    def advance(self, state: NoisyState, sums: Sums) -> NoisyState:
        """The fit."""
        size = len(self.design.features) + 1
        whole = square(sums, size + 1)
        matrix, cross = whole[:size, :size], whole[:size, size]
        steady = raised(matrix, noise_norm(self.scale.deviation, size))
        penalty = np.diag(_penalty(self.design, self.scale, self.l2))
        at: Array = np.asarray(np.linalg.solve(steady + penalty, cross), dtype=np.float64)
        low, high = self.scale.ranges[-1]
        indicator = self.design.targets[0].indicator
        middle, half = (0.0, 1.0) if indicator else centred(low, high)
        left = float(whole[size, size] - 2 * at @ cross + at @ matrix @ at) * half**2
        n = max(0, round(float(matrix[0, 0])))
        at = at * half
        at[0] += middle
        fitted = _fitted(self, at, n, 1, max(left, 0.0))
        return msgspec.structs.replace(state, rounds=1, fitted=fitted)

    def progress(self, state: NoisyState) -> Progress:
        """Rounds."""
        return Progress(rounds=state.rounds)

    def fitted(self, state: NoisyState) -> Fitted | None:
        """The model, once the round is taken."""
        return state.fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyLogistic:
    """``steps`` steps from 0 along noisy scores, each as long as a bound of the information lets it be
    (Böhning & Lindsay 1988: a quarter of the products is never less); the estimate is the mean of the
    later half, which has less noise than the last alone (Polyak & Juditsky 1992)."""

    method: str
    design: Design
    scale: Scale
    steps: int
    l2: float = 0.0

    def begin(self) -> NoisyState:
        """The state before any round."""
        return NoisyState(series=self.scale.series)

    def ask(self, state: NoisyState) -> Round | None:
        """Products, then scores."""
        if state.fitted is not None:
            return None
        return Round(family="binomial", state=state.at, number=state.rounds)

    def advance(self, state: NoisyState, sums: Sums) -> NoisyState:
        """One round further."""
        size, rounds = len(self.design.features) + 1, state.rounds + 1
        if not state.rounds:
            first = tuple(tuple(row) for row in square(sums, size).tolist())
            zero = (0.0,) * size
            return msgspec.structs.replace(state, rounds=1, matrix=first, at=zero, total=zero)
        at, matrix = np.array(state.at), np.array(state.matrix)
        penalty = _penalty(self.design, self.scale, self.l2)
        spare = noise_norm(self.scale.deviation, size)
        bound = (raised(matrix, 0.0) + spare * np.eye(size)) / 4 + np.diag(penalty)
        step = np.linalg.solve(bound, vector(sums, "u", size) - penalty * at)
        at = np.clip(at + step, -MOST_STATE, MOST_STATE)
        total = np.array(state.total) + at * (state.rounds > self.steps // 2)
        state = msgspec.structs.replace(
            state,
            rounds=rounds,
            at=tuple(at.tolist()),
            total=tuple(total.tolist()),
            change=float(np.max(np.abs(step))),
        )
        if state.rounds <= self.steps:
            return state
        mean = total / (self.steps - self.steps // 2)
        n = max(0, round(float(matrix[0, 0])))
        fitted = _fitted(self, mean, n, rounds, None)
        return msgspec.structs.replace(state, fitted=fitted)

    def progress(self, state: NoisyState) -> Progress:
        """Rounds, and the last change of a coefficient in the scale of the ranges."""
        return Progress(rounds=state.rounds, change=state.change)

    def fitted(self, state: NoisyState) -> Fitted | None:
        """The model, once the last round is taken."""
        return state.fitted


def noise_norm(deviation: float, size: int) -> float:
    """What the noise in a symmetric matrix seldom exceeds, as a spectral norm (Wigner's semicircle)."""
    return 2 * deviation * sqrt(size)


def raised(matrix: Array, floor: float) -> Array:
    """The nearest symmetric matrix whose eigenvalues are at least ``floor`` (Higham 1988)."""
    values, vectors = np.linalg.eigh(matrix)
    found = (vectors * np.maximum(values, floor)) @ vectors.T
    return np.asarray((found + found.T) / 2, dtype=np.float64)


def _centres(design: Design, scale: Scale) -> tuple[Array, Array]:
    """Centre and scale of each feature: those of the rounds."""
    pairs = [
        (0.0, 1.0) if one.indicator else centred(low, high)
        for one, (low, high) in zip(design.features, scale.ranges, strict=False)
    ]
    return np.array([one[0] for one in pairs]), np.array([one[1] for one in pairs])


def _penalty(design: Design, scale: Scale, l2: float) -> Array:
    """In the scale of the rounds, where a slope is the raw one times half of the range."""
    _, half = _centres(design, scale)
    return np.array([0.0, *(l2 / half**2).tolist()])


def _fitted(
    fit: NoisyLinear | NoisyLogistic, at: Array, n: int, rounds: int, deviance: float | None
) -> Fitted:
    """The model in the columns' own units. No covariance: one that forgot the noise would be too small."""
    design = fit.design
    centre, half = _centres(design, fit.scale)
    names = (INTERCEPT, *design.terms)
    return Fitted(
        method=fit.method,
        terms=design.terms,
        targets=tuple(one.name for one in design.targets),
        n=n,
        dropped=0,
        rounds=rounds,
        parameters=Coefficients(
            link="logit" if deviance is None else "identity",
            names=names,
            estimates=tuple((to_raw(centre, half) @ at).tolist()),
            covariance=(),
            dispersion=1.0 if deviance is None else deviance / max(1, n - len(names)),
            freedom=None,
            penalty=fit.l2,
            centre=tuple(centre.tolist()),
            scale=tuple(half.tolist()),
            at_centre=float(at[0]),
        ),
        metrics={} if deviance is None else {"deviance": deviance},
    )
