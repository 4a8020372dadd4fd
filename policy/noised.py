"""The gate for a noisy release: what a pod computes for it, how much noise, at what price.

Everything here is a function of the fragment and the document, never of a row: an exact threshold
or a refusal that looks at data would void the guarantee. The unit is the privacy unit of the
table(s): its rows are clamped, cut to ``max_rows_contributed`` per group and
``max_groups_contributed`` groups (Wilson et al. 2020), after the joins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import isqrt
from typing import Final

from sqlglot import exp

from podsql.planner.fragment import Binned, Noised, NoisyStep
from podsql.planner.wire_types import FLOATS, known_type, wire_type
from podsql.policy.binned import bin_of
from podsql.policy.bounds import Interval, interval_of
from podsql.policy.denial import Denial
from podsql.policy.document import Dp, Policy
from podsql.policy.functions import aggregate
from podsql.policy.joins import Pair
from podsql.policy.ledger.cost import Cost, rho_for, zcdp_cost
from podsql.policy.noise.tails import threshold
from podsql.policy.populations import contributes, units
from podsql.policy.regenerate import Output, select_of
from podsql.policy.roles import arguments, protected
from podsql.policy.scope import Scope

GRID_BITS: Final = 24
"""Values with fractions are counted in steps of 2**-24 of their largest, or finer."""
LARGEST_STEP: Final = 1 << 31
MOST_KEYS: Final = 10_000
THRESHOLD_SHARES: Final = 100
"""At most a hundredth of a budget's delta goes to the threshold of one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseOrder:
    """What the pod does with the integers that the statement's SQL yields.

    The columns are the keys, one integer per aggregate, then the number of units.
    """

    keys: int
    deviations: tuple[Fraction, ...]
    """Standard deviation of the noise, one per aggregate, in grid steps."""
    grids: tuple[int, ...]
    """Grid steps in one; 1 for counts and whole numbers."""
    counts: tuple[bool, ...]
    domain: tuple[tuple[object, ...], ...] | None
    """Every group that is answered, held or not; None: those above ``threshold``."""
    threshold: int
    units_deviation: Fraction
    cost: Cost

    @property
    def errors(self) -> tuple[float, ...]:
        """Standard deviation of the noise of each aggregate, in its own units."""
        return tuple(float(d) / g for d, g in zip(self.deviations, self.grids, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """One aggregate: the integer a row adds, and the most it can be."""

    value: exp.Expr
    largest: int
    """0: the units themselves are counted, one a group, however many rows they have."""
    grid: int
    counts: bool


def judge_noised(
    fragment: Noised,
    scope: Scope,
    pairs: tuple[Pair, ...],
    outputs: Sequence[Output],
    dp: Dp | None,
    salt: str,
) -> tuple[str, NoiseOrder]:
    """The SQL of exact integers, and the order for their noise; Denial if none can be vouched for."""
    rules = require_dp(dp)
    unit = one_unit(scope, pairs)
    count = len(fragment.keys)
    keys, calls = scope.outputs[:count], scope.outputs[count:]
    figures = [_figure(call, unit, scope) for call in calls]
    _require_types(figures, outputs[count:])
    order = _order(fragment, figures, rules, count, _domain(keys, outputs, scope))
    return _sql(scope, unit, keys, figures, outputs, rules, salt), order


def judge_noisy_bins(
    fragment: Binned,
    scope: Scope,
    pairs: tuple[Pair, ...],
    outputs: Sequence[Output],
    policy: Policy,
    salt: str,
) -> tuple[str, NoiseOrder]:
    """The same for a count of every public bin: ``low`` and ``high`` are two keys more."""
    rules = require_dp(policy.dp)
    unit = one_unit(scope, pairs)
    count = len(fragment.keys)
    keys = list(scope.outputs[:count])
    number, last = bin_of(scope.outputs[count], scope, policy)
    groups = _domain(keys, outputs, scope)
    if groups is None:
        raise Denial("NO_BOUNDS")  # a group whose bins are missing would have no quantile
    if len(groups) * (last + 1) > MOST_KEYS:
        raise Denial("LIMIT")
    domain = tuple((*group, at, at) for group in groups for at in range(last + 1))
    known = exp.Not(this=exp.Is(this=exp.paren(number.copy()), expression=exp.Null()))
    figure = _Figure(value=exp.Literal.number(1), largest=1, grid=1, counts=True)
    order = _order(fragment, [figure], rules, count + 2, domain)
    narrowed = replace(scope, where=(*scope.where, known))
    sql = _sql(narrowed, unit, [*keys, number, number.copy()], [figure], outputs, rules, salt)
    return sql, order


def require_dp(dp: Dp | None) -> Dp:
    """The document's section; NO_DP where there is none."""
    if dp is None:
        raise Denial("NO_DP")
    return dp


def _order(
    fragment: Noised | Binned,
    figures: Sequence[_Figure],
    dp: Dp,
    keys: int,
    domain: tuple[tuple[object, ...], ...] | None,
) -> NoiseOrder:
    """How much noise each figure gets for the price."""
    groups = dp.max_groups_contributed if keys else 1
    rho, spare = price_of(fragment, dp, unknown=keys > 0 and domain is None)
    parts = len(figures) + (1 if spare else 0)
    each = rho / parts

    def deviation(largest: int) -> Fraction:
        """Of an l2 sensitivity sqrt(groups)·rows·largest at ``each`` zCDP."""
        return deviation_for(groups * (dp.max_rows_contributed * largest) ** 2, each)

    alone = deviation_for(groups, each)
    return NoiseOrder(
        keys=keys,
        deviations=tuple(
            alone if one.counts and one.largest == 0 else deviation(one.largest) for one in figures
        ),
        grids=tuple(one.grid for one in figures),
        counts=tuple(one.counts for one in figures),
        domain=domain,
        threshold=threshold(alone, float(spare), groups=groups) if spare else 0,
        units_deviation=alone,
        cost=zcdp_cost(rho, spare),
    )


def deviation_for(square: int, rho: Fraction) -> Fraction:
    """Standard deviation (rounded up) of an l2 sensitivity whose square is ``square`` at ``rho`` zCDP."""
    scaled = Fraction(square) / (2 * rho) * 10**12
    return Fraction(isqrt(scaled.numerator // scaled.denominator + 1) + 1, 10**6)


def promised(fragment: Noised | Binned | NoisyStep, dp: Dp) -> tuple[float, float]:
    """epsilon and delta of a release, which the document may not exceed; DP_PARAMETERS."""
    epsilon, delta = _number(fragment.epsilon), _number(fragment.delta)
    epsilon = dp.epsilon_per_query if epsilon is None else epsilon
    delta = dp.delta if delta is None else delta
    if not 0 < epsilon <= dp.epsilon_per_query or not 0 < delta <= dp.delta:
        raise Denial("DP_PARAMETERS")
    return epsilon, delta


def price_of(
    fragment: Noised | Binned | NoisyStep, dp: Dp, *, unknown: bool = False
) -> tuple[Fraction, Fraction]:
    """rho of the whole release, and the delta its threshold takes."""
    epsilon, delta = promised(fragment, dp)
    rho = rho_for(epsilon, delta)
    if rho <= 0:
        raise Denial("DP_PARAMETERS")
    spare = min(Fraction(delta) / 2, Fraction(dp.delta) / 2 / THRESHOLD_SHARES)
    return rho, spare if unknown else Fraction(0)


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise Denial("DP_PARAMETERS") from None


def one_unit(scope: Scope, pairs: tuple[Pair, ...]) -> exp.Expr:
    """The one unit that every protected table of the statement is about."""
    sources = protected(scope)
    if any(source.inner is not None or source.rights.unit is None for source in sources):
        raise Denial("ENTITY_COUNT")
    if any(source.hidden or source.use.kind in ("right", "full") for source in scope.sources):
        raise Denial("JOIN_TYPE")
    found = units(scope, sources, pairs)
    if len(found) != 1 or found[0] is None:
        raise Denial("ENTITY_COUNT")
    return found[0]


def _figure(call: exp.Expr, unit: exp.Expr, scope: Scope) -> _Figure:
    condition = None
    if isinstance(call, exp.Filter):
        # ``contributes`` reads it from the call's place in the tree.
        condition, call = call.expression.this, call.this
    named = aggregate(call)
    if named is None or named[1] not in ("count", "sum") or isinstance(call, exp.RegrCount):
        raise Denial("AGG_NOT_ALLOWED")
    given = arguments(call)
    if call.find(exp.Distinct) is not None:
        if named[0] != "count" or given != (unit,):
            raise Denial("AGG_NOT_ALLOWED")
        if condition is not None:
            raise Denial("AGG_NOT_ALLOWED")
        return _Figure(value=exp.Literal.number(1), largest=0, grid=1, counts=True)
    if named[1] == "count":
        test = contributes(call)
        for argument in given:
            if (
                isinstance(argument, exp.Column)
                and known_type(scope.column(argument).type) in FLOATS
            ):
                finite = exp.Anonymous(this="isfinite", expressions=[argument.copy()])
                test = finite if test is None else exp.and_(test, finite, copy=False)
        return _Figure(value=_when(test, exp.Literal.number(1)), largest=1, grid=1, counts=True)
    (argument,) = given
    return _sum(argument, condition, scope)


def _sum(argument: exp.Expr, condition: exp.Expr | None, scope: Scope) -> _Figure:
    interval = interval_of(argument, scope)
    if interval is None:
        raise Denial("NO_BOUNDS")
    grid = 1 if interval.whole else _grid(interval)
    largest = _steps(max(abs(interval.low), abs(interval.high)), grid)
    if largest > LARGEST_STEP or largest == 0:
        raise Denial("NO_BOUNDS")
    number = exp.Cast(this=argument.copy(), to=exp.DataType.build("DOUBLE"))
    # NULL, NaN and the infinities add nothing; LEAST and GREATEST alone would clamp NULL.
    finite = exp.Anonymous(this="isfinite", expressions=[number.copy()])
    clamped: exp.Expr = exp.maybe_parse(
        f"CAST(round(least(greatest({number.sql('duckdb')}, {float(interval.low)!r}::DOUBLE),"
        f" {float(interval.high)!r}::DOUBLE) * {grid}) AS BIGINT)",
        dialect="duckdb",
    )
    test = finite if condition is None else exp.and_(finite, condition.copy(), copy=False)
    return _Figure(value=_when(test, clamped), largest=largest, grid=grid, counts=False)


def _grid(interval: Interval) -> int:
    largest = max(abs(interval.low), abs(interval.high))
    grid = 1
    while largest * grid < 1 << GRID_BITS:
        grid *= 2
    return grid


def _steps(largest: Fraction, grid: int) -> int:
    steps = largest * grid
    return -(-steps.numerator // steps.denominator)


def _when(test: exp.Expr | None, value: exp.Expr) -> exp.Expr:
    if test is None:
        return value
    return exp.Case(ifs=[exp.If(this=test, true=value)], default=exp.Literal.number(0))


def _require_types(figures: Sequence[_Figure], outputs: Sequence[Output]) -> None:
    """Counts travel as BIGINT, sums as DOUBLE."""
    for figure, output in zip(figures, outputs, strict=True):
        if output.field.type != ("BIGINT" if figure.counts else "DOUBLE"):
            raise Denial("BAD_TYPE")


def _domain(
    keys: Sequence[exp.Expr], outputs: Sequence[Output], scope: Scope
) -> tuple[tuple[object, ...], ...] | None:
    """Every combination of the keys' declared values, if each key is a column that declares them."""
    lists = []
    for key, output in zip(keys, outputs, strict=False):
        rights = scope.column(key) if isinstance(key, exp.Column) else None
        if rights is None or rights.values is None:
            return None
        if output.field.type != wire_type(rights.type):
            # Values that become one in a narrower type would be answered, and noised, each.
            raise Denial("BAD_TYPE")
        lists.append(tuple(dict.fromkeys(rights.values)))
    size = 1
    for values in lists:
        size *= len(values)
    if size > MOST_KEYS:
        raise Denial("LIMIT")
    return tuple(product(*lists))


def _sql(
    scope: Scope,
    unit: exp.Expr,
    keys: Sequence[exp.Expr],
    figures: Sequence[_Figure],
    outputs: Sequence[Output],
    dp: Dp,
    salt: str,
) -> str:
    """Rows with their unit, cut to the contribution bounds, summed per group."""
    named = [f"k{place}" for place in range(len(keys))]
    values = [f"v{place}" for place in range(len(figures))]
    projections = [
        exp.alias_(exp.TryCast(this=key.copy(), to=output.wire.copy()), name)
        for key, output, name in zip(keys, outputs, named, strict=False)
    ]
    projections.append(exp.alias_(unit.copy(), "u"))
    projections += [
        exp.alias_(figure.value.copy(), name) for figure, name in zip(figures, values, strict=True)
    ]
    rows = select_of(scope, projections).sql(dialect="duckdb", comments=False)
    per_group = ", ".join(["u", *named])
    # By content under the pod's own salt: another unit's rows never change which of these stay.
    row_order = ", ".join([f"hash('{salt}', {', '.join(['u', *values])})", *values])
    cut = f"row_number() OVER (PARTITION BY {per_group} ORDER BY {row_order}) AS r"
    if named:
        group_order = ", ".join([f"hash('{salt}', {per_group})", *named])
        cut += f", dense_rank() OVER (PARTITION BY u ORDER BY {group_order}) AS g"
    kept = f"r <= {dp.max_rows_contributed}"
    kept += f" AND g <= {dp.max_groups_contributed}" if named else ""
    sums = [
        f"CAST(count(DISTINCT u) AS BIGINT) AS {name}"
        if figure.largest == 0
        else f"CAST(coalesce(sum({name}), 0) AS BIGINT) AS {name}"
        for figure, name in zip(figures, values, strict=True)
    ]
    selected = ", ".join([*named, *sums, "count(DISTINCT u) AS n"])
    ending = f" GROUP BY {', '.join(named)} ORDER BY {', '.join(named)}" if named else ""
    return (
        f"WITH contributions AS ({rows}),"
        f" cut AS (SELECT *, {cut} FROM contributions WHERE u IS NOT NULL)"
        f" SELECT {selected} FROM cut WHERE {kept}{ending}"
    )
