"""UNION, EXCEPT and INTERSECT: each arm is planned by itself and they meet at the analyst."""

from collections.abc import Iterator

from sqlglot import exp

from podsql.errors import error
from podsql.planner.plan import Plan
from podsql.planner.rules.plan_at_analyst import PlanPart, joined, part_name


def plan_set_operation(tree: exp.SetOperation, plan_part: PlanPart) -> Plan:
    """The plan of ``tree``, which is changed in place."""
    arms = [[item.unalias() for item in arm.expressions] for arm in _aligned(tree)]
    parts: list[Plan] = []
    for name in ("this", "expression"):
        parts.append(plan_part(tree.args[name]))
        tree.set(name, exp.select("*").from_(exp.to_identifier(part_name(parts))))
    _order_by_places(tree, arms, {field.name.lower() for part in parts for field in part.columns})
    crossing = not isinstance(tree, exp.Union) or bool(
        tree.args.get("distinct") or tree.args.get("limit") or tree.args.get("offset")
    )
    return joined(tree, parts, crossing=crossing)


def _aligned(tree: exp.Expression) -> Iterator[exp.Select]:
    """The arms whose items stand where those of the answer do: by name, only the first one."""
    if isinstance(tree, exp.SetOperation):
        yield from _aligned(tree.this)
        if not tree.args.get("by_name"):
            yield from _aligned(tree.expression)
    elif isinstance(tree, exp.Subquery):
        yield from _aligned(tree.this)
    elif isinstance(tree, exp.Select):
        yield tree


def _order_by_places(
    tree: exp.SetOperation, arms: list[list[exp.Expression]], names: set[str]
) -> None:
    """ORDER BY may repeat what an arm selects, which is gone now: name its place instead."""
    order = tree.args.get("order")
    for term in order.expressions if order is not None else ():
        subject = term.this
        bare = isinstance(subject, exp.Column) and not subject.table
        if isinstance(subject, exp.Literal | exp.Var) or (bare and subject.name.lower() in names):
            continue
        place = next((items.index(subject) for items in arms if subject in items), None)
        if place is None and not (bare and subject.name.lower() == "all"):
            raise error(
                "NOT_SUPPORTED",
                "ORDER BY of a set operation names more than its columns",
                hint="order by a column's name or place",
            )
        if place is not None:
            subject.replace(exp.Literal.number(place + 1))
