"""Plan a statement without aggregates: rows leave the pods, as few columns and rows as can be.

Windows and DISTINCT are run over the gathered rows. Rule to keep: a LIMIT is pushed to the pods
only with the whole ORDER BY (NULLS written out), never below a window, DISTINCT or QUALIFY.
"""

from dataclasses import dataclass, field

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import Column, Field, Ordering, Rows
from podsql.planner.literals import Lifter
from podsql.planner.plan import Options, Plan, Stage
from podsql.planner.rules.find_aggregates import has_window, is_window_function
from podsql.planner.rules.prove_pod_local import require_pod_present
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.write_final import write_final
from podsql.planner.scope import Query, column
from podsql.planner.syntax import describe
from podsql.planner.trees import with_children

GATHERED = "gathered"


@dataclass(slots=True, kw_only=True)
class _Pushed:
    """Expressions that pods evaluate, by text, in the order of first use."""

    trees: dict[str, exp.Expression] = field(default_factory=dict)

    def over_gathered(self, tree: exp.Expression) -> exp.Expression:
        """``tree`` with its largest window-free parts replaced by gathered columns."""
        if tree.find(exp.Column) is None:
            return tree.copy()
        if is_row_value(tree):
            text = _text(tree)
            self.trees.setdefault(text, tree)
            return column(GATHERED, f"c{list(self.trees).index(text)}")
        return with_children(tree, self.over_gathered)


def plan_rows(
    query: Query,
    pods: tuple[str, ...],
    statement: str,
    options: Options,
    schemas: dict[str, tuple[Field, ...]],
    first: int = 1,
) -> Plan:
    """The plan of a SELECT whose rows leave the pods."""
    trees = [*(i.tree for i in query.items), *(s.tree for s in query.order)]
    if query.qualify is not None:
        trees.append(query.qualify)
    crossing = query.distinct or any(has_window(tree) for tree in trees)
    _require_rows_release(query, pods)
    require_pod_present(trees, query.scope)
    pushed = _Pushed()
    final = write_final(query, GATHERED, pushed.over_gathered)
    if not pushed.trees:
        pushed.trees["NULL"] = exp.cast(exp.Null(), "INTEGER")
    types = _types(query, pushed, schemas)
    order, limit = _top(query, pushed, crossing)
    read = [query.source, *pushed.trees.values()]
    shapes = group_pods(pods, read, query.scope)
    stages = tuple(
        _stage(f"stage{number}", names, gaps, query, pushed, types, order, limit)
        for number, (names, gaps) in enumerate(shapes, first)
    )
    selected = ", ".join(f"c{i}" for i in range(len(pushed.trees)))
    gathered = " UNION ALL ".join(f"SELECT {selected} FROM {stage.name}" for stage in stages)
    identity = len(pushed.trees) == len(query.items) and not (
        crossing or query.order or query.offset or query.limit is not None
    )
    same = list(pushed.trees) == [_text(item.tree) for item in query.items]
    return Plan(
        statement=statement,
        stages=stages,
        final=f"WITH {GATHERED} AS ({gathered}) {final}",
        columns=tuple(Field(n, t) for n, t in zip(query.names, query.types, strict=True)),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        options=options,
        streams=identity and same and len(stages) == 1 and types == list(query.types),
    )


def is_row_value(tree: exp.Expression) -> bool:
    """True if a pod can evaluate ``tree`` for one row: it is a value, and holds no window."""
    value = isinstance(
        tree,
        exp.Column
        | exp.Func
        | exp.Binary
        | exp.Unary
        | exp.Cast
        | exp.Case
        | exp.Between
        | exp.In
        | exp.Is
        | exp.Paren,
    )
    own = isinstance(tree, exp.If | exp.IgnoreNulls | exp.RespectNulls) or is_window_function(tree)
    return value and not own and not has_window(tree)


def _require_rows_release(query: Query, pods: tuple[str, ...]) -> None:
    for source in query.scope.sources:
        table = source.table
        releases = zip(table.pods, table.releases, strict=True)
        closed = [pod for pod, release in releases if pod in pods and release != "rows"]
        if table.partitioned and closed:
            names = ", ".join(repr(pod) for pod in closed)
            raise error(
                "DENIED",
                f"rows of {table.name!r} do not leave {names}: only figures over groups do",
                hint="use aggregates and GROUP BY, or ask the custodians for row-level release",
            )


def _types(query: Query, pushed: _Pushed, schemas: dict[str, tuple[Field, ...]]) -> list[str]:
    if [_text(item.tree) for item in query.items] == list(pushed.trees):
        return list(query.types)
    probe = query.source.copy()
    probe.set("expressions", [tree.copy() for tree in pushed.trees.values()])
    return [f.type for f in describe(_text(probe), schemas)]


def _top(query: Query, pushed: _Pushed, crossing: bool) -> tuple[tuple[Ordering, ...], int | None]:
    """What of ORDER BY and LIMIT the pods may apply to their own rows."""
    if crossing or query.limit is None:
        return (), None
    order = []
    texts = list(pushed.trees)
    for sort in query.order:
        text = _text(sort.tree)
        if text not in texts:
            if sort.tree.find(exp.Column) is not None:
                return (), None
            continue
        order.append(
            Ordering(
                column=texts.index(text),
                descending=sort.descending,
                nulls_first=sort.nulls_first,
            )
        )
    return tuple(order), query.limit + query.offset


def _stage(
    name: str,
    pods: tuple[str, ...],
    gaps: frozenset[tuple[str, str]],
    query: Query,
    pushed: _Pushed,
    types: list[str],
    order: tuple[Ordering, ...],
    limit: int | None,
) -> Stage:
    lifter = Lifter()

    def text(tree: exp.Expression) -> str:
        return lifter.text(settle_drift(tree, query.scope, gaps))

    source = text(query.source).removeprefix("SELECT NULL ")
    columns = tuple(
        Column(f"c{i}", text(tree), kind, "rows")
        for i, (tree, kind) in enumerate(zip(pushed.trees.values(), types, strict=True))
    )
    fragment = Rows(
        source=source, columns=columns, order=order, limit=limit, literals=lifter.literals
    )
    return Stage(
        name=name,
        pods=pods,
        fragment=fragment,
        fields=tuple(Field(c.name, c.type) for c in columns),
        merge="all rows, pod after pod",
    )


def _text(tree: exp.Expression) -> str:
    return tree.sql(dialect="duckdb", comments=False)
