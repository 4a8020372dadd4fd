"""``PREDICT USING MODEL … INTO LOCAL TABLE``: the SELECT's columns and the model's formula over them.

Rule to keep: what a pod computes is the SELECT's own expressions and the formula, put together here;
it is judged there like any expression that was written by hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.fragment import Column, LocalTable
from podsql.planner.syntax import parse
from podsql.planner.training.selecting import Part, Selection, select_rows
from podsql.planner.wire_types import wire_type

PREDICTION: Final = "prediction"
"""The column that is put after those of the SELECT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What each pod writes: ``columns`` with the types they are computed as."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    parts: tuple[Part, ...]
    tables: tuple[str, ...]

    def fragment(self, part: Part, *, table: str, model: str, overwrite: bool) -> LocalTable:
        """What the pods of ``part`` are asked."""
        listed = zip(self.names, part.texts, self.types, strict=True)
        return LocalTable(
            source=part.source,
            columns=tuple(Column(*one) for one in listed),
            table=table,
            model=model,
            overwrite=overwrite,
            literals=part.literals,
        )


def plan_local_table(
    sql: str,
    formula: str,
    catalog: Catalog,
    *,
    pods: tuple[str, ...] | None = None,
    parameters: Sequence[object] = (),
) -> Foretold:
    """``formula``: one expression over the names of the SELECT's columns."""
    found = select_rows(sql, catalog, pods=pods, parameters=parameters)
    trees = [*found.trees, _over_tables(formula, found)]
    names = (*(field.name for field in found.fields), PREDICTION)
    if any(name.lower() == PREDICTION for name in names[:-1]):
        raise error(
            "BINDING",
            f"a column of the SELECT is named {PREDICTION!r}, as the one of the model's",
            hint="name it otherwise with AS",
        )
    types = (*(field.type for field in found.fields), *found.types(trees[-1:]))
    for name, kind in zip(names, types, strict=True):
        if wire_type(kind) == "INTERVAL":
            raise error("BINDING", f"column {name!r} is an INTERVAL, which no file of ours holds")
    return Foretold(names=names, types=types, parts=found.parts(trees), tables=found.tables)


def _over_tables(formula: str, found: Selection) -> exp.Expression:
    """The formula with each name replaced by what the SELECT says it is."""

    def put(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Column):
            return node
        return exp.paren(found.trees[found.place(node.name)].copy())

    tree = parse(f"SELECT {formula}")
    written: exp.Expression = tree.expressions[0]
    return written.transform(put)
