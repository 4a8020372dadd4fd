"""UNION, EXCEPT and INTERSECT: each arm is planned by itself and they meet at the analyst."""

from sqlglot import exp

from podsql.planner.plan import Plan
from podsql.planner.rules.plan_at_analyst import PlanPart, joined, part_name


def plan_set_operation(tree: exp.SetOperation, plan_part: PlanPart) -> Plan:
    """The plan of ``tree``, which is changed in place."""
    parts: list[Plan] = []
    for name in ("this", "expression"):
        parts.append(plan_part(tree.args[name]))
        tree.set(name, exp.select("*").from_(exp.to_identifier(part_name(parts))))
    crossing = not isinstance(tree, exp.Union) or bool(
        tree.args.get("distinct") or tree.args.get("limit") or tree.args.get("offset")
    )
    return joined(tree, parts, crossing=crossing)
