"""Statements over released groups: set operations, and SELECTs whose FROM holds derived tables only.

Each part is planned by itself; what joins them runs at the analyst, over what the pods released
(post-processing). Rule to keep: no part may release rows in order to be aggregated afterwards.
"""

from collections.abc import Callable
from dataclasses import replace

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import Aggregate, Binned, Noised
from podsql.planner.plan import Block, Plan
from podsql.planner.rules.find_aggregates import aggregates_in, has_window

PlanPart = Callable[[exp.Expression], Plan]


def sources_of(select: exp.Select) -> list[exp.Expression]:
    """The From and Join nodes that hold the sources of ``select``."""
    start = select.args.get("from_")
    return ([start] if start is not None else []) + list(select.args.get("joins") or ())


def plan_set_operation(tree: exp.SetOperation, plan_part: PlanPart) -> Plan:
    """UNION, EXCEPT or INTERSECT of planned arms."""
    parts: list[Plan] = []
    for name in ("this", "expression"):
        parts.append(plan_part(tree.args[name]))
        star = exp.select("*").from_(exp.to_identifier(f"part{_number(parts)}", quoted=False))
        tree.set(name, star)
    crossing = not isinstance(tree, exp.Union) or bool(
        tree.args.get("distinct") or tree.args.get("limit") or tree.args.get("offset")
    )
    return _joined(tree, parts, crossing=crossing)


def plan_over_parts(select: exp.Select, plan_part: PlanPart) -> Plan:
    """A SELECT over derived tables alone."""
    parts: list[Plan] = []
    holders = sources_of(select)
    for holder in holders:
        node = holder.this
        part = plan_part(node.this)
        _refuse_rows(part)
        parts.append(part)
        alias = node.args.get("alias")
        table = exp.Table(this=exp.to_identifier(f"part{_number(parts)}"))
        if alias is not None:
            table.set("alias", alias.copy())
        holder.set("this", table)
    clauses = ("group", "having", "qualify", "distinct", "limit", "offset")
    crossing = (
        len(holders) > 1
        or any(select.args.get(name) for name in clauses)
        or any(any(aggregates_in(item)) or has_window(item) for item in select.expressions)
    )
    return _joined(select, parts, crossing=crossing)


def _number(parts: list[Plan]) -> str:
    """Named after its first stage, which no other part has."""
    stages = parts[-1].stages
    return stages[0].name.removeprefix("stage") if stages else f"_{len(parts)}"


def _refuse_rows(part: Plan) -> None:
    if any(not isinstance(stage.fragment, Aggregate | Noised | Binned) for stage in part.stages):
        raise error(
            "NOT_SUPPORTED",
            "a subquery in FROM would make rows leave the pods",
            hint="aggregate in the subquery, group it by a local key, or join the table itself",
        )


def _joined(tree: exp.Expression, parts: list[Plan], *, crossing: bool) -> Plan:
    names = [f"part{_number(parts[: place + 1])}" for place in range(len(parts))]
    ctes = ", ".join(f"{name} AS ({part.final})" for name, part in zip(names, parts, strict=True))
    blocks: list[Block] = []
    for part in parts:
        blocks += [
            replace(block, crosses_groups=block.crosses_groups or crossing) for block in part.blocks
        ]
    return Plan(
        statement="",
        stages=tuple(stage for part in parts for stage in part.stages),
        final=f"WITH {ctes} {tree.sql(dialect='duckdb', comments=False)}",
        columns=(),
        tables=tuple(sorted({table for part in parts for table in part.tables})),
        options=parts[0].options,
        blocks=tuple(blocks),
    )
