"""A derived table that every pod can make from its own rows: grouped by a key that is local.

Its rows are then those of one pooled database, pod by pod, and it may stand in a fragment where a
table stands. Of public tables alone, any groups are. Rule to keep: proof by a declared local key or
by tables that are whole at the pod, else it is planned as a stage of its own.
"""

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog, CatalogColumn, CatalogTable
from podsql.planner.fragment import Field
from podsql.planner.rules.bind_tables import bind_tables
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.find_aggregates import has_window
from podsql.planner.rules.prove_pod_local import prove_pod_local
from podsql.planner.rules.resolve_columns import expand_stars
from podsql.planner.rules.resolve_query import resolve_query
from podsql.planner.scope import POD_COLUMN, Query, Scope, Source
from podsql.planner.syntax import describe

_STRICTEST_FIRST: Final = ("dp", "sdc_merged", "sdc_local", "rows")
_PARTS: Final = frozenset({"expressions", "from_", "joins", "where", "group"})


def bind_derived(node: exp.Subquery, catalog: Catalog) -> Source:
    """Resolve the local derived table ``node`` in place."""
    if not isinstance(node.this, exp.Select) or not _is_plain(node.this):
        raise _not_local(node.alias_or_name)
    query = _resolved(node.this, catalog)
    alias = node.args.get("alias") or exp.TableAlias()
    name = alias.name or "unnamed_subquery"
    owner = _owner(query)
    if owner is None and not _is_public(query):
        raise _not_local(name)
    _refuse_drift(query)
    prove_pod_local(query.source, query.scope)
    text = query.source.copy()
    given = [column.name for column in alias.args.get("columns") or ()]
    fields = _named(
        describe(node.this.sql(dialect="duckdb", comments=False), schemas(query.scope)), given
    )
    text.set(
        "expressions",
        [
            exp.Alias(this=item.tree.copy(), alias=exp.to_identifier(field.name, quoted=True))
            for item, field in zip(query.items, fields, strict=True)
        ],
    )
    text.set("group", exp.Group(expressions=[key.copy() for key in query.keys]))
    node.set("this", _apart(text, name))
    node.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    if owner is None:
        return Source(alias=name, table=_public_table(query, fields), inner=query.scope)
    pods = choose_pods(query.source, query.scope, catalog, None)
    base, keys = owner.table, _local_keys(query, owner)
    unit, local = None, {}
    for item, field in zip(query.items, fields, strict=True):
        named = isinstance(item.tree, exp.Column) and item.tree.table == owner.alias
        key = item.tree.name.lower() if named else ""
        if key in keys:
            local[field.name.lower()] = base.local_keys[key]
            unit = field.name if key == (base.privacy_unit or "").lower() else unit
    tables = [source.table for source in query.scope.sources if source.table.partitioned]
    table = CatalogTable(
        name=base.name,
        kind=base.kind,
        columns=_columns(fields),
        pods=pods,
        local_keys=local,
        privacy_unit=unit,
        releases=tuple(_release(tables, pod) for pod in pods),
        disclosures=frozenset.intersection(*(table.disclosures for table in tables)),
    )
    return Source(alias=name, table=table, inner=query.scope)


def require_apart(scope: Scope) -> None:
    """NOT_LOCAL where groups of public tables would meet rows that each pod has of its own.

    Two pods may add doubles in another order, so that one group would have two values.
    """
    if any(source.table.partitioned for source in scope.sources):
        for source in scope.sources:
            if source.inner is not None and not source.table.partitioned:
                raise _not_local(source.alias)


def _is_public(query: Query) -> bool:
    """Whether it is groups of public tables, by columns that it selects."""
    items = [item.tree for item in query.items]
    grouped = query.keys and query.grouping_sets is None
    by_columns = all(isinstance(key, exp.Column) and key in items for key in query.keys)
    partitioned = any(source.table.partitioned for source in query.scope.sources)
    return bool(grouped and by_columns) and not partitioned and not any(map(has_window, items))


def _public_table(query: Query, fields: Sequence[Field]) -> CatalogTable:
    """Groups of public tables, at the pods that have all of them."""
    sources = query.scope.sources
    pods = set.intersection(
        *({one.pod} if one.pod is not None else set(one.table.pods) for one in sources)
    )
    tables = [source.table for source in sources]
    return CatalogTable(
        name=tables[0].name,
        kind=tables[0].kind,
        columns=_columns(fields),
        pods=tuple(sorted(pods)),
        releases=tuple(_release(tables, pod) for pod in sorted(pods)),
        disclosures=frozenset.intersection(*(table.disclosures for table in tables)),
    )


def _columns(fields: Sequence[Field]) -> tuple[CatalogColumn, ...]:
    return tuple(
        CatalogColumn(name=field.name, type=field.type, nullable=True, deviations=())
        for field in fields
    )


def _is_plain(select: exp.Select) -> bool:
    """Whether it only joins, filters and groups: anything more looks at other pods' groups too."""
    return all(name in _PARTS for name, value in select.args.items() if value)


def _not_local(name: str) -> Error:
    return error(
        "NOT_LOCAL",
        f"the subquery {name!r} cannot be made pod by pod" if name else "a subquery is not local",
        hint="group it by a local key of its table, and select that key",
    )


def schemas(scope: Scope) -> dict[str, tuple[Field, ...]]:
    """The tables as the binder sees them: declared types, and ``_pod`` on federated ones."""
    return {table.name: table_schema(table) for table in scope.tables()}


def table_schema(table: CatalogTable) -> tuple[Field, ...]:
    """A table's columns as the binder sees them."""
    fields = [Field(c.name, c.type) for c in table.columns if c.name != POD_COLUMN]
    return (*fields, Field(POD_COLUMN, "VARCHAR")) if table.partitioned else tuple(fields)


def _resolved(select: exp.Select, catalog: Catalog) -> Query:
    def refuse(node: exp.Subquery) -> Source:
        raise error("NOT_SUPPORTED", "a subquery in a subquery of FROM is not supported")

    scope = bind_tables(select, catalog, refuse)
    expand_stars(select, scope)
    return resolve_query(select, scope)


def _owner(query: Query) -> Source | None:
    """The federated table whose local key groups the query, if the whole may stay at the pod."""
    sources = [source for source in query.scope.sources if source.table.partitioned]
    items = [item.tree for item in query.items]
    keys = [key for key in query.keys if isinstance(key, exp.Column) and key in items]
    if not sources or query.grouping_sets is not None or len(keys) < len(query.keys):
        return None
    owner = sources[0]
    if owner.nullable or any(has_window(tree) for tree in items):
        return None
    local = _local_keys(query, owner)
    by_row = all(release == "rows" for one in sources for release in one.table.releases)
    by_unit = (owner.table.privacy_unit or "").lower() in local
    return owner if local and (by_unit or by_row) else None


def _local_keys(query: Query, owner: Source) -> frozenset[str]:
    """Lower-case names of the group keys that are local keys of ``owner``."""
    found = [key for key in query.keys if isinstance(key, exp.Column)]
    names = {key.name.lower() for key in found if key.table == owner.alias}
    return frozenset(names & owner.table.local_keys.keys())


def _release(tables: Sequence[CatalogTable], pod: str) -> str:
    """What a pod lets leave of all ``tables``: the strictest of each."""
    found = [table.releases[table.pods.index(pod)] for table in tables]
    return min(found, key=_STRICTEST_FIRST.index)


def _refuse_drift(query: Query) -> None:
    for source in query.scope.sources:
        for column in source.table.columns:
            if column.deviations:
                raise error(
                    "NOT_SUPPORTED",
                    f"a subquery over {source.table.name!r}, whose columns differ between pods",
                    hint="ask the custodians to declare one schema",
                )


def _named(fields: Sequence[Field], given: Sequence[str]) -> list[Field]:
    names = [*given, *(field.name for field in fields[len(given) :])]
    found = [Field(name, field.type) for name, field in zip(names, fields, strict=True)]
    if len({field.name.lower() for field in found}) < len(found):
        raise error("BINDING", "two columns of a subquery have one name", hint="rename one")
    return found


def _apart(select: exp.Select, outer: str) -> exp.Select:
    """With aliases that no outer one can equal, so that rules never take one for the other."""
    start = select.args["from_"]
    holders = [start, *(select.args.get("joins") or ())]
    renamed = {holder.this.alias: f"{outer}.{holder.this.alias}" for holder in holders}
    for column in select.find_all(exp.Column):
        column.set("table", exp.to_identifier(renamed[column.table], quoted=True))
    for holder in holders:
        new = exp.to_identifier(renamed[holder.this.alias], quoted=True)
        holder.this.set("alias", exp.TableAlias(this=new))
    return select
