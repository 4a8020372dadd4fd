"""One round of a model as SQL over complete rows: what is summed, and how much each row weighs.

The relation that is read has ``x0``, ``x1``, … (features) and ``y0``, … (targets) of DOUBLE, none
NULL, and ``e0``, … (privacy units). A row's design vector is ``a0 = 1`` and
``a{j+1} = (x{j} - centre[j]) / scale[j]``. Rule to keep: SQL is made of the family, the number of
columns and finite numbers only; no text of an analyst comes here.

Families (McCullagh & Nelder 1989, Generalized Linear Models, 2.5):

``moments``   ``s{j}``, ``q{j}``: sums of every column and of its square (features less centre by
scale, then targets).
``products``  ``h{i}_{j}``: sums of ``a{i} a{j}``, ``i <= j``.
``gaussian``, ``binomial`` (logit), ``poisson``, ``gamma`` (log): a round of Fisher scoring at the
coefficients ``state`` (one for each of ``a0``, …). ``h{i}_{j}``: sums of ``w a{i} a{j}``;
``u{j}``: the score, sums of ``r a{j}``; ``deviance``; ``pearson``: Pearson's chi-squared, where a
dispersion is estimated; ``ll``: the part of the log-likelihood that depends on the mean. With an empty ``state`` the round starts
where R's glm does, from the targets: ``u{j}`` are the sums of ``w z a{j}``, of the working response z.
``kmeans``, ``classes``: ``group_steps.py``; ``cox``: ``cox_step.py``; ``score_…``, ``absolute_…``,
``ranks``: ``score_steps.py``; ``score_classes``, ``hits``: ``class_steps.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from podsql.planner.fragment import Family, Field, ModelStep
from podsql.planner.training.class_steps import hits, score_classes
from podsql.planner.training.cox_step import cox
from podsql.planner.training.group_steps import classes, kmeans
from podsql.planner.training.score_steps import MEASURED, SCORED, absolute, ranks, score
from podsql.planner.training.written import (
    MOST_ETA,
    Weight,
    Written,
    cut,
    design,
    number,
    placed,
    predictor,
    wrong_state,
)

__all__ = ["MOST_ETA", "Written", "design", "families", "number", "step_fields", "write_step"]


def step_fields(step: ModelStep) -> tuple[Field, ...]:
    """The outputs of a round: ``n``, its complete rows; ``dropped``, the others; then the sums."""
    written = write_step(step, "rows")
    counts = (Field("n", "BIGINT"), Field("dropped", "BIGINT"))
    return (*counts, *(Field(name, "DOUBLE") for name, _ in written.sums))


def write_step(step: ModelStep, rows: str) -> Written:
    """The round over the relation ``rows``; MODEL_STATE for numbers that cannot be used."""
    features = len(step.features)
    if len(step.centre) != len(step.scale) or len(step.centre) not in (0, features):
        raise wrong_state("centre and scale are one number for each feature")
    if not all(map(isfinite, (*step.centre, *step.scale, *step.state))) or not all(step.scale):
        raise wrong_state("a number is not finite, or a scale is 0")
    return _FAMILIES[step.family](step, rows)


def _moments(step: ModelStep, rows: str) -> Written:
    names = [f"({one})" for one in design(step)[1:]]
    names += [f"y{place}" for place in range(len(step.targets))]
    sums = [(f"s{place}", f"sum({name})") for place, name in enumerate(names)]
    sums += [(f"q{place}", f"sum({name} * {name})") for place, name in enumerate(names)]
    return Written(relation=f"SELECT * FROM {rows}", sums=tuple(sums))


def _products(step: ModelStep, rows: str) -> Written:
    return Written(
        relation=f"SELECT *, {placed(step)} FROM {rows}",
        sums=tuple(_pairs(len(step.features) + 1, lambda pair: pair)),
    )


def _pairs(size: int, weighed: Callable[[str], str]) -> list[tuple[str, str]]:
    return [
        (f"h{i}_{j}", f"sum({weighed(f'a{i} * a{j}')})")
        for i in range(size)
        for j in range(i, size)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glm:
    """Per row, over ``y``, the linear predictor ``eta``, what is left of it when it is ``cut``, and the
    mean ``mu``.

    Only what stands under an exponential is cut. What is linear in ``eta`` is not: at the cut it would have
    a kink, and the sums of three rounds on both sides of one row's would tell that row.
    """

    mean: str
    weight: str
    residual: str
    """Times ``a{j}``: the score."""
    deviance: str
    pearson: str
    likelihood: str
    start: tuple[str, str, str]
    """Mean, weight and working response from the target alone."""
    mass: str
    valid: str
    parts: tuple[str, ...] = ()
    """What the score is made of, besides the residual: weights of single columns."""


_NONE: Final = "1.0::DOUBLE"
_ZERO: Final = "0.0::DOUBLE"
_SOFT: Final = (
    "(greatest(CASE WHEN y = 1 THEN -eta ELSE eta END, 0.0::DOUBLE) + ln(1 + exp(-abs(eta))))"
)
"""``ln(1 + exp(z))`` of ``-eta`` where y = 1, of ``eta`` else."""
_GLMS: Final[dict[str, Glm]] = {
    "gaussian": Glm(
        mean="eta",
        weight=_NONE,
        residual="y - mu",
        deviance="(y - mu) * (y - mu)",
        pearson="(y - mu) * (y - mu)",
        likelihood=_ZERO,
        start=("y", _NONE, "y"),
        mass=_NONE,
        valid="true",
    ),
    "binomial": Glm(
        mean="1 / (1 + exp(-cut))",
        weight="1 / ((1 + exp(-cut)) * (1 + exp(cut)))",
        residual="y - mu",
        deviance=f"2 * {_SOFT}",
        pearson=_ZERO,  # its largest term alone would tell how far off one row is
        likelihood=f"-{_SOFT}",
        start=(
            "(y + 0.5) / 2",
            "((y + 0.5) / 2) * (1 - (y + 0.5) / 2)",
            "ln((y + 0.5) / (1.5 - y)) + (y - (y + 0.5) / 2)"
            " / (((y + 0.5) / 2) * (1 - (y + 0.5) / 2))",
        ),
        mass="4 * w",
        parts=("mu", "1 - mu"),
        valid="y IN (0, 1)",
    ),
    "poisson": Glm(
        mean="exp(cut)",
        weight="mu",
        residual="y - mu",
        deviance="2 * (CASE WHEN y > 0 THEN y * (ln(y) - eta) ELSE 0 END - (y - mu))",
        pearson=_ZERO,
        likelihood="y * eta - mu - lgamma(y + 1)",
        start=("y + 0.1", "y + 0.1", "ln(y + 0.1) + (y - (y + 0.1)) / (y + 0.1)"),
        mass="least(w, 1)",
        valid="y >= 0",
    ),
    "gamma": Glm(
        mean="exp(cut)",
        weight=_NONE,
        residual="(y - mu) / mu",
        deviance="2 * ((y - mu) / mu - (ln(y) - eta))",
        pearson="((y - mu) / mu) * ((y - mu) / mu)",
        likelihood="ln(y) - eta - y / mu",
        start=("y", _NONE, "ln(y)"),
        mass=_NONE,
        valid="y > 0",
        parts=("y / mu",),
    ),
}


def _glm(step: ModelStep, rows: str) -> Written:
    """Three layers: the design, the linear predictor, what each row adds."""
    family, size = _GLMS[step.family], len(step.features) + 1
    if len(step.targets) != 1 or len(step.state) not in (0, size):
        raise wrong_state("one target, and a coefficient for every column of the design or none")
    first = f"SELECT *, {placed(step)}, y0 AS y FROM {rows}"
    if step.state:
        eta = predictor(step.state)
        first = f"SELECT *, {cut('eta')} AS cut FROM (SELECT *, {eta} AS eta FROM ({first}))"
        second = f"SELECT *, {family.mean} AS mu FROM ({first})"
        added, weight = family.residual, family.weight
        measured = (family.deviance, family.pearson, family.likelihood)
    else:
        mean, weight, response = family.start
        second = f"SELECT *, {mean} AS mu FROM ({first})"
        added = f"({weight}) * ({response})"
        measured = (_ZERO,) * 3
    names = ("deviance", "pearson", "ll")
    added_up = ", ".join(f"{one} AS {name}" for one, name in zip(measured, names, strict=True))
    relation = f"SELECT *, {weight} AS w, {added} AS r, {added_up} FROM ({second})"
    sums = _pairs(size, lambda pair: f"w * {pair}" if weight != _NONE else pair)
    sums += [(f"u{j}", f"sum(r * a{j})") for j in range(size)]
    sums += [(name, f"sum({name})") for name in names]
    linear = step.family == "gaussian"  # all of it follows from sums without a state
    single = [] if linear else [*(family.parts if step.state else ()), "abs(r)"]
    return Written(
        relation=relation,
        sums=tuple(sums),
        weights=(
            *([Weight(sql="w", pairs=True)] if weight != _NONE else []),
            *(Weight(sql=one) for one in single),
        ),
        alone=()
        if linear
        else tuple(n for n, one in zip(names, measured, strict=True) if one != _ZERO),
        mass=family.mass,
        valid=family.valid,
    )


_FAMILIES: Final[dict[Family, Callable[[ModelStep, str], Written]]] = {
    "moments": _moments,
    "products": _products,
    **dict.fromkeys(("gaussian", "binomial", "poisson", "gamma"), _glm),
    "kmeans": kmeans,
    "classes": classes,
    "cox": cox,
    **dict.fromkeys(SCORED, score),
    **dict.fromkeys(MEASURED, absolute),
    "ranks": ranks,
    "score_classes": score_classes,
    "hits": hits,
}


def families() -> Sequence[Family]:
    """What ``write_step`` knows."""
    return tuple(_FAMILIES)
