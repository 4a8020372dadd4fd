"""Write a fragment's columns as each pod has them: cast to the declared type, or NULL if missing.

Types that differ are cast for every pod, so one fragment still serves all; only pods that lack a
column the statement reads need a fragment of their own. Rule to keep: what a fragment computes
has the declared types whatever the pod's own are.
"""

from collections.abc import Iterable

from sqlglot import exp

from podsql.planner.scope import POD_COLUMN, Scope, column

Gap = tuple[str, str]
"""Alias and name of a column that some pods lack."""


def group_pods(
    pods: tuple[str, ...], trees: Iterable[exp.Expression], scope: Scope
) -> list[tuple[tuple[str, ...], frozenset[Gap]]]:
    """Pods by the columns they lack; those that lack none come first."""
    lacking: dict[str, set[Gap]] = {pod: set() for pod in pods}
    for tree in trees:
        for found in tree.find_all(exp.Column):
            for pod in _missing(found, scope) & lacking.keys():
                lacking[pod].add((found.table, found.name))
    shapes: dict[frozenset[Gap], list[str]] = {}
    for pod in pods:
        shapes.setdefault(frozenset(lacking[pod]), []).append(pod)
    ordered = sorted(shapes.items(), key=lambda entry: (len(entry[0]), entry[1]))
    return [(tuple(names), gaps) for gaps, names in ordered] or [((), frozenset())]


def settle_drift(tree: exp.Expression, scope: Scope, gaps: frozenset[Gap]) -> exp.Expression:
    """A copy of ``tree`` for pods that lack ``gaps``."""

    def put(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Column) or node.name == POD_COLUMN:
            return node
        source = scope.source(node.table)
        found = None if source is None else source.table.column(node.name)
        if found is None:
            return node
        if (node.table, node.name) in gaps:
            return _cast(exp.Null(), found.type)
        return _cast(column(node.table, node.name), found.type) if found.cast else node

    return tree.copy().transform(put, copy=False)


def _missing(node: exp.Column, scope: Scope) -> frozenset[str]:
    source = scope.source(node.table)
    found = None if source is None else source.table.column(node.name)
    return frozenset() if found is None else found.missing


def _cast(node: exp.Expression, type_name: str) -> exp.Expression:
    return exp.Cast(this=node, to=exp.DataType.build(type_name, dialect="duckdb"))
