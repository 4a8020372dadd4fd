"""Rewrite an expression of the select list to one over the merged groups.

Rule to keep: after it, nothing is left but group keys, merged values and what is computed of them.
"""

from collections.abc import Callable, Sequence

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import Column
from podsql.planner.rules.find_aggregates import aggregate_name, is_window_function
from podsql.planner.rules.resolve_columns import unwrapped
from podsql.planner.scope import column
from podsql.planner.trees import with_children

MERGED = "merged"
"""The relation of the merged groups: keys ``k0``, ``k1``, … and what each planner names."""

Rewrite = Callable[[exp.Expression], exp.Expression]


def over_groups(
    tree: exp.Expression,
    keys: Sequence[exp.Expression],
    aggregate: Rewrite,
    grouping: Rewrite | None = None,
) -> exp.Expression:
    """``tree`` with keys, aggregates (under their FILTER) and ``grouping()`` replaced."""
    bare = unwrapped(tree)
    if bare in keys:
        return column(MERGED, f"k{list(keys).index(bare)}")
    if grouping is not None and isinstance(tree, exp.Grouping):
        return grouping(tree)
    if is_aggregate(tree):
        return aggregate(tree)
    if isinstance(tree, exp.Column):
        raise error("BINDING", f"column {tree.name!r} is neither grouped nor aggregated")
    return with_children(tree, lambda child: over_groups(child, keys, aggregate, grouping))


def key_columns(
    keys: Sequence[exp.Expression],
    kinds: Sequence[str],
    text: Callable[[exp.Expression], str],
) -> tuple[Column, ...]:
    """A fragment's group keys ``k0``, ``k1``, …"""
    return tuple(
        Column(f"k{place}", text(key), kind, "distinct")
        for place, (key, kind) in enumerate(zip(keys, kinds, strict=True))
    )


def is_aggregate(tree: exp.Expression) -> bool:
    """Whether ``tree`` is one aggregate, perhaps under FILTER."""
    subject = tree.this if isinstance(tree, exp.Filter) else tree
    return aggregate_name(subject) is not None and not is_window_function(subject)
