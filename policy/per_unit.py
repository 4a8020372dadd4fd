"""Rules on what each privacy unit adds to a group, where one aggregation cannot say it.

Rule to keep: a statement is grouped a second time, by its keys *and* the unit, and its guard is
narrowed by what the rules make of those rows. Joins, conditions and grouping sets stay the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlglot import exp

from podsql.policy.populations import Population, row_of
from podsql.policy.scope import Source

GROUPING_ID: Final = "grouping_id"
UNIT: Final = "u"
"""The unit, in the rows that ``check`` is computed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRule:
    """``values`` are aggregated per unit; ``check`` makes of their columns a condition on the group."""

    values: tuple[exp.Expr, ...]
    check: Callable[[Sequence[str]], str]


def with_unit_rules(
    select: exp.Select,
    keys: Sequence[exp.Expr],
    rules: Sequence[tuple[Population, Sequence[UnitRule]]],
    protected: tuple[Source, ...],
    guard: str,
) -> exp.Select:
    """``select`` (whose outputs are key columns first) with its column ``guard`` narrowed."""
    checks = []
    for number, (population, listed) in enumerate(rules):
        unit = population.unit if population.unit is not None else row_of(protected)
        checks.append((f"checked{number}", _per_group(select, keys, listed, unit)))
    names = [projection.alias for projection in select.expressions]
    body = select.copy()
    body.set("order", None)
    outer = exp.Select(
        expressions=[
            exp.alias_(
                _narrowed(guard, len(checks)) if name == guard else _of("figures", name),
                name,
                quoted=True,
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
    select: exp.Select, keys: Sequence[exp.Expr], rules: Sequence[UnitRule], unit: exp.Expr
) -> exp.Select:
    """One row a group: its keys and whether every rule holds."""
    named: list[exp.Expr] = []
    checks = []
    for rule in rules:
        columns = [f"s{len(named) + place}" for place in range(len(rule.values))]
        pairs = zip(rule.values, columns, strict=True)
        named += [exp.alias_(value, name) for value, name in pairs]  # alias_ copies
        checks.append(_condition(rule.check(columns)).copy())
    named.append(exp.alias_(unit, UNIT))
    # Keys as the figures have them: cast to what travels.
    named += [
        exp.alias_(projection.this, f"k{place}")
        for place, projection in enumerate(select.expressions[: len(keys)])
    ]
    sets = _sets(select)
    if sets is None:
        grouped = select.args["group"].expressions if keys else []
        group = exp.Group(expressions=[*(key.copy() for key in grouped), unit.copy()])
    else:
        level = next(one for one in select.expressions if one.alias == GROUPING_ID)
        named.append(exp.alias_(level.this, GROUPING_ID))
        with_unit = [
            exp.Tuple(expressions=[*(key.copy() for key in one.expressions), unit.copy()])
            for one in sets
        ]
        group = exp.Group(grouping_sets=[exp.GroupingSets(expressions=with_unit)])
    inner = _bare(select)
    inner.set("expressions", named)
    inner.set("group", group)
    columns_of_group: list[exp.Expr] = [exp.column(f"k{place}") for place in range(len(keys))]
    if sets is not None:
        columns_of_group.append(exp.column(GROUPING_ID))
    fair = exp.alias_(exp.and_(*checks, copy=False), "fair", copy=False)
    outer = exp.Select(expressions=[*columns_of_group, fair]).from_(
        exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("per_unit")))
    )
    if columns_of_group:
        outer.set("group", exp.Group(expressions=[column.copy() for column in columns_of_group]))
    return outer


@lru_cache(maxsize=1024)
def _condition(text: str) -> exp.Paren:
    """Checks of the same rules are the same text in every statement."""
    return exp.paren(exp.maybe_parse(text, dialect="duckdb"), copy=False)


def _bare(select: exp.Select) -> exp.Select:
    """A copy without outputs, groups and order, which are the most of it."""
    left_out = {name: select.args.get(name) for name in ("expressions", "group", "order")}
    for name in left_out:
        select.args.pop(name, None)
    try:
        return select.copy()
    finally:
        select.args.update({name: value for name, value in left_out.items() if value is not None})


def _sets(select: exp.Select) -> list[exp.Expr] | None:
    group = select.args.get("group")
    found = None if group is None else group.args.get("grouping_sets")
    return list(found[0].expressions) if found else None


def _narrowed(guard: str, count: int) -> exp.Expr:
    terms = [_of("figures", guard), *(_of(f"checked{number}", "fair") for number in range(count))]
    return exp.and_(*terms, copy=False)


def _of(table: str, name: str) -> exp.Column:
    return exp.column(name, table=table, quoted=True)
