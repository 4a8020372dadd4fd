"""GROUP BY as a list of distinct keys and, if any, grouping sets of indices into it."""

from collections.abc import Sequence
from itertools import combinations, product

from sqlglot import exp

from podsql.errors import error
from podsql.planner.rules.find_aggregates import aggregates_in, has_window
from podsql.planner.rules.resolve_columns import Resolver, position_of, unwrapped
from podsql.planner.scope import Item

Keys = tuple[exp.Expression, ...]
Sets = tuple[tuple[int, ...], ...] | None
MAX_SETS = 256
_COMPOUND = (exp.Rollup, exp.Cube, exp.GroupingSets)


def expand_groups(
    group: exp.Group | None, items: Sequence[Item], resolver: Resolver
) -> tuple[Keys, Sets]:
    """Keys in the order of first use; sets are None for plain GROUP BY."""
    if group is None:
        return (), None
    keys: list[exp.Expression] = []

    def index_of(tree: exp.Expression) -> int:
        resolved = _key(tree, items, resolver)
        if resolved not in keys:
            keys.append(resolved)
        return keys.index(resolved)

    if group.args.get("all"):
        for item in items:
            grouped = not any(aggregates_in(item.tree))
            if grouped and has_window(item.tree):
                raise error("NOT_SUPPORTED", "a window beside GROUP BY ALL is not supported")
            if grouped and unwrapped(item.tree) not in keys:
                keys.append(_checked(unwrapped(item.tree)))
        return tuple(keys), None
    plain: list[int] = []
    parts: list[list[tuple[int, ...]]] = []
    elements = list(group.expressions)
    for name in ("rollup", "cube", "grouping_sets"):
        elements += _as_list(group.args.get(name))
    for tree in elements:
        if isinstance(tree, _COMPOUND):
            parts.append([tuple(index_of(t) for t in members) for members in _sets(tree)])
        else:
            plain += [index_of(t) for t in _members(tree)]
    if not parts:
        return tuple(keys), None
    sets = []
    for combination in product([tuple(plain)], *parts):
        sets.append(tuple(sorted({i for members in combination for i in members})))
        if len(sets) > MAX_SETS:
            raise error("NOT_SUPPORTED", f"more than {MAX_SETS} grouping sets")
    if len(set(sets)) < len(sets):
        raise error(
            "NOT_SUPPORTED",
            "a grouping set occurs twice: its rows could not be told apart when merged",
            hint="name each set once",
        )
    return tuple(keys), tuple(sets)


def _as_list(value: object) -> list[exp.Expression]:
    if isinstance(value, list):
        return [v for v in value if isinstance(v, exp.Expression)]
    return [value] if isinstance(value, exp.Expression) else []


def _members(tree: exp.Expression) -> list[exp.Expression]:
    """The expressions of one element: ``(a, b)`` is two, ``()`` none."""
    if isinstance(tree, exp.Tuple):
        return list(tree.expressions)
    return [tree]


def _sets(node: exp.Expression) -> list[list[exp.Expression]]:
    """The sets a ROLLUP, CUBE or GROUPING SETS stands for, each as expressions."""
    if isinstance(node, exp.GroupingSets):
        found: list[list[exp.Expression]] = []
        for element in node.expressions:
            nested = isinstance(element, _COMPOUND)
            found += _sets(element) if nested else [_members(element)]
        return found
    elements = [_members(e) for e in node.expressions]
    if isinstance(node, exp.Rollup):
        chosen = [elements[:n] for n in range(len(elements), -1, -1)]
    elif isinstance(node, exp.Cube):
        if len(elements) > 8:
            raise error("NOT_SUPPORTED", f"more than {MAX_SETS} grouping sets")
        sizes = range(len(elements), -1, -1)
        chosen = [list(some) for n in sizes for some in combinations(elements, n)]
    else:
        raise error("NOT_SUPPORTED", "this form of GROUP BY is not supported")
    return [[tree for members in some for tree in members] for some in chosen]


def _key(tree: exp.Expression, items: Sequence[Item], resolver: Resolver) -> exp.Expression:
    position = position_of(tree, items)
    if position is not None:
        return _checked(unwrapped(items[position].tree).copy())
    return _checked(unwrapped(resolver.tree(unwrapped(tree), strict=True)))


def _checked(tree: exp.Expression) -> exp.Expression:
    if any(aggregates_in(tree)) or has_window(tree):
        raise error("BINDING", "GROUP BY holds an aggregate or a window function")
    if tree.find(exp.Column) is None:
        raise error(
            "NOT_SUPPORTED",
            "grouping by a constant is not supported",
            hint="leave it out of GROUP BY; select it as a plain value",
        )
    return tree
