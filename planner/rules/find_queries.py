"""Where queries stand in a query: the sources of FROM, and subqueries in expressions."""

from collections.abc import Container, Iterator

from sqlglot import exp

from podsql.errors import error
from podsql.planner.trees import is_query


def sources_of(select: exp.Select) -> list[exp.Expression]:
    """The From and Join nodes that hold the sources of ``select``."""
    start = select.args.get("from_")
    return ([start] if start is not None else []) + list(select.args.get("joins") or ())


def subqueries_of(select: exp.Select) -> list[exp.Expression]:
    """The queries within the expressions of ``select`` (not those in FROM), outermost only."""
    holders = {id(holder.this) for holder in sources_of(select)}
    return queries_in(*select.iter_expressions(), leave=holders)


def queries_in(*trees: exp.Expression, leave: Container[int] = ()) -> list[exp.Expression]:
    """The queries in ``trees``, outermost only; nodes whose id is in ``leave`` are passed over."""
    found: list[exp.Expression] = []
    pending = list(trees)
    while pending:
        node = pending.pop()
        if id(node) in leave:
            continue
        if is_query(node):
            found.append(node)
        else:
            pending.extend(node.iter_expressions())
    return found


def arms_of(query: exp.Expression) -> Iterator[exp.Select]:
    """The SELECTs of a query: one, or the arms of a set operation."""
    if isinstance(query, exp.SetOperation):
        yield from arms_of(query.this)
        yield from arms_of(query.expression)
    elif isinstance(query, exp.Subquery):
        yield from arms_of(query.this)
    elif isinstance(query, exp.Select):
        yield query
    else:
        raise error("NOT_SUPPORTED", "this form of subquery is not supported")


def star_of(item: exp.Expression) -> exp.Star | None:
    """The star that a select item is, alone or after a table's name."""
    star = item.this if isinstance(item, exp.Column) else item
    return star if isinstance(star, exp.Star) else None


def aliases_of(select: exp.Select) -> set[str]:
    """The aliases of the select list, in lower case."""
    return {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
