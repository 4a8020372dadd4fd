"""The SELECT over rows that a statement around models is about, bound and proved.

Rule to keep: as for every statement, FROM, joins and WHERE run at each pod only where that is proved
to be the pooled answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.closing import split_options
from podsql.planner.fragment import Field, Literal
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The same rows for pods that lack the same columns."""

    pods: tuple[str, ...]
    source: str
    texts: tuple[str, ...]
    """Of each expression, in order."""
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Its items as ``fields``, and what each is over the tables."""

    text: str
    """The SELECT as it was written, without options."""
    query: Query
    fields: tuple[Field, ...]
    trees: tuple[exp.Expression, ...]
    pods: tuple[str, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables it reads."""
        return tuple(sorted({table.name for table in self.query.scope.tables()}))

    def place(self, name: str) -> int:
        """Of the item of that name; UNKNOWN_COLUMN if there is none."""
        named = [field.name.lower() for field in self.fields]
        if name.lower() not in named:
            raise error(
                "UNKNOWN_COLUMN",
                f"the SELECT has no column {name!r}, which the model needs",
                hint=nearest(name.lower(), named),
            )
        return named.index(name.lower())

    def types(self, trees: Sequence[exp.Expression]) -> tuple[str, ...]:
        """DuckDB types of expressions over its tables."""
        probe = self.query.source.copy()
        probe.set("expressions", [tree.copy() for tree in trees])
        text = probe.sql(dialect="duckdb", comments=False)
        return tuple(field.type for field in describe(text, schemas(self.query.scope)))

    def parts(self, trees: Sequence[exp.Expression]) -> tuple[Part, ...]:
        """FROM and ``trees`` as each pod computes them, literals apart."""
        query, found = self.query, []
        for names, gaps in group_pods(self.pods, [query.source, *trees], query.scope):
            lifter = Lifter()
            source = lifter.text(settle_drift(query.source, query.scope, gaps))
            texts = tuple(lifter.text(settle_drift(one, query.scope, gaps)) for one in trees)
            found.append(
                Part(
                    pods=names,
                    source=source.removeprefix("SELECT NULL "),
                    texts=texts,
                    literals=lifter.literals,
                )
            )
        return tuple(found)


def select_rows(
    sql: str,
    catalog: Catalog,
    *,
    pods: tuple[str, ...] | None = None,
    parameters: Sequence[object] = (),
) -> Selection:
    """Bind ``sql`` over ``catalog``; what is more than rows of tables is refused."""
    text, _ = split_options(sql)
    tree = parse(text)
    refuse_unlisted(serialised(text))
    tree = bind_parameters(tree, parameters)
    inline_ctes(tree)
    write_as_joins(tree, catalog, meets=False)
    if not isinstance(tree, exp.Select):
        raise error("NOT_SUPPORTED", "a model takes one plain SELECT")
    scope = bind_tables(tree, catalog, lambda node: bind_derived(node, catalog))
    expand_stars(tree, scope)
    query = resolve_query(tree, scope)
    _require_rows(query)
    fields = describe(tree.sql(dialect="duckdb", comments=False), schemas(scope))
    trees = tuple(item.tree for item in query.items)
    require_pod_present(list(trees), query.scope)
    if any(source.table.partitioned for source in scope.sources):
        prove_pod_local(query.source, scope)
    chosen = choose_pods(query.source, scope, catalog, pods)
    if len({field.name.lower() for field in fields}) != len(fields):
        raise error("BINDING", "two columns of a model have one name", hint="name them with AS")
    return Selection(text=text, query=query, fields=fields, trees=trees, pods=chosen)


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
            "a model takes rows: no groups, windows, DISTINCT, ORDER BY or LIMIT",
            hint="choose rows with WHERE",
        )
