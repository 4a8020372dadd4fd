"""Resolve a SELECT clause by clause into a Query, in DuckDB's order of look-up."""

from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.rules.expand_groups import expand_groups
from podsql.planner.rules.find_aggregates import aggregates_in
from podsql.planner.rules.find_queries import subqueries_of
from podsql.planner.rules.resolve_columns import Resolver, position_of, unwrapped
from podsql.planner.scope import Item, Query, Scope, Sort

_PARTS: Final = frozenset(
    {
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "qualify",
        "order",
        "limit",
        "offset",
        "distinct",
    }
)
_WORDS: Final = {
    "with_": "WITH",
    "windows": "a named WINDOW",
    "sample": "a sample",
    "kind": "SELECT AS STRUCT",
    "laterals": "LATERAL",
}


def resolve_query(select: exp.Select, scope: Scope) -> Query:
    """Everything of ``select`` over resolved trees; its tables and stars are already bound."""
    for name, value in select.args.items():
        if value and name not in _PARTS:
            raise error(
                "NOT_SUPPORTED",
                f"{_WORDS.get(name, name)} is not supported over the federation",
                hint="write it out in one plain SELECT",
            )
    if subqueries_of(select):
        raise error(
            "NOT_SUPPORTED",
            "a subquery that no pod can run by itself",
            hint="join the table, or run the inner statement first",
        )
    resolver = Resolver(scope)
    items = resolver.items(select)
    source = _source(select, resolver)
    keys, sets = expand_groups(select.args.get("group"), items, resolver)
    having = _condition(select, "having", resolver)
    qualify = _condition(select, "qualify", resolver)
    distinct = select.args.get("distinct")
    if distinct is not None and distinct.args.get("on"):
        raise error("NOT_SUPPORTED", "DISTINCT ON is not supported", hint="use min or max")
    order = _order(select, items, resolver, distinct is not None)
    group = select.args.get("group")
    grouped = (
        group is not None
        or having is not None
        or any(any(aggregates_in(item.tree)) for item in items)
        or any(any(aggregates_in(sort.tree)) for sort in order)
    )
    return Query(
        scope=scope,
        source=source,
        items=items,
        keys=keys,
        grouping_sets=sets,
        grouped=grouped,
        having=having,
        qualify=qualify,
        order=order,
        distinct=distinct is not None,
        limit=_count(select, "limit"),
        offset=_count(select, "offset") or 0,
    )


def _source(select: exp.Select, resolver: Resolver) -> exp.Select:
    """``SELECT NULL FROM … WHERE …`` with every column resolved."""
    source = exp.Select(expressions=[exp.Null()])
    start = select.args.get("from_")
    if start is not None:
        source.set("from_", start.copy())
    joins = []
    for join in select.args.get("joins") or ():
        copy = join.copy()
        if copy.args.get("on") is not None:
            resolver.joining = join.this.alias
            copy.set("on", resolver.tree(copy.args["on"]))
        joins.append(copy)
    resolver.joining = None
    source.set("joins", joins)
    where = select.args.get("where")
    if where is not None:
        source.set("where", exp.Where(this=resolver.tree(where.this)))
    return source


def _condition(select: exp.Select, name: str, resolver: Resolver) -> exp.Expression | None:
    node = select.args.get(name)
    return None if node is None else resolver.tree(node.this, strict=True)


def _order(
    select: exp.Select, items: tuple[Item, ...], resolver: Resolver, distinct: bool
) -> tuple[Sort, ...]:
    clause = select.args.get("order")
    if clause is None:
        return ()
    found = []
    for term in clause.expressions:
        subject = term.this if isinstance(term, exp.Ordered) else term
        nulls = _nulls_first(term)
        descending = bool(isinstance(term, exp.Ordered) and term.args.get("desc"))
        if _is_all(subject):
            places = list(range(len(items)))
        else:
            position = position_of(subject, items)
            places = [] if position is None else [position]
        for place in places:
            found.append(_sort(items[place].tree, descending, nulls, place))
        if not places:
            tree = resolver.bare_alias(subject) or unwrapped(resolver.tree(subject))
            same = [n for n, item in enumerate(items) if unwrapped(item.tree) == unwrapped(tree)]
            if distinct and not same:
                raise error("BINDING", "with DISTINCT, ORDER BY may only name what is selected")
            found.append(_sort(tree, descending, nulls, same[0] if same else None))
    return tuple(found)


def _sort(tree: exp.Expression, descending: bool, nulls: bool, position: int | None) -> Sort:
    return Sort(tree=tree, descending=descending, nulls_first=nulls, position=position)


def _nulls_first(term: exp.Expression) -> bool:
    return bool(isinstance(term, exp.Ordered) and term.args.get("nulls_first"))


def _is_all(subject: exp.Expression) -> bool:
    if isinstance(subject, exp.Column) and not subject.table:
        return subject.name.lower() == "all" and not subject.this.args.get("quoted")
    return isinstance(subject, exp.Var) and subject.name.lower() == "all"


def _count(select: exp.Select, name: str) -> int | None:
    node = select.args.get(name)
    if node is None:
        return None
    value = node.args.get("expression")
    if isinstance(value, exp.Literal) and not value.is_string and str(value.this).isdigit():
        return int(str(value.this))
    raise error("NOT_SUPPORTED", f"{name.upper()} must be a whole number")
