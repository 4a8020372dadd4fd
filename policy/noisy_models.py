"""The gate for a round of a model whose sums leave with noise: what is summed, how much noise, at what price.

As in ``noised.py``, everything is a function of the fragment and the document, never of a row. What a
privacy unit adds is bounded by the grid (``planner/training/noisy_steps.py``), not by what a state may
be: a planted one moves the sums as little as any. A series of rounds has one price, split over its
rounds beforehand; what the rounds of one series have in common is its ``mark``. Rule to keep: a number
that a round is made of either is in the mark, or changes no bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import Final

import msgspec
from sqlglot import exp

from podsql.errors import Error
from podsql.planner.fragment import Field, ModelStep, NoisyStep
from podsql.planner.training.noisy_steps import (
    UNIT,
    columns_of,
    grid_columns,
    noisy_fields,
    noisy_sums,
    require_round,
    residual,
)
from podsql.policy.bounds import Interval, interval_of
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.joins import Pair
from podsql.policy.ledger.cost import epsilon_of, zcdp_cost
from podsql.policy.model_figures import DesignColumn
from podsql.policy.models import as_number, design_columns, require_design_column
from podsql.policy.noised import (
    NoiseOrder,
    deviation_for,
    one_unit,
    price_of,
    promised,
    require_dp,
)
from podsql.policy.regenerate import select_of, text_of
from podsql.policy.scope import Scope
from podsql.policy.total import without_errors

FIRST_SHARE: Final = Fraction(1, 4)
"""Of the price, for the first of several rounds: it only says how long the steps of the others are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Of which series a round is, which one it is, and what tells it from another of that number."""

    mark: bytes
    number: int
    state: bytes
    ranges: tuple[tuple[float, float], ...]
    """The pod's own bounds of every feature, then target."""
    promise: tuple[float, float]
    """epsilon and delta of the whole series."""


def plain_step(step: NoisyStep) -> ModelStep:
    """The same design as a step without noise: what its columns are read as, references last."""
    return ModelStep(
        family=step.family,
        source=step.source,
        features=step.features,
        targets=(*step.targets, *step.references),
        literals=step.literals,
    )


def judge_noisy_model(
    step: NoisyStep, scope: Scope, pairs: tuple[Pair, ...], policy: Policy, salt: str
) -> tuple[str, tuple[Field, ...], NoiseOrder, Series]:
    """``scope`` has the columns of ``plain_step`` as outputs. The SQL of exact integers, its fields, the
    order for their noise and the series; Denial if none can be vouched for."""
    rules = require_dp(policy.dp)
    unit = one_unit(scope, pairs)
    listed = (*step.features, *step.targets, *step.references)
    indicators = [one.indicator for one in listed]
    for tree, indicator in zip(scope.outputs, indicators, strict=True):
        require_design_column(tree, scope, policy, indicator=indicator)
    names = [f"x{place}" for place in range(len(step.features))]
    names += [f"y{place}" for place in range(len(step.targets))]
    names += [f"z{place}" for place in range(len(step.references))]
    design = design_columns(scope, indicators, names)
    ranges = _ranges(scope.outputs, step, scope)
    step = _ranged(step, ranges)
    rho, _ = price_of(step, rules)
    square = _square(step, _parts(design, step)) * rules.max_rows_contributed**2
    deviation = deviation_for(square, rho * _share(step))
    sums = noisy_sums(step)
    rows = _rows(scope, unit, design, ranges, indicators)
    sql = _sql(step, rows, design, rules.max_rows_contributed, salt)
    epsilon, delta = promised(step, rules)
    cost = zcdp_cost(rho)
    order = NoiseOrder(
        keys=0,
        deviations=(deviation,) * len(sums),
        grids=(UNIT,) * len(sums),
        counts=(False,) * len(sums),
        domain=None,
        threshold=0,
        units_deviation=deviation,
        cost=cost,
    )
    series = Series(
        mark=_digest((rows, step.family, step.ranges, step.rounds, step.series, epsilon, delta)),
        number=step.number,
        state=_digest(step.state),
        ranges=ranges,
        promise=(min(epsilon, epsilon_of(cost, delta)), delta),
    )
    return sql, noisy_fields(step), order, series


def _ranges(
    trees: Sequence[exp.Expr], step: NoisyStep, scope: Scope
) -> tuple[tuple[float, float], ...]:
    """The bounds of every feature and target; NO_BOUNDS where the document declares none."""
    found = []
    for tree, one in zip(trees, (*step.features, *step.targets), strict=False):
        interval = (
            Interval(Fraction(0), Fraction(1), True) if one.indicator else interval_of(tree, scope)
        )
        if interval is None or not interval.low < interval.high:
            raise Denial("NO_BOUNDS")
        try:
            found.append((float(interval.low), float(interval.high)))
        except OverflowError:
            raise Denial("NO_BOUNDS") from None
    if any(not one.indicator for one in step.references):
        raise Denial("MODEL_STATE")
    if step.family == "binomial" and (found[-1][0] < 0 or found[-1][1] > 1):
        raise Denial("NO_BOUNDS")  # its residuals would not be bounded by those of a probability
    return tuple(found)


def _ranged(step: NoisyStep, own: tuple[tuple[float, float], ...]) -> NoisyStep:
    """``step`` with ranges, which hold the pod's own: what is cut to less is compared with a number."""
    step = msgspec.structs.replace(step, ranges=step.ranges or own)
    try:
        require_round(step)
    except Error:
        raise Denial("MODEL_STATE") from None
    for (low, high), (least, most) in zip(step.ranges, own, strict=True):
        if not (low <= least and most <= high):
            raise Denial("DP_PARAMETERS")
    return step


def _share(step: NoisyStep) -> Fraction:
    """Of the price of the series, for this round."""
    if step.rounds == 1:
        return Fraction(1)
    return FIRST_SHARE if step.number == 0 else (1 - FIRST_SHARE) / (step.rounds - 1)


def _parts(design: Sequence[DesignColumn], step: NoisyStep) -> int:
    """How many columns of the sums a row can have that are not 0: of levels of one column, one."""
    taken = design[: columns_of(step) - 1]
    return 1 + len({one.of or one.name for one in taken})


def _square(step: NoisyStep, parts: int) -> int:
    """The squared length, at most, of what one row adds: no entry is above ``UNIT``."""
    entries = parts if step.number else parts * (parts + 1) // 2
    return entries * UNIT**2


def _rows(
    scope: Scope,
    unit: exp.Expr,
    design: Sequence[DesignColumn],
    ranges: Sequence[tuple[float, float]],
    indicators: Sequence[bool],
) -> str:
    """Every row with its columns, NULL where they have no value, cut to the pod's bounds."""
    safe = without_errors(scope)
    projections = []
    for place, (tree, one, indicator) in enumerate(
        zip(safe.outputs, design, indicators, strict=True)
    ):
        value = as_number(tree, indicator=indicator)
        if not indicator:
            low, high = ranges[place]
            text = value.sql("duckdb")
            value = exp.maybe_parse(
                f"CASE WHEN {text} IS NOT NULL THEN"
                f" least(greatest({text}, {low!r}::DOUBLE), {high!r}::DOUBLE) END",
                dialect="duckdb",
            )
        projections.append(exp.alias_(value, one.name))
    projections.append(exp.alias_(unit.copy(), "u"))
    return text_of(select_of(safe, projections))


def _sql(step: NoisyStep, rows: str, design: Sequence[DesignColumn], most: int, salt: str) -> str:
    """Complete rows in whole steps, cut to ``most`` of each unit, summed."""
    whole = [
        "u IS NOT NULL",
        *(f"{one.name} IS NOT NULL" for one in design),
        *_levels(design, step),
    ]
    grid = grid_columns(step)
    kept = [f"q{place}" for place in range(len(grid))]
    if step.family == "binomial":
        grid.append("y0")
        kept.append("y0")
    # By content under the pod's own salt, as in a SELECT, and without the state: the rows of all rounds.
    order = ", ".join([f"hash('{salt}', u, {', '.join(kept)})", *kept])
    placed = f"SELECT *, {residual(step)} AS r FROM cut" if step.number else "SELECT * FROM cut"
    sums = ", ".join(
        f"CAST(coalesce({sql}, 0) AS BIGINT) AS {name}" for name, sql in noisy_sums(step)
    )
    return (
        f"WITH chosen AS ({rows}),"
        f" complete AS (SELECT * FROM chosen WHERE {' AND '.join(whole)}),"
        f" whole AS (SELECT u, {', '.join(grid)} FROM complete),"
        f" ranked AS (SELECT *, row_number() OVER (PARTITION BY u ORDER BY {order}) AS place FROM whole),"
        f" cut AS (SELECT * FROM ranked WHERE place <= {most}),"
        f" placed AS ({placed})"
        f" SELECT {sums}, count(DISTINCT u) AS n FROM placed"
    )


def _levels(design: Sequence[DesignColumn], step: NoisyStep) -> list[str]:
    """Of each column of levels: a row is of one of them, or (without a reference) of one at most.

    The bounds rest on this, whatever '7' and '07' are to the column."""
    features = len(step.features)
    references = design[features + len(step.targets) :]
    closed = {one.of for one in references}
    groups: dict[str, list[str]] = {}
    for one in design:
        if one.of:
            groups.setdefault(one.of, []).append(one.name)
    return [
        f"{' + '.join(names)} {'= 1' if of in closed else '<= 1'}" for of, names in groups.items()
    ]


def _digest(parts: object) -> bytes:
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32, person=b"ps-noisy-model").digest()
