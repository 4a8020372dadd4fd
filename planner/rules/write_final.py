"""Write the SELECT that the analyst's own DuckDB runs over the merged or gathered relation.

NULLS FIRST/LAST is always written, every output is cast to DuckDB's own answer type, and hidden
columns never show. Rule to keep: the text is a function of the plan alone, so it can be explained.
"""

from collections.abc import Callable, Sequence

from sqlglot import exp

from podsql.planner.scope import Query, Sort

Over = Callable[[exp.Expression], exp.Expression]


def write_final(query: Query, relation: str, over: Over, extra: Sequence[str] = ()) -> str:
    """The final SELECT; ``over`` rewrites a resolved tree to columns of ``relation``.

    ``extra``: further outputs, as SQL over ``relation``.
    """
    outputs = [
        f"CAST({_text(over(item.tree))} AS {kind}) AS {_quoted(name)}"
        for item, name, kind in zip(query.items, query.names, query.types, strict=True)
    ]
    outputs += extra
    text = f"SELECT {'DISTINCT ' if query.distinct else ''}{', '.join(outputs)} FROM {relation}"
    if query.having is not None:
        text += f" WHERE {_text(over(query.having))}"
    if query.qualify is not None:
        text += f" QUALIFY {_text(over(query.qualify))}"
    if query.order:
        text += f" ORDER BY {', '.join(_sort(sort, query, over) for sort in query.order)}"
    if query.limit is not None:
        text += f" LIMIT {query.limit}"
    return f"{text} OFFSET {query.offset}" if query.offset else text


def _sort(sort: Sort, query: Query, over: Over) -> str:
    direction = "DESC" if sort.descending else "ASC"
    nulls = "FIRST" if sort.nulls_first else "LAST"
    place = sort.position
    subject = f"({_text(over(sort.tree))})" if place is None else str(place + 1)
    return f"{subject} {direction} NULLS {nulls}"


def _text(tree: exp.Expression) -> str:
    return tree.sql(dialect="duckdb", comments=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
