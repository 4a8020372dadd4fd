"""Subqueries of WHERE that yield one value: released first, then sent down as a literal.

Rule to keep: only a query that names nothing outside itself; what one database would compare each
row with is one value for all rows, whichever pod has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from sqlglot import exp

from podsql.planner.catalog import Catalog
from podsql.planner.literals import SCALAR, scalar_literal
from podsql.planner.plan import Plan, Scalar, Stage
from podsql.planner.rules.free_columns import free_columns
from podsql.planner.wire_types import FLOATS, INTEGERS, TIMES, decimal_parts

_TYPES: Final = frozenset({*INTEGERS, *FLOATS, *TIMES, "BOOLEAN", "VARCHAR", "UUID"})


@dataclass(slots=True, kw_only=True)
class Scalars:
    """The values that the fragments of one SELECT wait for, by number, and their plans."""

    catalog: Catalog
    plan_part: Callable[[exp.Expression], Plan]
    parts: dict[int, Plan] = field(default_factory=dict)
    asked: int = 0

    def release(self, select: exp.Select) -> None:
        """Put NULLs that are marked in place of the scalar subqueries of WHERE."""
        where = select.args.get("where")
        if where is None:
            return
        for node in list(where.find_all(exp.Subquery)):
            if node.find_ancestor(exp.Query) is not select or not is_value(node):
                continue
            if free_columns(node.this, self.catalog) != []:
                continue
            part = self.plan_part(node.this.copy())
            (column,) = part.columns
            if column.type not in _TYPES and decimal_parts(column.type) is None:
                continue
            value = exp.Null()
            value.meta[SCALAR] = self.asked
            self.parts[self.asked] = part
            self.asked += 1
            node.replace(exp.cast(value, exp.DataType.build(column.type, dialect="duckdb")))

    def attach(self, plan: Plan) -> Plan:
        """``plan`` behind the stages that release what it waits for."""
        if not self.parts:
            return plan
        parts = list(self.parts.values())
        blocks = [replace(one, crosses_groups=True) for part in parts for one in part.blocks]
        return replace(
            plan,
            stages=(
                *(stage for part in parts for stage in part.stages),
                *(self._waiting(stage) for stage in plan.stages),
            ),
            tables=tuple(sorted({*plan.tables, *(t for part in parts for t in part.tables)})),
            blocks=(*blocks, *plan.blocks),
            streams=False,
        )

    def _waiting(self, stage: Stage) -> Stage:
        return replace(stage, scalars=(*stage.scalars, *self._scalars(stage)))

    def _scalars(self, stage: Stage) -> Iterator[Scalar]:
        literals = getattr(stage.fragment, "literals", ())
        for number, part in self.parts.items():
            if scalar_literal(number) in literals:
                text = f"SELECT CAST(({part.final}) AS VARCHAR)"
                yield Scalar(place=literals.index(scalar_literal(number)), sql=text)


def is_value(node: exp.Subquery) -> bool:
    """One output, where a value stands: not after IN, EXISTS or ANY, and not in FROM."""
    query = node.this
    around = node.parent
    if isinstance(around, exp.In | exp.Exists | exp.Any | exp.All | exp.From | exp.Join):
        return False
    return isinstance(query, exp.Select) and len(query.expressions) == 1
