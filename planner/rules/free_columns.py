"""Whose columns a query's names are: its own sources', or those of a query around it.

The look-up is SQL's: the innermost query that has a name owns it. Rule to keep: a name whose owner
is in doubt (a source of unknown columns) is nobody's, and no rule that moves names is applied.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from podsql.planner.catalog import Catalog
from podsql.planner.rules.bind_tables import find_table
from podsql.planner.rules.find_queries import (
    aliases_of,
    arms_of,
    sources_of,
    star_of,
    subqueries_of,
)
from podsql.planner.scope import POD_COLUMN
from podsql.planner.trees import is_query


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Lower-case column names of each source, by lower-case alias, in the order of FROM."""

    by_alias: Mapping[str, tuple[str, ...]]
    hidden: frozenset[str] = frozenset()
    """Right sides of semi and anti joins: a bare name never means them."""

    def owner(self, node: exp.Column) -> str | None:
        """The alias of the source that ``node`` names; None: none of these, or more than one."""
        name = node.name.lower()
        if node.table:
            alias = node.table.lower()
            return alias if alias in self.by_alias else None
        owners = self.holders(name)
        return owners[0] if len(owners) == 1 else None

    def of_star(self, item: exp.Expression) -> list[tuple[str, str]]:
        """Alias and name of the columns that ``*`` or ``t.*`` stands for."""
        table = item.table.lower() if isinstance(item, exp.Column) else ""
        return [
            (alias, name)
            for alias, names in self.by_alias.items()
            if table == alias or (not table and alias not in self.hidden)
            for name in names
            if name != POD_COLUMN
        ]

    def holders(self, name: str) -> list[str]:
        """The visible sources that have a column of that name."""
        return [
            alias
            for alias, names in self.by_alias.items()
            if name in names and alias not in self.hidden
        ]


def names_of(select: exp.Select, catalog: Catalog) -> Names | None:
    """The names that the sources of ``select`` have; None if some cannot be told."""
    found: dict[str, tuple[str, ...]] = {}
    hidden = set()
    for holder in sources_of(select):
        node = holder.this
        alias = node.alias_or_name.lower()
        names = _source_names(node, catalog)
        if names is None or not alias or alias in found:
            return None
        found[alias] = names
        if isinstance(holder, exp.Join) and holder.kind.lower() in ("semi", "anti"):
            hidden.add(alias)
    return Names(by_alias=found, hidden=frozenset(hidden))


def output_names(query: exp.Expression, catalog: Catalog) -> tuple[str, ...] | None:
    """Lower-case names of a query's outputs; None if one has none of its own."""
    if isinstance(query, exp.SetOperation | exp.Subquery):
        return output_names(query.this, catalog)
    if not isinstance(query, exp.Select):
        return None
    found: list[str] = []
    for item in query.expressions:
        star = star_of(item)
        if star is not None:
            within = names_of(query, catalog)
            if within is None or any(star.args.values()) or merges_columns(query):
                return None
            found += [name for _, name in within.of_star(item)]
        elif isinstance(item, exp.Alias | exp.Column):
            found.append(item.alias_or_name.lower())
        else:
            return None
    return tuple(found)


def free_columns(query: exp.Expression, catalog: Catalog) -> list[exp.Column] | None:
    """The columns that ``query`` takes from queries around it; None if that cannot be told."""
    found: list[exp.Column] = []
    for arm in arms_of(query):
        names = names_of(arm, catalog)
        if names is None:
            return None
        aliases = aliases_of(arm)
        merged = _merged_names(arm)
        candidates = list(own_columns(arm))
        for inner in (*subqueries_of(arm), *_derived(arm)):
            free = free_columns(inner, catalog)
            if free is None:
                return None
            candidates += free
        for node in candidates:
            known = node.name.lower() in aliases | merged and not node.table
            ambiguous = not node.table and len(names.holders(node.name.lower())) > 1
            if not known and not ambiguous and names.owner(node) is None:
                found.append(node)
    return found


def own_columns(select: exp.Select) -> Iterator[exp.Column]:
    """The columns in expressions of ``select`` itself, not in those of queries within."""
    pending: list[exp.Expression] = list(select.iter_expressions())
    while pending:
        node = pending.pop()
        if is_query(node):
            continue
        if isinstance(node, exp.Column):
            if not isinstance(node.this, exp.Star):
                yield node
        else:
            pending.extend(node.iter_expressions())


def _derived(select: exp.Select) -> Iterator[exp.Expression]:
    for holder in sources_of(select):
        if isinstance(holder.this, exp.Subquery):
            yield holder.this.this


def _merged_names(select: exp.Select) -> set[str]:
    return {
        node.name.lower()
        for join in select.args.get("joins") or ()
        for node in join.args.get("using") or ()
    }


def merges_columns(select: exp.Select) -> bool:
    """Whether a star stands for one column where two sources have it."""
    return any(
        join.args.get("using") or join.method.lower() == "natural"
        for join in select.args.get("joins") or ()
    )


def _source_names(node: exp.Expression, catalog: Catalog) -> tuple[str, ...] | None:
    alias = node.args.get("alias")
    given = [one.name.lower() for one in alias.args.get("columns") or ()] if alias else []
    if isinstance(node, exp.Subquery):
        found = output_names(node.this, catalog)
    elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        table, _ = find_table(node, catalog)
        found = tuple(c.name.lower() for c in table.columns if c.name.lower() != POD_COLUMN)
        if table.partitioned:
            found = (*found, POD_COLUMN)
    else:
        return None
    return None if found is None else (*given, *found[len(given) :])
