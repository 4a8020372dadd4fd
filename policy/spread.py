"""A figure about many people that says something of few: the others' values are known, or copied.

Rule to keep: what is summed differs from its most frequent value for enough units or for none
(DataSHIELD's binary rule), a value that is counted is held by enough, and copies that a join
makes of a row weigh no unit more than all others.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

from sqlglot import exp

from podsql.policy.functions import Family, aggregate
from podsql.policy.measures import products
from podsql.policy.per_unit import UNIT, UnitRule
from podsql.policy.populations import (
    ONCE,
    Population,
    calls_in,
    contributes,
    filtered,
    rows_once,
    with_public,
)
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope, Source
from podsql.policy.total import attempt

KNOWN = f"{UNIT} IS NOT NULL"
POWERS: Final[dict[Family, int]] = {"var": 2, "skewness": 4, "covar": 2, "corr": 2, "regr": 2}
"""Of the arguments, in the sums that a family is made of: a variance of sums has their product."""


def spread_rules(
    aggregates: Sequence[exp.Expr], scope: Scope, protected: tuple[Source, ...], least: int
) -> tuple[UnitRule, ...]:
    """Of every figure, with a privacy unit."""
    found = [_of_units(*one, least) for one in _summed(aggregates)]
    return (*found, *_copies(aggregates, scope, protected))


def _of_units(part: exp.Expr, condition: exp.Expr | None, weighs: bool, least: int) -> UnitRule:
    def check(columns: Sequence[str]) -> str:
        lowest, highest = columns
        one = f"CASE WHEN {lowest} = {highest} THEN {lowest} END"
        return differ(one, lowest, f" FILTER (WHERE {KNOWN})", least, weighs=weighs)

    ends = [exp.Anonymous(this=end, expressions=[part.copy()]) for end in ("min", "max")]
    return UnitRule(values=tuple(filtered(end, condition) for end in ends), check=check)


def spread_of_rows(aggregates: Sequence[exp.Expr], least: int) -> list[exp.Expr]:
    """The same where each row is a unit: a condition on the group."""
    checks = []
    for part, condition, weighs in _summed(aggregates):
        text = part.sql("duckdb")
        kept = "" if condition is None else f" FILTER (WHERE {condition.sql('duckdb')})"
        checks.append(_parsed(differ(text, text, kept, least, weighs=weighs)))
    return checks


def rare_values(
    populations: Sequence[Population], aggregates: Sequence[exp.Expr], scope: Scope, least: int
) -> list[exp.Expr]:
    """Each value that is counted is held by enough units: of another, few would be the count's bit."""
    checks = {}
    for call in calls_in(aggregates):
        (value, *_) = (*arguments(call), exp.Null())
        if call.find(exp.Distinct) is None or _is_key(value, scope):
            continue
        for unit in {repr(one.unit): one.unit for one in populations}.values():
            text = value.sql("duckdb")
            condition = contributes(call)
            kept = "" if condition is None else f" FILTER (WHERE {condition.sql('duckdb')})"
            listed = f"(list({text}){kept})"
            if unit is not None:
                pair = f"{{'w': {text}, 'u': {unit.sql('duckdb')}}}"
                listed = f"[e['w'] FOR e IN (list(DISTINCT {pair}){kept})]"
            held = f"map_values(list_aggregate({listed}, 'histogram'))"
            check = f"coalesce(list_min({held}) >= {least}, true)"
            checks[check] = _parsed(check)
    return list(checks.values())


def no_copies_within(scope: Scope) -> list[exp.Expr]:
    """No public table in a derived one has copied a row, within a row of that or to several."""
    checks = []
    for source in scope.sources:
        if not source.hidden and source.inner is not None and with_public(source.inner):
            behind = exp.column(ONCE, table=source.use.alias, quoted=True).sql("duckdb")
            # The joins around it may repeat its own rows.
            rows = f"flatten(list(DISTINCT {behind}) FILTER (WHERE {behind} IS NOT NULL))"
            different = f"list_distinct([e['r'] FOR e IN {rows}])"
            checks.append(_parsed(f"coalesce(len({rows}) = len({different}), true)"))
    return checks


def _summed(aggregates: Sequence[exp.Expr]) -> list[tuple[exp.Expr, exp.Expr | None, bool]]:
    """Arguments of figures and the columns in them, the rows each is about, whether it weighs."""
    found = {}
    for call in calls_in(aggregates):
        named = aggregate(call)
        if named is None or named[1] in ("count", "extreme", "predicate"):
            continue
        given, condition = arguments(call), contributes(call)
        columns = {c.sql("duckdb"): c for one in given for c in one.find_all(exp.Column)}
        additive = named[1] in ("sum", "avg") and not any(one.find(exp.Mul) for one in given)
        weighs = len(columns) > 1 and not additive
        multiplied = map(_product, products(given, POWERS.get(named[1], 1)))
        for part in (*given, *columns.values(), *multiplied):
            found[repr((part, condition, weighs))] = (part, condition, weighs)
    return list(found.values())


def _product(factors: Sequence[exp.Expr]) -> exp.Expr:
    """In doubles: a rule never fails on a value."""
    soft: list[exp.Expr] = [exp.cast(attempt(factor), "DOUBLE") for factor in factors]
    return reduce(lambda left, right: exp.Mul(this=left, expression=right), soft)


def differ(one: str, known: str, kept: str, least: int, *, weighs: bool) -> str:
    """Whether none, or at least ``least``, of the units differ from the most frequent value.

    ``one`` is the only value of a unit, NULL if it has several; ``known`` any of them. What weighs
    nothing else may also differ for more than half of a small group. If the ``least``-th smallest
    is below the ``least``-th largest, that many lie on either side of any value; else it is the
    most frequent one, and fewer lie before it in either list. Few are counted value by value.
    """
    low, high = f"(min({one}, {2 * least}){kept})", f"(max({one}, {2 * least}){kept})"
    value, number = f"{low}[{least}]", f"(count({known}){kept})"
    apart = f"list_position({low}, {value}) + list_position({high}, {value}) - 2"
    alone = (
        f"coalesce(CASE WHEN len({low}) < {2 * least}"
        f" THEN len({low}) - list_max(map_values(list_aggregate({low}, 'histogram')))::BIGINT"
        f" WHEN {value} < {high}[{least}] THEN {least} ELSE {apart} END, 0)"
    )
    rest = f"({alone} + {number} - (count({one}){kept}))"
    found = f"{rest} = 0 OR {rest} >= {least}"
    return found if weighs else f"{found} OR 2 * {rest} > {number}"


def _copies(
    aggregates: Sequence[exp.Expr], scope: Scope, protected: tuple[Source, ...]
) -> list[UnitRule]:
    """A public table copies no row; of rows that protected ones copy, no unit has most."""
    rules = []
    if with_public(scope):
        rules.append(
            UnitRule(
                values=(rows_once(scope),),
                check=lambda columns: (
                    f"coalesce(bool_and({columns[0]}) FILTER (WHERE {KNOWN}), true)"
                ),
            )
        )
    if sum(not source.hidden for source in protected) > 1:
        counted = [call for call in calls_in(aggregates) if call.find(exp.Distinct) is None]
        conditions = {repr(one): one for one in map(contributes, counted)}
        rules += [
            UnitRule(
                values=(filtered(exp.Count(this=exp.Star(), big_int=True), condition),),
                check=lambda columns: (
                    f"coalesce(2 * (max({columns[0]}) FILTER (WHERE {KNOWN}))"
                    f" <= sum({columns[0]}) FILTER (WHERE {KNOWN}), true)"
                ),
            )
            for condition in conditions.values()
        ]
    return rules


def _is_key(value: exp.Expr, scope: Scope) -> bool:
    columns = list(value.find_all(exp.Column))
    return len(columns) == 1 and scope.column(columns[0]).is_key


def _parsed(text: str) -> exp.Expr:
    return exp.paren(exp.maybe_parse(text, dialect="duckdb"))
