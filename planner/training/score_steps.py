"""Rounds that say how well a model foretells rows: ``state`` is its coefficients, and nothing is fitted.

``score_gaussian``, ``score_binomial``, ``score_poisson``, ``score_gamma``, over the target y and its mean
mu by the model: ``t``, ``m``: sums of y and mu; ``tt``: of ``(y - c)^2`` and ``tc``: of ``y - c``, where c is the mean of
a row at the centre; ``squares``: of ``(y - mu)^2``; ``deviance``. Of a binomial one instead of ``tt`` and ``tc``, for
how far the means spread: ``deviance2``, ``squares2``, sums of the squares of what those add up.
``absolute_…``: ``absolute``, the sum of ``|y - mu|``.
``ranks``     of a binomial model: how many rows with y = 0 (``n{k}``) and y = 1 (``p{k}``) have a linear
predictor in bin k of ``RANKS``; both are -1 where the bin is counted with those above it.

Rule to keep: no sum of ``score_…`` has a kink in the coefficients, where one row would show; linear
predictors are not cut. What has kinks or counts (``absolute_…``, ``ranks``) the gate judges by itself.
"""

from dataclasses import dataclass
from math import exp, isfinite
from typing import Final

from podsql.planner.fragment import Family, ModelStep
from podsql.planner.training.written import Weight, Written, number, placed, predictor, wrong_state

STEPS: Final = 8
"""Bins of a linear predictor for each 1 that it grows by."""
EDGES: Final = tuple(k / STEPS for k in range(-6 * STEPS, 6 * STEPS + 1))
"""Where the bins of a linear predictor begin; 0 is a probability of 1/2."""
RANKS: Final = len(EDGES) + 1
"""Bins: the first one is below all edges, the last one at and above the last."""
HALF: Final = EDGES.index(0.0) + 1
"""The first bin of probabilities of 1/2 and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    """Per row. ``weights``: what stands before no product of columns, but sums are made of it."""

    mean: str
    deviance: str
    valid: str
    mass: str
    weights: tuple[str, ...]
    spread: str
    """What a row's columns weigh; empty: no number of the state is in it."""


_LOG: Final = ("mu", "mu * mu", "y * mu")
_SOFT: Final = "2 * (greatest(z, 0) + ln(1 + exp(-abs(z))))"
_SCORES: Final[dict[str, _Score]] = {
    "gaussian": _Score(
        mean="eta",
        deviance="(y - mu) * (y - mu)",
        valid="true",
        mass="1.0::DOUBLE",
        weights=(),
        spread="",
    ),
    "binomial": _Score(
        mean="1 / (1 + exp(-eta))",
        deviance=_SOFT.replace("z", "(CASE WHEN y = 1 THEN -eta ELSE eta END)"),
        valid="y IN (0, 1)",
        mass="4 * mu * (1 - mu)",
        weights=(),
        spread="mu * (1 - mu)",
    ),
    "poisson": _Score(
        mean="exp(eta)",
        deviance="2 * (CASE WHEN y > 0 THEN y * (ln(y) - eta) ELSE 0 END - (y - mu))",
        valid="y >= 0",
        mass="least(mu, 1)",
        weights=_LOG,
        spread="mu",
    ),
    "gamma": _Score(
        mean="exp(eta)",
        deviance="2 * ((y - mu) / mu - (ln(y) - eta))",
        valid="y > 0",
        mass="1.0::DOUBLE",
        weights=(*_LOG, "y / mu"),
        spread="",
    ),
}


def score(step: ModelStep, rows: str) -> Written:
    """How far targets lie from their means."""
    base = _of(step)
    one = _SCORES[base]
    sums = [("t", "sum(y)"), ("m", "sum(mu)"), ("squares", "sum(s)"), ("deviance", "sum(d)")]
    if base == "binomial":
        sums += [("squares2", "sum(s * s)"), ("deviance2", "sum(d * d)")]
    else:
        c = number(_at_centre(base, step.state[0]))
        sums += [("tc", f"sum(y - {c})"), ("tt", f"sum((y - {c}) * (y - {c}))")]
    return Written(
        relation=f"SELECT *, (y - mu) * (y - mu) AS s, {one.deviance} AS d FROM ({_means(step, rows)})",
        sums=tuple(sums),
        weights=(Weight(sql=one.spread, pairs=True),) if one.spread else (),
        alone=(
            *("mu", "s", "d"),
            *(("s * s", "d * d") if base == "binomial" else ()),
            *one.weights,
        ),
        mass=one.mass,
        valid=one.valid,
    )


def absolute(step: ModelStep, rows: str) -> Written:
    """The sum of absolute differences, which has a kink at every target."""
    return Written(
        relation=_means(step, rows),
        sums=(("absolute", "sum(abs(y - mu))"),),
        valid=_SCORES[_of(step)].valid,
    )


def ranks(step: ModelStep, rows: str) -> Written:
    """Rows by bin of the linear predictor and by target."""
    sums = [(f"{name}{k}", f"{name}s[{k + 1}]") for name in ("n", "p") for k in range(RANKS)]
    place = f"CAST(floor(eta * {STEPS}) AS BIGINT) + {HALF}"
    low, high = number(EDGES[0]), number(EDGES[-1])
    return Written(
        relation=(
            f"SELECT *, CASE WHEN eta < {low} THEN 0 WHEN eta >= {high} THEN {RANKS - 1}"
            f" ELSE {place} END AS bin FROM ({_means(step, rows)})"
        ),
        sums=tuple(sums),
        valid=_SCORES["binomial"].valid,
        bins=RANKS,
        half=HALF,
    )


SCORED: Final[tuple[Family, ...]] = (
    "score_gaussian",
    "score_binomial",
    "score_poisson",
    "score_gamma",
)
"""The families that ``score`` writes."""
MEASURED: Final[tuple[Family, ...]] = ("absolute_gaussian", "absolute_poisson", "absolute_gamma")
"""The families that ``absolute`` writes."""


def _of(step: ModelStep) -> str:
    return "binomial" if step.family == "ranks" else step.family.partition("_")[2]


def _means(step: ModelStep, rows: str) -> str:
    """The rows with ``y``, the linear predictor ``eta`` and the mean ``mu``."""
    if len(step.targets) != 1 or len(step.state) != len(step.features) + 1:
        raise wrong_state("one target, and a coefficient for every column of the design")
    eta = predictor(step.state)
    first = f"SELECT *, {placed(step)}, y0 AS y FROM {rows}"
    return f"SELECT *, {_SCORES[_of(step)].mean} AS mu FROM (SELECT *, {eta} AS eta FROM ({first}))"


def _at_centre(base: str, linear: float) -> float:
    if base == "gaussian":
        return linear
    found = exp(linear) if abs(linear) < 700 else 0.0
    if not found or not isfinite(found):
        raise wrong_state("the mean at the centre is out of range")
    return found
