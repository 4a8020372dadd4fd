"""Two things to do with a tree that many rules do: rewrite what is below a node, find queries."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlglot import exp

Tree = TypeVar("Tree", bound=exp.Expr)


def with_children(tree: Tree, rewrite: Callable[[Any], exp.Expr]) -> Tree:
    """A copy of ``tree`` in which ``rewrite`` has been put in place of each child."""
    copy = tree.copy()
    for name, value in tree.args.items():
        if isinstance(value, exp.Expr):
            copy.set(name, rewrite(value))
        elif isinstance(value, list):
            copy.set(name, [rewrite(v) if isinstance(v, exp.Expr) else v for v in value])
    return copy


def is_query(node: exp.Expr) -> bool:
    """Whether ``node`` is a query itself, not the brackets around one."""
    return isinstance(node, exp.Query) and not isinstance(node, exp.Subquery)
