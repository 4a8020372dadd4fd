"""Dominance: a sum that one or two units make up nearly alone gives their value away.

p %: withhold when the total less the two largest is under p % of the largest; (n,k): when the n
largest make more than k % (Eurostat; sdcTools Handbook §4.2; ACRO safe_pratio_p, safe_nk_n). Both
are closed under merging of disjoint units, so each pod checks its own. The contributions are sums
per unit, and a negative one makes both rules meaningless, so it withholds the group too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from podsql.policy.document import Output
from podsql.policy.functions import aggregate
from podsql.policy.guard import GUARD
from podsql.policy.populations import Population, calls_in, filtered, row_of
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope, Source

GROUPING_ID: Final = "grouping_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitude:
    """A sum of ``argument`` per unit, over the rows of ``condition``."""

    argument: exp.Expr
    condition: exp.Expr | None


def magnitudes(aggregates: Sequence[exp.Expr], scope: Scope) -> tuple[Magnitude, ...]:
    """What must not be dominated: each aggregated expression with a column tagged ``magnitude``."""
    found: dict[str, Magnitude] = {}
    for call in calls_in(aggregates):
        named = aggregate(call)
        if named is None or named[1] == "count":
            continue
        condition = call.parent.expression.this if isinstance(call.parent, exp.Filter) else None
        for argument in arguments(call):
            tagged = [one for one in argument.find_all(exp.Column) if scope.column(one).magnitude]
            # The column too: a shift would make its largest part look small.
            for part in [argument, *tagged] if tagged else []:
                one = Magnitude(argument=part, condition=condition)
                found.setdefault(repr((part, condition)), one)
    return tuple(found.values())


def with_dominance(
    select: exp.Select,
    keys: Sequence[exp.Expr],
    found: Sequence[Magnitude],
    whole: Sequence[Population],
    protected: tuple[Source, ...],
    output: Output,
) -> exp.Select:
    """``select`` (whose outputs are key columns first) with its guard narrowed by both rules."""
    checks = []
    for number, population in enumerate(whole):
        unit = population.unit if population.unit is not None else row_of(protected)
        checks.append((f"dominance{number}", _per_group(select, keys, found, unit, output)))
    names = [projection.alias for projection in select.expressions]
    body = select.copy()
    body.set("order", None)
    outer = exp.Select(
        expressions=[
            exp.alias_(
                _narrowed(len(checks)) if name == GUARD else _of("figures", name), name, quoted=True
            )
            for name in names
        ]
    ).from_(exp.to_identifier("figures"))
    ctes = [("figures", body), *checks]
    sets = _sets(select)
    for name, _ in checks:
        ties: list[exp.Expr] = [
            exp.NullSafeEQ(this=_of("figures", names[place]), expression=_of(name, f"k{place}"))
            for place in range(len(keys))
        ]
        if sets is not None:
            ties.append(exp.EQ(this=_of("figures", GROUPING_ID), expression=_of(name, GROUPING_ID)))
        outer = outer.join(
            exp.to_identifier(name), on=exp.and_(*ties, copy=False) if ties else exp.true()
        )
    for name, query in ctes:
        outer = outer.with_(name, as_=query, copy=False)
    if keys:
        places = [exp.Ordered(this=exp.Literal.number(place + 1)) for place in range(len(keys))]
        outer.set("order", exp.Order(expressions=places))
    return outer


def _per_group(
    select: exp.Select,
    keys: Sequence[exp.Expr],
    found: Sequence[Magnitude],
    unit: exp.Expr,
    output: Output,
) -> exp.Select:
    """One row a group: its keys and whether no expression is dominated."""
    sums = [
        exp.alias_(filtered(exp.Sum(this=one.argument.copy()), one.condition), f"s{place}")
        for place, one in enumerate(found)
    ]
    # Keys as the figures have them: cast to what travels.
    named = [
        exp.alias_(projection.this.copy(), f"k{place}")
        for place, projection in enumerate(select.expressions[: len(keys)])
    ]
    inner = select.copy()
    inner.set("order", None)
    sets = _sets(select)
    if sets is None:
        grouped = select.args["group"].expressions if keys else []
        group = exp.Group(expressions=[*(key.copy() for key in grouped), unit.copy()])
    else:
        level = next(one for one in select.expressions if one.alias == GROUPING_ID)
        named.append(exp.alias_(level.this.copy(), GROUPING_ID))
        with_unit = [
            exp.Tuple(expressions=[*(key.copy() for key in one.expressions), unit.copy()])
            for one in sets
        ]
        group = exp.Group(grouping_sets=[exp.GroupingSets(expressions=with_unit)])
    inner.set("expressions", [*named, *sums])
    inner.set("group", group)
    check = exp.and_(
        *(_fair(exp.column(f"s{place}"), output) for place in range(len(found))), copy=False
    )
    columns: list[exp.Expr] = [exp.column(f"k{place}") for place in range(len(keys))]
    if sets is not None:
        columns.append(exp.column(GROUPING_ID))
    outer = exp.Select(expressions=[*columns, exp.alias_(check, "fair")]).from_(
        exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("per_unit")))
    )
    if columns:
        outer.set("group", exp.Group(expressions=[column.copy() for column in columns]))
    return outer


def _sets(select: exp.Select) -> list[exp.Expr] | None:
    group = select.args.get("group")
    found = None if group is None else group.args.get("grouping_sets")
    return list(found[0].expressions) if found else None


def _fair(value: exp.Expr, output: Output) -> exp.Expr:
    total = f"sum({value.sql()})"
    terms = [f"coalesce(min({value.sql()}) >= 0, true)"]
    if output.p_percent:
        largest, second = f"max({value.sql()}, 2)[1]", f"coalesce(max({value.sql()}, 2)[2], 0)"
        terms.append(
            f"coalesce({total} - {largest} - {second} >= {output.p_percent} / 100 * {largest}, true)"
        )
    if output.nk is not None:
        n, share = output.nk
        terms.append(
            f"coalesce(list_sum(max({value.sql()}, {n})) <= {share} / 100 * {total}, true)"
        )
    return exp.paren(exp.maybe_parse(" AND ".join(terms), dialect="duckdb"))


def _narrowed(count: int) -> exp.Expr:
    terms = [_of("figures", GUARD), *(_of(f"dominance{number}", "fair") for number in range(count))]
    return exp.and_(*terms, copy=False)


def _of(table: str, name: str) -> exp.Column:
    return exp.column(name, table=table, quoted=True)
