"""The SELECT of a model -> its design: one column a number or a condition, as each pod computes it.

Categories become one indicator a level of their declared domain. Rule to keep: as for every
statement, FROM, joins and WHERE run at each pod only where that is proved to be the pooled answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.closing import split_options
from podsql.planner.fragment import Feature, Literal, Split
from podsql.planner.literals import Lifter
from podsql.planner.parameters import bind_parameters
from podsql.planner.rules.bind_derived import bind_derived, schemas
from podsql.planner.rules.bind_tables import bind_tables
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.find_aggregates import has_window
from podsql.planner.rules.inline_ctes import inline_ctes
from podsql.planner.rules.prove_pod_local import prove_pod_local, require_pod_present
from podsql.planner.rules.refuse_unlisted import refuse_unlisted
from podsql.planner.rules.resolve_columns import expand_stars
from podsql.planner.rules.resolve_query import resolve_query
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.write_as_joins import write_as_joins
from podsql.planner.scope import Query
from podsql.planner.syntax import describe, nearest, parse, serialised
from podsql.planner.wire_types import FLOATS, INTEGERS, enum_values, is_enum


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignColumn:
    """A column of the design. ``level``: of the category ``of``, the value it is 1 for."""

    name: str
    of: str
    indicator: bool = False
    level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPart:
    """The same design for pods that lack the same columns."""

    pods: tuple[str, ...]
    source: str
    texts: tuple[str, ...]
    """Of each column, in order."""
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a model is trained on. Features come first, then ``targets``."""

    features: tuple[DesignColumn, ...]
    targets: tuple[DesignColumn, ...]
    references: tuple[DesignColumn, ...]
    """First levels of categories that have no column, as the constant stands for them."""
    parts: tuple[DesignPart, ...]
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

    def given(self, part: DesignPart) -> tuple[tuple[Feature, ...], ...]:
        """Features, targets and references of ``part`` as a fragment has them."""
        made = [
            Feature(f"c{place}", text, one.indicator)
            for place, (one, text) in enumerate(zip(self.listed, part.texts, strict=True))
        ]
        first, second = len(self.features), len(self.features) + len(self.targets)
        return tuple(made[:first]), tuple(made[first:second]), tuple(made[second:])


def plan_design(
    sql: str,
    targets: Sequence[str],
    catalog: Catalog,
    *,
    features: Sequence[str] | None = None,
    pods: tuple[str, ...] | None = None,
    parameters: Sequence[object] = (),
    every_level: bool = False,
    split: Split | None = None,
) -> Design:
    """The design of ``sql`` over the tables offered for training.

    ``features``: names of the items to take as such, in order; None: all that are no targets.
    ``every_level``: a category has a column for its first level too (models without a constant).
    """
    text, _ = split_options(sql)
    tree = parse(text)
    refuse_unlisted(serialised(text))
    tree = bind_parameters(tree, parameters)
    inline_ctes(tree)
    write_as_joins(tree, catalog)
    if not isinstance(tree, exp.Select):
        raise error("NOT_SUPPORTED", "a model is trained on one plain SELECT")
    scope = bind_tables(tree, catalog, lambda node: bind_derived(node, catalog))
    expand_stars(tree, scope)
    query = resolve_query(tree, scope)
    _require_rows(query)
    answer = describe(tree.sql(dialect="duckdb", comments=False), schemas(scope))
    trees = [item.tree for item in query.items]
    require_pod_present(trees, query.scope)
    if any(source.table.partitioned for source in scope.sources):
        prove_pod_local(query.source, scope)
    chosen = choose_pods(query.source, scope, catalog, pods)
    named = {field.name.lower(): place for place, field in enumerate(answer)}
    if len(named) != len(answer):
        raise error("BINDING", "two columns of a model have one name", hint="name them with AS")
    places = [_place(name, named) for name in targets]
    others = [place for place in range(len(answer)) if place not in places]
    if features is not None:
        others = [_place(name, named) for name in features]
    taken = _Columns(every_level=every_level)
    for place in others:
        taken.add(answer[place].name, answer[place].type, trees[place], query)
    wanted = _Columns(every_level=True)
    for place in places:
        wanted.add(answer[place].name, answer[place].type, trees[place], query)
    if not taken.columns:
        raise error("STATEMENT", "the SELECT has no column besides what is predicted")
    listed = [*taken.trees, *wanted.trees, *taken.reference_trees]
    parts = []
    for names, gaps in group_pods(chosen, [query.source, *listed], query.scope):
        lifter = Lifter()
        source = lifter.text(settle_drift(query.source, query.scope, gaps))
        texts = tuple(lifter.text(settle_drift(one, query.scope, gaps)) for one in listed)
        parts.append(
            DesignPart(
                pods=names,
                source=source.removeprefix("SELECT NULL "),
                texts=texts,
                literals=lifter.literals,
            )
        )
    return Design(
        features=tuple(taken.columns),
        targets=tuple(wanted.columns),
        references=tuple(taken.references),
        parts=tuple(parts),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        select=text,
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


def _place(name: str, named: dict[str, int]) -> int:
    found = named.get(name.lower())
    if found is None:
        raise error(
            "UNKNOWN_COLUMN",
            f"the SELECT has no column {name!r}, which the model needs",
            hint=nearest(name.lower(), tuple(named)),
        )
    return found


def _require_rows(query: Query) -> None:
    if (
        query.grouped
        or query.distinct
        or query.qualify is not None
        or query.order
        or query.limit is not None
        or query.offset
        or any(has_window(item.tree) for item in query.items)
    ):
        raise error(
            "NOT_SUPPORTED",
            "a model is trained on rows: no groups, windows, DISTINCT, ORDER BY or LIMIT",
            hint="choose rows with WHERE",
        )
