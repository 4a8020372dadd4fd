"""The hidden column that says whether a group may leave (release ``sdc_local``).

Rule to keep: it is a function of the group's own rows and of how many groups there are, computed
in the same statement; what depends on earlier answers is the ledger's (``podsql/pod/releasing.py``).
"""

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from podsql.policy.document import Output
from podsql.policy.functions import Family, aggregate
from podsql.policy.populations import Population, calls_in, contributes
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope
from podsql.policy.spread import no_copies_within, rare_values, spread_of_rows
from podsql.policy.total import leans_on_bounds

GUARD: Final = "_ok"
"""Name of the guard column: BOOLEAN, removed by the engine."""
PARAMETERS: Final[dict[Family, int]] = {"var": 1, "skewness": 1, "covar": 2, "corr": 2, "regr": 2}
"""What a family estimates: its degrees of freedom are the units less these."""
LEVELS_SHARE: Final = 3
"""DataSHIELD's nfilter.levels.density: at most a third as many groups as units."""


def guard_column(
    populations: Sequence[Population],
    keys: Sequence[exp.Expr],
    aggregates: Sequence[exp.Expr],
    scope: Scope,
    output: Output,
) -> exp.Expr:
    """A boolean expression over the group."""
    checks = [check for population in populations for check in _checks(population, output)]
    if any(population.unit is None for population in populations):
        checks += spread_of_rows(aggregates, output.min_units)
    checks += no_copies_within(scope)
    checks += rare_values(populations, aggregates, scope, output.min_units)
    checks += _within_bounds(aggregates, scope)
    if output.min_dof:
        checks += _freedom(populations, aggregates, output)
    checks += _levels(populations, keys, scope, output)
    return exp.and_(*checks, copy=False)


def _checks(population: Population, output: Output) -> list[exp.Expr]:
    reached = _enough(population.count(), output, zero=output.zero_cells == "show")
    if population.condition is None or not output.complement:
        return [reached]
    # The units that own a row which is left out: their other rows do not hide it.
    known = exp.Coalesce(this=exp.paren(population.condition.copy()), expressions=[exp.false()])
    left_out = Population(unit=population.unit, condition=exp.Not(this=known))
    return [reached, _enough(left_out.count(), output, zero=True)]


def _enough(count: exp.Expr, output: Output, *, zero: bool) -> exp.Expr:
    least = exp.GTE(this=count, expression=exp.Literal.number(output.min_units))
    if not zero:
        return least
    none = exp.EQ(this=count.copy(), expression=exp.Literal.number(0))
    return exp.paren(exp.or_(least, none, copy=False))


def _within_bounds(aggregates: Sequence[exp.Expr], scope: Scope) -> list[exp.Expr]:
    """Values are as declared, where a product counts on it."""
    found = {}
    for call in calls_in(aggregates):
        for argument in arguments(call):
            for column in leans_on_bounds(argument, scope):
                low, high = map(exp.Literal.number, scope.column(column).bounds or ())
                kept = exp.Between(this=column.copy(), low=low, high=high)
                found[column] = exp.Coalesce(
                    this=exp.LogicalAnd(this=kept), expressions=[exp.true()]
                )
    return list(found.values())


def _freedom(
    populations: Sequence[Population], aggregates: Sequence[exp.Expr], output: Output
) -> list[exp.Expr]:
    """ACRO's safe_dof_threshold, counted in units."""
    found: list[exp.Expr] = []
    for call in calls_in(aggregates):
        named = aggregate(call)
        spent = PARAMETERS.get(named[1], 0) if named is not None else 0
        if not spent:
            continue
        for unit in {id(one.unit): one.unit for one in populations}.values():
            count = Population(unit=unit, condition=contributes(call)).count()
            least = exp.Literal.number(output.min_dof + spent)
            found.append(exp.GTE(this=count, expression=least))
    return found


def _levels(
    populations: Sequence[Population],
    keys: Sequence[exp.Expr],
    scope: Scope,
    output: Output,
) -> list[exp.Expr]:
    """No grouping by something nearly unique: the groups, and a column's own distinct values."""
    if not keys:
        return []
    found: list[exp.Expr] = []
    groups = _over(exp.Count(this=exp.Star(), big_int=True))
    if output.group_levels:
        limit = exp.Literal.number(output.group_levels)
        found.append(exp.LTE(this=groups, expression=limit))
        for population in populations:
            if population.condition is None:
                people = _over(exp.Sum(this=population.count()))
                triple = exp.Mul(this=groups.copy(), expression=exp.Literal.number(LEVELS_SHARE))
                found.append(exp.LTE(this=triple, expression=people))
    for key in keys:
        for column in key.find_all(exp.Column):
            most = scope.column(column).max_distinct
            if most is not None:
                distinct = exp.Count(this=exp.Distinct(expressions=[key.copy()]), big_int=True)
                limit = exp.Literal.number(most)
                found.append(exp.LTE(this=_over(distinct), expression=limit))
    return found


def _over(call: exp.Expr) -> exp.Window:
    return exp.Window(this=call, over="OVER")
