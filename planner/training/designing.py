"""The SELECT of a model -> its design: one column a number or a condition, as each pod computes it.

Rule to keep: categories become one indicator a level of their declared domain, and no text is a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.fragment import Feature, Split
from podsql.planner.scope import Query
from podsql.planner.training.selecting import Part, select_rows
from podsql.planner.wire_types import FLOATS, INTEGERS, enum_values, is_enum


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignColumn:
    """A column of the design. ``level``: of the category ``of``, the value it is 1 for."""

    name: str
    of: str
    indicator: bool = False
    level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a model is trained on. Features come first, then ``targets``."""

    features: tuple[DesignColumn, ...]
    targets: tuple[DesignColumn, ...]
    references: tuple[DesignColumn, ...]
    """First levels of categories that have no column, as the constant stands for them."""
    parts: tuple[Part, ...]
    tables: tuple[str, ...]
    select: str
    """The SELECT as it was written, without options."""
    split: Split | None = None

    @property
    def pods(self) -> tuple[str, ...]:
        """All pods, in canonical order."""
        return tuple(sorted(pod for part in self.parts for pod in part.pods))

    @property
    def listed(self) -> tuple[DesignColumn, ...]:
        """Every column, in the order of the parts' texts."""
        return (*self.features, *self.targets, *self.references)

    def given(self, part: Part) -> tuple[tuple[Feature, ...], ...]:
        """Features, targets and references of ``part`` as a fragment has them."""
        made = [
            Feature(f"c{place}", text, one.indicator)
            for place, (one, text) in enumerate(zip(self.listed, part.texts, strict=True))
        ]
        first, second = len(self.features), len(self.features) + len(self.targets)
        return tuple(made[:first]), tuple(made[first:second]), tuple(made[second:])

    def asked(
        self, part: Part, *, references: bool
    ) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
        """Features and targets of a round; ``references``: of every level of its categories alone."""
        features, targets, firsts = self.given(part)
        if not references:
            return features, targets
        listed = zip((*features, *targets, *firsts), self.listed, strict=True)
        return tuple(given for given, column in listed if column.level is not None), ()


def plan_design(
    sql: str,
    targets: Sequence[str],
    catalog: Catalog,
    *,
    features: Sequence[str] | None = None,
    pods: tuple[str, ...] | None = None,
    parameters: Sequence[object] = (),
    every_level: bool = False,
    alone: bool = False,
    split: Split | None = None,
) -> Design:
    """The design of ``sql`` over the tables offered for training.

    ``features``: names of the items to take as such, in order; None: all that are no targets.
    ``every_level``: a category has a column for its first level too (models without a constant).
    ``alone``: there may be no column besides what is predicted.
    """
    found = select_rows(sql, catalog, pods=pods, parameters=parameters)
    query, answer, trees = found.query, found.fields, found.trees
    places = [found.place(name) for name in targets]
    others = [place for place in range(len(answer)) if place not in places]
    if features is not None:
        others = [found.place(name) for name in features]
    taken = _Columns(every_level=every_level)
    for place in others:
        taken.add(answer[place].name, answer[place].type, trees[place], query)
    wanted = _Columns(every_level=True)
    for place in places:
        wanted.add(answer[place].name, answer[place].type, trees[place], query)
    if not taken.columns and not alone:
        raise error("STATEMENT", "the SELECT has no column besides what is predicted")
    listed = [*taken.trees, *wanted.trees, *taken.reference_trees]
    return Design(
        features=tuple(taken.columns),
        targets=tuple(wanted.columns),
        references=tuple(taken.references),
        parts=found.parts(listed),
        tables=found.tables,
        select=found.text,
        split=split,
    )


class _Columns:
    """Select items as columns of a design."""

    def __init__(self, *, every_level: bool) -> None:
        self._every_level = every_level
        self.columns: list[DesignColumn] = []
        self.trees: list[exp.Expression] = []
        self.references: list[DesignColumn] = []
        self.reference_trees: list[exp.Expression] = []

    def add(self, name: str, kind: str, tree: exp.Expression, query: Query) -> None:
        """One select item: a number, a condition or a category."""
        if kind == "BOOLEAN":
            self._put(DesignColumn(name=name, of=name, indicator=True), tree)
        elif kind in (*INTEGERS, *FLOATS) or kind.startswith("DECIMAL("):
            self._put(DesignColumn(name=name, of=name), tree)
        elif kind == "VARCHAR" or is_enum(kind):
            self._categories(name, kind, tree, query)
        else:
            raise error(
                "BINDING",
                f"column {name!r} of a model is {kind}",
                hint="a model takes numbers, conditions, and text whose values are declared",
            )

    def _put(self, column: DesignColumn, tree: exp.Expression) -> None:
        self.columns.append(column)
        self.trees.append(tree)

    def _categories(self, name: str, kind: str, tree: exp.Expression, query: Query) -> None:
        levels = enum_values(kind) if is_enum(kind) else _declared(tree, query)
        if not levels:
            raise error(
                "BINDING",
                f"the values of {name!r} are not declared",
                hint=f"select conditions ({name} = '…' AS …), or let the custodians declare values",
            )
        first, *rest = levels
        for level in levels if self._every_level else rest:
            self._put(
                DesignColumn(name=f"{name}={level}", of=name, indicator=True, level=level),
                _is(tree, level),
            )
        if self._every_level:
            return
        self.references.append(
            DesignColumn(name=f"{name}={first}", of=name, indicator=True, level=first)
        )
        self.reference_trees.append(_is(tree, first))


def _is(tree: exp.Expression, level: str) -> exp.Expression:
    return exp.EQ(this=tree.copy(), expression=exp.Literal.string(level))


def _declared(tree: exp.Expression, query: Query) -> tuple[str, ...]:
    """The values that every pod declares for the column that ``tree`` is."""
    if not isinstance(tree, exp.Column):
        return ()
    source = query.scope.source(tree.table)
    column = None if source is None else source.table.column(tree.name)
    return () if column is None else column.values
