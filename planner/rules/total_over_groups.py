"""Compare groups with a total of their own rows without asking for it: a window over the groups.

``GROUP BY k HAVING sum(x) > (SELECT sum(x) * 0.1 FROM …)`` over the same rows becomes
``GROUP BY k QUALIFY sum(x) > sum(sum(x)) OVER () * 0.1``. Rule to keep: of public tables only, whose
groups are never withheld, and of aggregates whose groups add up to the bit.
"""

from typing import Final

from sqlglot import exp

from podsql.errors import Error
from podsql.planner.catalog import Catalog
from podsql.planner.rules.bind_derived import table_schema
from podsql.planner.rules.bind_tables import find_table, qualify_table
from podsql.planner.rules.find_aggregates import aggregates_in, call_of, has_window
from podsql.planner.rules.find_queries import aliases_of, queries_in
from podsql.planner.rules.free_columns import Names, merges_columns, names_of
from podsql.planner.rules.release_scalars import is_value
from podsql.planner.syntax import describe
from podsql.planner.wire_types import INTEGERS, decimal_parts

_ROWS: Final = ("from_", "joins", "where")
"""Clauses that say which rows a SELECT is about."""
_AROUND: Final = frozenset(
    {*_ROWS, "expressions", "group", "having", "distinct", "order", "limit", "offset"}
)
_ADDED: Final[dict[str, type[exp.AggFunc]]] = {
    "count": exp.Sum,
    "count_star": exp.Sum,
    "sum": exp.Sum,
    "min": exp.Min,
    "max": exp.Max,
}
"""What makes a total of the groups' values."""


def total_over_groups(select: exp.Select, catalog: Catalog) -> None:
    """Rewrite HAVING of ``select`` in place, if all its subqueries are totals of the same rows."""
    having, group = select.args.get("having"), select.args.get("group")
    if having is None or group is None or not queries_in(having.this):
        return
    if any(value for name, value in select.args.items() if name not in _AROUND):
        return
    if group.find(exp.Rollup, exp.Cube, exp.GroupingSets) is not None:
        return  # a row is in several groups
    names = names_of(select, catalog)
    if (
        names is None
        or merges_columns(select)
        or has_window(select)
        or not _public(select, catalog)
    ):
        return
    condition = having.this.copy()
    holder = exp.paren(condition, copy=False)
    for query in queries_in(condition):
        around = query.parent
        if not isinstance(around, exp.Subquery) or not is_value(around):
            return
        value = _total(select, query, names, catalog)
        if value is None:
            return
        around.replace(exp.paren(value, copy=False))
    if not _qualified(holder, names, aliases_of(select)):
        return
    select.set("having", None)
    select.set("qualify", exp.Qualify(this=holder.this))


def _public(select: exp.Select, catalog: Catalog) -> bool:
    return all(
        isinstance(node.this, exp.Identifier) and not find_table(node, catalog)[0].partitioned
        for node in select.find_all(exp.Table)
    )


def _total(
    select: exp.Select, query: exp.Expression, names: Names, catalog: Catalog
) -> exp.Expression | None:
    """The value of ``query`` as windows over the groups of ``select``; None if it has another."""
    if not isinstance(query, exp.Select):
        return None
    if any(value for name, value in query.args.items() if name not in (*_ROWS, "expressions")):
        return None
    if any((query.args.get(name) or None) != (select.args.get(name) or None) for name in _ROWS):
        return None
    holder = exp.paren(query.expressions[0].unalias().copy(), copy=False)
    calls = [
        node.parent if isinstance(node.parent, exp.Filter) else node
        for node in aggregates_in(holder)
    ]
    if not calls or holder.find(exp.Query, exp.Order) is not None:
        return None
    try:
        kinds = _types(query, calls, catalog)
    except Error:
        return None
    if not _qualified(holder, names, set()):
        return None
    for call, kind in zip(calls, kinds, strict=True):
        found = call_of(call)
        adds = _ADDED.get(found.name)
        exact = kind in INTEGERS or decimal_parts(kind) is not None
        if adds is None or not exact or found.distinct or len(found.arguments) > 1:
            return None
        over = exp.Window(this=adds(this=call.copy()))
        call.replace(exp.cast(over, exp.DataType.build(kind, dialect="duckdb")))
    outside = [one for one in holder.find_all(exp.Column) if one.find_ancestor(exp.Window) is None]
    return None if outside else holder.this


def _types(query: exp.Select, calls: list[exp.Expression], catalog: Catalog) -> tuple[str, ...]:
    """DuckDB's types of aggregates over the rows of ``query``."""
    probe = query.copy()
    probe.set("expressions", [call.copy() for call in calls])
    schemas = {}
    for node in probe.find_all(exp.Table):
        table, _ = qualify_table(node, catalog)
        schemas[table.name] = table_schema(table)
    found = describe(probe.sql(dialect="duckdb", comments=False), schemas)
    return tuple(one.type for one in found)


def _qualified(tree: exp.Expression, names: Names, aliases: set[str]) -> bool:
    """Name the source of every column in place; False if one may mean an alias or nothing."""
    for column in tree.find_all(exp.Column):
        owner = names.owner(column)
        if owner is None or (not column.table and column.name.lower() in aliases):
            return False
        column.set("table", exp.to_identifier(owner, quoted=True))
    return True
