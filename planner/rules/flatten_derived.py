"""Write a derived table that only selects and filters into the query around it.

``FROM (SELECT a, b * 2 AS c FROM t WHERE p) d`` becomes ``FROM t AS "d.t" WHERE p`` with ``d.c``
written as ``b * 2``, so that the aggregates around it can be run by the pods. Rule to keep: only
where every name's owner is known, and no outer join could tell the difference.
"""

from typing import Final

from sqlglot import exp

from podsql.planner.catalog import Catalog
from podsql.planner.rules.bind_tables import kind_of
from podsql.planner.rules.find_aggregates import aggregates_in, has_window
from podsql.planner.rules.find_queries import aliases_of, sources_of, star_of, subqueries_of
from podsql.planner.rules.free_columns import (
    Names,
    free_columns,
    merges_columns,
    names_of,
    output_names,
    own_columns,
)
from podsql.planner.rules.prove_pod_local import conjuncts
from podsql.planner.scope import column as named

_PARTS: Final = frozenset({"expressions", "from_", "joins", "where"})


def flatten_derived(select: exp.Select, catalog: Catalog) -> None:
    """Rewrite ``select`` in place, as often as a derived table can be written into it."""
    while any(_flatten(select, holder, catalog) for holder in sources_of(select)):
        pass


def _flatten(select: exp.Select, holder: exp.Expression, catalog: Catalog) -> bool:
    node = holder.this
    if not isinstance(node, exp.Subquery) or not isinstance(node.this, exp.Select):
        return False
    inner = node.this
    outer, own = names_of(select, catalog), names_of(inner, catalog)
    outputs = output_names(inner, catalog)
    if outer is None or own is None or outputs is None or len(set(outputs)) < len(outputs):
        return False
    if not _is_plain(inner) or not _fits(select, holder, inner) or merges_columns(select):
        return False
    if merges_columns(inner) or free_columns(inner, catalog) != []:
        return False
    alias = node.alias_or_name.lower()
    names = outer.by_alias[alias]
    if not _expand_stars(inner, own) or not _expand_stars(select, outer):
        return False
    items = [item.unalias() for item in inner.expressions]
    if len(items) != len(names):
        return False
    references = _references(select, alias, outer, catalog)
    values = dict(zip(names, items, strict=True))
    if references is None or any(_is_place(one, values, select) for one in references):
        return False
    fresh = {name for names in own.by_alias.values() for name in names}
    if not _settle(select, fresh, alias, outer, catalog):
        return False
    renamed = {name: f"{alias}.{name}" for name in own.by_alias}
    if set(renamed.values()) & outer.by_alias.keys():
        return False
    _rename(inner, own, renamed, catalog)
    for column in references:
        _substitute(column, values[column.name.lower()], select)
    _move(select, holder, inner)
    return True


def _is_plain(inner: exp.Select) -> bool:
    given = [name for name, value in inner.args.items() if value and name not in _PARTS]
    return not given and not any(
        any(aggregates_in(item)) or has_window(item) or item.find(exp.Query) is not None
        for item in inner.expressions
    )


def _fits(select: exp.Select, holder: exp.Expression, inner: exp.Select) -> bool:
    """Whether the sources and conditions of ``inner`` may stand where ``holder`` does."""
    joins = list(select.args.get("joins") or ())
    place = joins.index(holder) if holder in joins else -1
    if any(kind_of(join) in ("right", "full") for join in joins[place + 1 :]):
        return False
    if any(not isinstance(one.this, exp.Table | exp.Subquery) for one in sources_of(inner)):
        return False
    if not sources_of(inner):
        return False
    if not isinstance(holder, exp.Join):
        return True
    kind = kind_of(holder)
    if kind in ("inner", "cross"):
        return all(kind_of(join) in ("inner", "cross") for join in inner.args.get("joins") or ())
    single = not inner.args.get("joins") and not subqueries_of(inner)
    plain = all(isinstance(item.unalias(), exp.Column) for item in inner.expressions)
    return single and (kind in ("semi", "anti") or (kind == "left" and plain))


def _references(
    select: exp.Select, alias: str, outer: Names, catalog: Catalog
) -> list[exp.Column] | None:
    """The columns of ``select`` (and of queries within) that mean the source ``alias``."""
    candidates = list(own_columns(select))
    for query in subqueries_of(select):
        free = free_columns(query, catalog)
        if free is None:
            return None
        candidates += free
    for holder in sources_of(select):
        if isinstance(holder.this, exp.Subquery):
            free = free_columns(holder.this.this, catalog)
            if free != []:
                return None
    found = []
    for column in candidates:
        if outer.owner(column) == alias and not _names_an_item(column, select):
            if column.name.lower() not in outer.by_alias[alias]:
                return None
            found.append(column)
    return found


def _settle(
    select: exp.Select, fresh: set[str], alias: str, outer: Names, catalog: Catalog
) -> bool:
    """Name the owners of bare names that the sources of ``alias`` have too; False if one cannot be.

    ``fresh``: the names of these sources, which are visible in ``select`` afterwards.
    """
    free = [free_columns(query, catalog) or [] for query in subqueries_of(select)]
    inside = {id(column) for columns in free for column in columns}
    within = {
        node.alias_or_name.lower()
        for query in subqueries_of(select)
        for node in query.find_all(exp.Table, exp.Subquery)
    }
    aliases = aliases_of(select)
    owners = []
    for column in (*own_columns(select), *(one for columns in free for one in columns)):
        name, owner = column.name.lower(), outer.owner(column)
        if column.table or name not in fresh or owner == alias or _names_an_item(column, select):
            continue
        clause = column.find_ancestor(exp.Having, exp.Qualify, exp.Query)
        by_alias = isinstance(clause, exp.Having | exp.Qualify) and name in aliases
        if owner is None or by_alias or (id(column) in inside and owner in within):
            return False
        owners.append((column, owner))
    for column, owner in owners:
        column.set("table", exp.to_identifier(owner, quoted=True))
    return True


def _is_place(column: exp.Column, values: dict[str, exp.Expression], select: exp.Select) -> bool:
    """Whether the value would be read otherwise there: a number in GROUP BY is a position, and a
    name may mean the item of that alias."""
    clause = column.find_ancestor(exp.Group, exp.Order, exp.Having, exp.Qualify, exp.Query)
    if not isinstance(clause, exp.Group | exp.Order | exp.Having | exp.Qualify):
        return False
    if values[column.name.lower()].find(exp.Column) is None:
        return True
    named = [
        item.this
        for item in select.expressions
        if isinstance(item, exp.Alias) and item.alias.lower() == column.name.lower()
    ]
    return not column.table and any(
        not isinstance(one, exp.Column) or one.name.lower() != column.name.lower() for one in named
    )


def _names_an_item(column: exp.Column, select: exp.Select) -> bool:
    """A bare name that is a whole term of ORDER BY means the item of that alias first."""
    order = column.parent.parent if isinstance(column.parent, exp.Ordered) else None
    if column.table or not isinstance(order, exp.Order) or order.parent is not select:
        return False
    aliases = aliases_of(select)
    return column.name.lower() in aliases


def _expand_stars(select: exp.Select, outer: Names) -> bool:
    """Write the stars of the select list out; False if one cannot be."""
    items: list[exp.Expression] = []
    for item in select.expressions:
        star = star_of(item)
        if star is None:
            items.append(item)
            continue
        if any(star.args.values()):
            return False
        items += [named(alias, name) for alias, name in outer.of_star(item)]
    select.set("expressions", items)
    return True


def _rename(inner: exp.Select, own: Names, renamed: dict[str, str], catalog: Catalog) -> None:
    """Give the sources of ``inner`` aliases that no other query has."""
    columns = list(own_columns(inner))
    for query in subqueries_of(inner):
        columns += free_columns(query, catalog) or []
    for column in columns:
        owner = own.owner(column)
        if owner is not None:
            column.set("table", exp.to_identifier(renamed[owner], quoted=True))
    for holder in sources_of(inner):
        node = holder.this
        new = exp.to_identifier(renamed[node.alias_or_name.lower()], quoted=True)
        given = node.args.get("alias")
        columns_given = given.args.get("columns") if given is not None else None
        node.set("alias", exp.TableAlias(this=new, columns=columns_given))


def _substitute(column: exp.Column, value: exp.Expression, select: exp.Select) -> None:
    copy: exp.Expr = value.copy()
    if not isinstance(copy, exp.Column | exp.Literal | exp.Func | exp.Cast | exp.Paren):
        copy = exp.paren(copy, copy=False)
    if column.parent is select and column.arg_key == "expressions":
        copy = exp.alias_(copy, column.name, quoted=True)
    column.replace(copy)


def _move(select: exp.Select, holder: exp.Expression, inner: exp.Select) -> None:
    """Put the sources and conditions of ``inner`` in the place of ``holder``."""
    first, *others = sources_of(inner)
    joins = list(select.args.get("joins") or ())
    where = list(conjuncts(inner.args["where"].this)) if inner.args.get("where") else []
    if isinstance(holder, exp.Join):
        place = joins.index(holder)
        kind = kind_of(holder)
        on = holder.args.get("on")
        if kind in ("inner", "cross") and others:
            for join in others:
                where += list(conjuncts(join.args["on"])) if join.args.get("on") else []
                join.set("on", None)
                join.set("kind", "CROSS")
            where += list(conjuncts(on)) if on is not None else []
            holder.set("on", None)
            holder.set("kind", "CROSS")
        elif kind in ("inner", "left", "semi", "anti"):
            holder.set("on", _all([*(list(conjuncts(on)) if on is not None else []), *where]))
            where = []
        holder.set("this", first.this)
        joins[place + 1 : place + 1] = others
    else:
        holder.set("this", first.this)
        joins = [*others, *joins]
    select.set("joins", joins)
    if where:
        known = select.args.get("where")
        terms = ([known.this] if known is not None else []) + where
        select.set("where", exp.Where(this=_all(terms)))


def _all(terms: list[exp.Expression]) -> exp.Condition:
    return exp.and_(*(term.copy() for term in terms), copy=False)
