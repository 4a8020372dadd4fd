"""Write each WITH query in the places that name it, so that later rules see derived tables only.

The meaning is the same because nothing the planner accepts is volatile. Rule to keep: names are
looked up as DuckDB does, the nearest WITH first, each query seeing those before it.
"""

from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.rules.find_queries import subqueries_of

MAX_COPIES: Final = 64
"""A query named in the next one twice, and so on, would double without end."""

_Named = tuple[exp.Expression, list[exp.Identifier]]


def inline_ctes(tree: exp.Expression) -> None:
    """Rewrite ``tree`` in place; LIMIT if that would write too much."""
    _inline(tree, {}, [MAX_COPIES])


def _inline(tree: exp.Expression, known: dict[str, _Named], left: list[int]) -> None:
    clause = tree.args.get("with_")
    if clause is not None:
        known = dict(known)
        for one in clause.expressions:
            _inline(one.this, known, left)
            alias = one.args["alias"]
            known[alias.name.lower()] = (one.this, list(alias.args.get("columns") or ()))
        tree.set("with_", None)
    if isinstance(tree, exp.SetOperation):
        _inline(tree.this, known, left)
        _inline(tree.expression, known, left)
    elif isinstance(tree, exp.Subquery):
        _inline(tree.this, known, left)
    elif isinstance(tree, exp.Select):
        start = tree.args.get("from_")
        for holder in ([start] if start is not None else []) + (tree.args.get("joins") or []):
            _write(holder, known, left)
        for query in subqueries_of(tree):
            _inline(query, known, left)


def _write(holder: exp.Expression, known: dict[str, _Named], left: list[int]) -> None:
    node = holder.this
    if isinstance(node, exp.Subquery):
        _inline(node.this, known, left)
        return
    if not isinstance(node, exp.Table) or node.args.get("db") is not None:
        return
    found = known.get(node.name.lower())
    if found is None:
        return
    left[0] -= 1
    if left[0] < 0:
        raise error("LIMIT", f"WITH queries are named more than {MAX_COPIES} times")
    body, columns = found
    alias = node.args.get("alias")
    own = alias.args.get("columns") if alias is not None else None
    holder.set(
        "this",
        exp.Subquery(
            this=body.copy(),
            alias=exp.TableAlias(
                this=exp.to_identifier(node.alias or node.name, quoted=True),
                columns=[column.copy() for column in (own or columns)],
            ),
        ),
    )
