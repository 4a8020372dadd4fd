"""The hidden column that says whether a group may leave (release ``sdc_local``).

Rule to keep: count privacy units, never rows, per group *and* per aggregate; joins and copies
then add nothing. A group is kept when every count reaches ``min_units``.
"""

from collections.abc import Iterable
from typing import Final

from sqlglot import exp

from podsql.policy.denial import Denial
from podsql.policy.document import Output
from podsql.policy.functions import aggregate
from podsql.policy.joins import Pair
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope, Source

GUARD: Final = "_ok"
"""Name of the guard column: last, BOOLEAN, removed by the engine."""


def guard_column(
    scope: Scope,
    aggregates: Iterable[exp.Expr],
    protected: tuple[Source, ...],
    pairs: tuple[Pair, ...],
    output: Output,
) -> exp.Expr:
    """A boolean expression over the group."""
    contributions: dict[str, exp.Expr | None] = {"": None}
    for tree in aggregates:
        for node in tree.walk():
            if aggregate(node) is not None:
                condition = _contributes(node)
                key = "" if condition is None else condition.sql(dialect="duckdb")
                contributions.setdefault(key, condition)
    checks = [
        check
        for unit in _units(scope, protected, pairs)
        for condition in contributions.values()
        for check in _checks(unit, condition, output)
    ]
    return exp.and_(*checks, copy=False)


def _contributes(call: exp.Expr) -> exp.Expr | None:
    """Which rows an aggregate is about: those it does not skip. None: all of the group."""
    terms: list[exp.Expr] = []
    if isinstance(call, exp.CountIf):
        terms.append(exp.paren(call.this.copy()))
    else:
        for argument in arguments(call):
            if next(argument.find_all(exp.Column), None) is not None:
                terms.append(
                    exp.Not(this=exp.Is(this=exp.paren(argument.copy()), expression=exp.Null()))
                )
    if isinstance(call.parent, exp.Filter):
        terms.append(exp.paren(call.parent.expression.this.copy()))
    return exp.and_(*terms, copy=False) if terms else None


def _checks(unit: exp.Expr | None, condition: exp.Expr | None, output: Output) -> list[exp.Expr]:
    reached = _enough(_count(unit, condition), output, zero=output.zero_cells == "show")
    if condition is None or not output.complement:
        return [reached]
    left_out = exp.Sub(this=_count(unit, None), expression=_count(unit, condition))
    return [reached, _enough(exp.paren(left_out), output, zero=True)]


def _enough(count: exp.Expr, output: Output, *, zero: bool) -> exp.Expr:
    least = exp.GTE(this=count, expression=exp.Literal.number(output.min_units))
    if not zero:
        return least
    none = exp.EQ(this=count.copy(), expression=exp.Literal.number(0))
    return exp.paren(exp.or_(least, none, copy=False))


def _count(unit: exp.Expr | None, condition: exp.Expr | None) -> exp.Expr:
    counted: exp.Expr = (
        exp.Count(this=exp.Star(), big_int=True)
        if unit is None
        else exp.Count(this=exp.Distinct(expressions=[unit.copy()]), big_int=True)
    )
    if condition is None:
        return counted
    return exp.Filter(this=counted, expression=exp.Where(this=condition.copy()))


def _units(
    scope: Scope, protected: tuple[Source, ...], pairs: tuple[Pair, ...]
) -> list[exp.Expr | None]:
    """One expression per privacy unit to count; None stands for the row itself."""
    visible = [source for source in protected if not source.hidden]
    if not visible:
        # What a hidden side gives away could not be counted.
        raise Denial("ENTITY_COUNT")
    if len(scope.sources) == 1 and visible[0].rights.unit is None:
        return [None]
    same = _same_units(scope, visible, pairs)
    return [_unit(source) for source in visible if source.use.alias not in same]


def _same_units(scope: Scope, visible: list[Source], pairs: tuple[Pair, ...]) -> set[str]:
    """Aliases whose unit equals that of an earlier source by the join, so counting one is enough."""
    if any(source.use.kind in ("right", "full") for source in scope.sources):
        return set()
    joined = {frozenset(pair) for pair in pairs}
    kept: list[Source] = []
    same: set[str] = set()
    for source in visible:
        here = (source.use.alias, source.rights.unit)
        if source.rights.unit is not None and any(
            frozenset({here, (other.use.alias, other.rights.unit)}) in joined for other in kept
        ):
            same.add(source.use.alias)
        else:
            kept.append(source)
    return same


def _unit(source: Source) -> exp.Expr:
    rights = source.rights
    if rights.unit is not None:
        return exp.column(rights.unit, table=source.use.alias, quoted=True)
    named = {column.name.lower() for column in rights.table.columns}
    if not rights.table.numbered or "rowid" in named:
        raise Denial("ENTITY_COUNT")
    return exp.column("rowid", table=source.use.alias)
