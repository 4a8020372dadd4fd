"""Who stands behind each figure of a group: pairs of a privacy unit and a condition on rows.

Rule to keep: count privacy units, never rows, per group *and* per aggregate; joins and copies then
add nothing. Every disclosure rule is stated over these populations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlglot import exp

from podsql.policy.denial import Denial
from podsql.policy.functions import aggregate
from podsql.policy.joins import Pair
from podsql.policy.roles import arguments
from podsql.policy.scope import Scope, Source

ONCE: Final = "_once"
"""A derived table's hidden column: the protected rows behind its own, each with the keys of that."""

Added = Literal["rows", "units"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """``unit`` None: the row itself. ``condition`` None: every row of the group."""

    unit: exp.Expr | None
    condition: exp.Expr | None
    adds: frozenset[Added] = frozenset()
    """What the figures about it add up; nothing, where there is none."""

    def count(self) -> exp.Expr:
        """How many units it has."""
        counted: exp.Expr = (
            exp.Count(this=exp.Star(), big_int=True)
            if self.unit is None
            else exp.Count(this=exp.Distinct(expressions=[self.unit.copy()]), big_int=True)
        )
        return filtered(counted, self.condition)


def row_of(protected: tuple[Source, ...]) -> exp.Expr:
    """Without a privacy unit each row is one."""
    (source,) = protected
    if not source.rights.table.numbered:
        raise Denial("ENTITY_COUNT")
    return exp.column("rowid", table=source.use.alias)


def with_public(scope: Scope) -> bool:
    """Whether protected rows are joined to public ones."""
    public = {source.rights.public for source in scope.sources if not source.hidden}
    return len(public) > 1


def rows_once(scope: Scope) -> exp.Expr:
    """Of a group: whether each protected row is in it once."""
    different = exp.Count(this=exp.Distinct(expressions=[protected_row(scope)]), big_int=True)
    return exp.EQ(this=exp.Count(this=exp.Star(), big_int=True), expression=different)


def rows_within(inner: Scope, keys: Sequence[exp.Expr]) -> exp.Expr:
    """What a derived table with public ones in it has in its column ``ONCE``."""
    key = ", ".join(key.sql("duckdb") for key in keys)
    row = protected_row(inner).sql("duckdb")
    listed: exp.Expr = exp.maybe_parse(f"list({{'k': hash({key}), 'r': {row}}})", dialect="duckdb")
    return listed


def protected_row(scope: Scope) -> exp.Expr:
    """What tells the rows of protected tables, joined, from others: public columns do not."""
    marks: list[exp.Expr] = []
    for source in scope.sources:
        if source.hidden or source.rights.public:
            continue
        table, alias = source.rights.table, source.use.alias
        if table.numbered and "rowid" not in {column.name.lower() for column in table.columns}:
            marks.append(exp.column("rowid", table=alias))
        else:
            marks += [exp.column(one.name, table=alias, quoted=True) for one in table.columns]
    return exp.Anonymous(this="hash", expressions=marks)


def populations(
    scope: Scope,
    aggregates: Iterable[exp.Expr],
    protected: tuple[Source, ...],
    pairs: tuple[Pair, ...],
) -> tuple[Population, ...]:
    """The whole group first, then the contributors of each aggregate; per unit."""
    found = units(scope, protected, pairs)
    conditions: dict[str, exp.Expr | None] = {"": None}
    adds: dict[str, set[Added]] = {"": set()}
    for call in calls_in(aggregates):
        condition = contributes(call)
        key = "" if condition is None else condition.sql(dialect="duckdb")
        conditions.setdefault(key, condition)
        only_units = len(found) == 1 and counts_units(call, scope)
        adds.setdefault(key, set()).add("units" if only_units else "rows")
    return tuple(
        Population(unit=unit, condition=condition, adds=frozenset(adds[key]))
        for unit in found
        for key, condition in conditions.items()
    )


def counts_units(call: exp.Expr, scope: Scope) -> bool:
    """Whether ``call`` is a count of the distinct values of a unit's key."""
    columns = list(call.find_all(exp.Column))
    distinct = call.find(exp.Distinct) is not None
    return distinct and len(columns) == 1 and scope.column(columns[0]).is_key


def calls_in(trees: Iterable[exp.Expr]) -> list[exp.Expr]:
    """Every aggregate call of ``trees``."""
    return [node for tree in trees for node in tree.walk() if aggregate(node) is not None]


def contributes(call: exp.Expr) -> exp.Expr | None:
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


def filtered(call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
    """``call`` over the rows of ``condition`` only."""
    if condition is None:
        return call
    return exp.Filter(this=call, expression=exp.Where(this=condition.copy()))


def units(
    scope: Scope, protected: tuple[Source, ...], pairs: tuple[Pair, ...]
) -> list[exp.Expr | None]:
    """One expression per privacy unit to count; None stands for the row itself."""
    visible = [source for source in protected if not source.hidden]
    # What a hidden side gives away is counted only if its units can be seen.
    exact = [pair for pair in pairs if pair.tells_apart(scope)]
    seen = [_seen(source, visible, exact) for source in protected if source.hidden]
    if not visible:
        raise Denial("ENTITY_COUNT")
    if len(scope.sources) == 1 and visible[0].rights.unit is None:
        return [None]
    same = same_units(scope, visible, pairs)
    own: list[exp.Expr | None] = [_unit(one) for one in visible if one.use.alias not in same]
    return [*own, *dict.fromkeys(one for one in seen if one is not None)]


def _seen(source: Source, visible: list[Source], pairs: list[Pair]) -> exp.Expr | None:
    """The visible column that equals the unit of a semi or anti joined table; None: a unit itself.

    Any other column is as good as a unit only if, like one, it meets no value and forms no groups.
    """
    here = (source.use.alias, source.rights.unit)
    own = {pair.columns for pair in pairs if pair.on == source.use.alias}
    met = [next(iter(one - {here})) for one in own if here in one]
    units = {(other.use.alias, other.rights.unit): other for other in visible}
    if any(one in units for one in met):
        return None
    for alias, name in sorted(met):
        column = exp.column(name, table=alias, quoted=True)
        other = next((one for one in visible if one.use.alias == alias), None)
        if other is not None and not ({"filter", "dimension"} & _roles(column, other)):
            return column
    raise Denial("ENTITY_COUNT")


def _roles(column: exp.Column, source: Source) -> frozenset[str]:
    found = source.rights.columns[column.name.lower()].roles
    return frozenset({"filter"}) if found is None else found


def same_units(scope: Scope, visible: list[Source], pairs: tuple[Pair, ...]) -> set[str]:
    """Aliases whose unit equals that of an earlier source by the join, so counting one is enough."""
    if any(source.use.kind in ("right", "full") for source in scope.sources):
        return set()
    joined = {pair.columns for pair in pairs if pair.holds(scope)}
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
