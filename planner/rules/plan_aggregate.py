"""Plan a grouped statement: partials per pod and group, one merge, then the rest of the SELECT.

HAVING, windows, QUALIFY, DISTINCT, ORDER BY and LIMIT are never part of a fragment: they are run
over the merged groups. Rule to keep: nothing of the select list reaches a pod but keys and partials.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.fragment import Aggregate, Column, Field
from podsql.planner.literals import Lifter
from podsql.planner.partials import Partial, Partials
from podsql.planner.plan import Block, Options, Plan, Stage
from podsql.planner.rules.find_aggregates import Call, aggregates_in, call_of, has_window
from podsql.planner.rules.over_groups import MERGED, key_columns, over_groups
from podsql.planner.rules.plan_quantiles import Quantiles, binned_stages, quantile_ctes
from podsql.planner.rules.prove_pod_local import require_pod_present
from podsql.planner.rules.resolve_columns import unwrapped
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.split_aggregates import split_aggregate
from podsql.planner.rules.write_final import write_final
from podsql.planner.scope import POD_COLUMN, Query, column
from podsql.planner.syntax import describe

GATHERED = "gathered"
PLAIN = "plain"
"""The merged groups before quantiles are joined to them."""


@dataclass(slots=True, kw_only=True)
class _Merge:
    """What the merge of one statement is made of."""

    query: Query
    quantiles: Quantiles
    partials: Partials = field(default_factory=Partials)
    values: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    disjoint: frozenset[tuple[str, str]] = frozenset()
    single: bool = False


def _local_key(query: Query) -> str | None:
    """Name of the first key whose values never occur in two pods."""
    for position, key in enumerate(query.keys):
        if not isinstance(key, exp.Column):
            continue
        for source in query.scope.sources:
            if source.alias == key.table and source.table.partitioned:
                local = {POD_COLUMN, *source.table.local_keys}
                if key.name.lower() in local:
                    return f"k{position}"
    return None


def plan_aggregate(
    query: Query,
    catalog: Catalog,
    pods: tuple[str, ...],
    statement: str,
    options: Options,
    schemas: dict[str, tuple[Field, ...]],
    first: int = 1,
) -> Plan:
    """The plan of a grouped (or ungrouped, but aggregating) SELECT."""
    clauses = _clauses(query)
    calls = [call_of(_with_filter(node)) for tree in clauses for node in aggregates_in(tree)]
    if query.grouping_sets is not None and not pods:
        pods = tuple(sorted({p for s in query.scope.sources for p in s.table.pods}))[:1]
    read = [query.source, *query.keys, *(call.tree for call in calls)]
    require_pod_present(read[1:], query.scope)
    merge = _Merge(query=query, quantiles=Quantiles(scope=query.scope), single=len(pods) == 1)
    merge.disjoint = _disjoint_columns(query)
    merge.types = _types(query, calls, schemas)
    final = write_final(query, MERGED, lambda tree: _over_merged(tree, merge))
    key_types = [merge.types[_text(key)] for key in query.keys]
    stages = tuple(
        _stage(f"stage{number}", names, gaps, merge, key_types)
        for number, (names, gaps) in enumerate(group_pods(pods, read, query.scope), first)
    )
    binned = binned_stages(merge.quantiles, query, pods, key_types, first + len(stages))
    ctes = _merge_sql(merge, key_types, stages, PLAIN if binned else MERGED)
    merged = ctes[-1]
    if binned:
        ctes += quantile_ctes(merge.quantiles, binned, len(query.keys), PLAIN)
    bars = {} if query.distinct else merge.quantiles.bars(query)
    wide = ""
    if bars:
        extra = [f"{sql} AS bar{place}" for place, sql in bars.items()]
        last = write_final(query, MERGED, lambda tree: _over_merged(tree, merge), extra)
        wide = f"WITH {', '.join(ctes)} {last}"
    group_keys = [f"k{i}" for i in range(len(query.keys))]
    if query.grouping_sets is not None:
        group_keys.append("grouping_id")
    crosses = (
        query.distinct
        or query.limit is not None
        or bool(query.offset)
        or any(has_window(tree) for tree in clauses)
    )
    return Plan(
        statement=statement,
        stages=(
            *(replace(stage, merge=_select_of(merged)) for stage in stages),
            *(stage for parts in binned for stage in parts),
        ),
        final=f"WITH {', '.join(ctes)} {final}",
        columns=tuple(Field(n, t) for n, t in zip(query.names, query.types, strict=True)),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        options=options,
        bars=tuple(bars),
        noisy_final=wide,
        blocks=(
            Block(
                stages=tuple(
                    stage.name for stage in (*stages, *(one for parts in binned for one in parts))
                ),
                group_keys=tuple(group_keys),
                local_key=_local_key(query),
                crosses_groups=crosses,
            ),
        ),
    )


def _clauses(query: Query) -> list[exp.Expression]:
    found = [item.tree for item in query.items]
    found += [tree for tree in (query.having, query.qualify) if tree is not None]
    return found + [sort.tree for sort in query.order]


def _with_filter(node: exp.Expression) -> exp.Expression:
    parent = node.parent
    return parent if isinstance(parent, exp.Filter) and parent.this is node else node


def _disjoint_columns(query: Query) -> frozenset[tuple[str, str]]:
    return frozenset(
        (s.alias, key)
        for s in query.scope.sources
        if s.table.partitioned
        for key in s.table.local_keys
    )


def _types(
    query: Query, calls: Sequence[Call], schemas: dict[str, tuple[Field, ...]]
) -> dict[str, str]:
    """DuckDB's types of the keys, of the aggregates and of their arguments, by text."""
    keys = {_text(key): key for key in query.keys}
    totals = {_text(call.tree): call.tree for call in calls}
    inner = {_text(a): a for call in calls for a in call.arguments}
    probe = query.source.copy()
    probe.set(
        "expressions",
        [
            *(tree.copy() for tree in keys.values()),
            *(tree.copy() for tree in totals.values()),
            *(exp.func("first", tree.copy()) for tree in inner.values()),
        ]
        or [exp.Literal.number("1")],
    )
    text = probe.sql(dialect="duckdb", comments=False)
    if keys:
        text += f" GROUP BY {', '.join(f'({key})' for key in keys)}"
    found = describe(text, schemas)
    return dict(zip([*keys, *totals, *inner], (f.type for f in found), strict=False))


def _text(tree: exp.Expression) -> str:
    return tree.sql(dialect="duckdb", comments=False)


def _over_merged(tree: exp.Expression, merge: _Merge) -> exp.Expression:
    """``tree`` with keys and aggregates replaced by columns of the merged relation."""
    return over_groups(
        tree,
        merge.query.keys,
        lambda node: _aggregate(node, merge),
        lambda node: _grouping(node, merge),
    )


def _aggregate(tree: exp.Expression, merge: _Merge) -> exp.Expression:
    quantile = merge.quantiles.value(tree)
    if quantile is not None:
        return quantile
    text = _text(tree)
    index = merge.known.get(text)
    if index is None:
        call = call_of(tree)
        if any(any(aggregates_in(a)) for a in call.arguments):
            raise error("BINDING", "an aggregate stands inside an aggregate")
        value = split_aggregate(
            call,
            merge.partials,
            type_of=lambda node: merge.types[_text(node)],
            answer_type=merge.types[text],
            disjoint=merge.single or _is_disjoint(call, merge),
        )
        index = merge.known[text] = len(merge.values)
        merge.values.append(value)
    return column(MERGED, f"a{index}")


def _is_disjoint(call: Call, merge: _Merge) -> bool:
    argument = unwrapped(call.arguments[0]) if call.arguments else None
    if not isinstance(argument, exp.Column):
        return False
    source = merge.query.scope.source(argument.table)
    nullable = source is not None and source.nullable
    return not nullable and (argument.table, argument.name.lower()) in merge.disjoint


def _grouping(tree: exp.Expression, merge: _Merge) -> exp.Expression:
    keys = merge.query.keys
    if merge.query.grouping_sets is None:
        return exp.Cast(this=exp.Literal.number("0"), to=exp.DataType.build("BIGINT"))
    asked = [unwrapped(e) for e in tree.expressions]
    terms = []
    for place, key in enumerate(reversed(asked)):
        if key not in keys:
            raise error("BINDING", "grouping() names something that is not a group key")
        shift = len(keys) - 1 - keys.index(key)
        terms.append(f"((({MERGED}.grouping_id >> {shift}) & 1) << {place})")
    return exp.maybe_parse(f"CAST({' + '.join(terms)} AS BIGINT)", dialect="duckdb")


def _stage(
    name: str,
    pods: tuple[str, ...],
    gaps: frozenset[tuple[str, str]],
    merge: _Merge,
    key_types: Sequence[str],
) -> Stage:
    query, lifter = merge.query, Lifter()

    def text(tree: exp.Expression) -> str:
        return lifter.text(settle_drift(tree, query.scope, gaps))

    source = text(query.source).removeprefix("SELECT NULL ")
    keys = key_columns(query.keys, key_types, text)
    columns = tuple(_partial_column(p, text) for p in merge.partials.columns)
    if not keys and not columns:
        columns = (Column("p0", "count(*)", "BIGINT", "additive"),)
    fields = [Field(c.name, c.type) for c in (*keys, *columns)]
    if query.grouping_sets is not None:
        fields.append(Field("grouping_id", "BIGINT"))
    fragment = Aggregate(
        source=source,
        keys=keys,
        aggregates=columns,
        grouping_sets=query.grouping_sets,
        literals=lifter.literals,
    )
    return Stage(name=name, pods=pods, fragment=fragment, fields=tuple(fields))


def _partial_column(partial: Partial, text: Callable[[exp.Expression], str]) -> Column:
    sql = partial.template.format(*(text(a) for a in partial.arguments))
    if partial.condition is not None:
        sql += f" FILTER (WHERE {text(partial.condition)})"
    return Column(partial.name, sql, partial.type, partial.disclosure)


def _merge_sql(
    merge: _Merge, key_types: Sequence[str], stages: Sequence[Stage], name: str
) -> list[str]:
    """The CTEs that turn the stages' relations into ``name``, one row a group."""
    names = [f'"{f.name}"' for f in stages[0].fields]
    selected = ", ".join(_normal_key(n, t) for n, t in _padded(names, key_types))
    gathered = " UNION ALL ".join(f"SELECT {selected} FROM {stage.name}" for stage in stages)
    groups = [f"k{i}" for i in range(len(merge.query.keys))]
    if merge.query.grouping_sets is not None:
        groups.append("grouping_id")
    ctes = [f"{GATHERED} AS ({gathered})"]
    relation = GATHERED
    if merge.partials.centres:
        same = f"PARTITION BY {', '.join(groups)}" if groups else ""
        centres = ", ".join(f"{over} AS {name}" for over, name in merge.partials.centres.items())
        ctes.append(
            f"centred AS (SELECT *, {centres} FROM {GATHERED} WINDOW same_group AS ({same}))"
        )
        relation = "centred"
    values = [*groups, *(f"{value} AS a{i}" for i, value in enumerate(merge.values))]
    if not values:
        values = ["1 AS nothing"] if groups else ["count(*) AS nothing"]
    # Of one pod each group comes once; without figures there is nothing to merge.
    once = merge.single and len(stages) == 1 and merge.query.grouping_sets is None
    alone = once and values == groups
    grouped = f" GROUP BY {', '.join(groups)}" if groups and not alone else ""
    if merge.quantiles.asked and not merge.values:
        values = groups or ["count(*) AS nothing"]
    ctes.append(f"{name} AS (SELECT {', '.join(values)} FROM {relation}{grouped})")
    return ctes


def _padded(names: Sequence[str], key_types: Sequence[str]) -> list[tuple[str, str]]:
    return [(n, key_types[i] if i < len(key_types) else "") for i, n in enumerate(names)]


def _normal_key(name: str, kind: str) -> str:
    """-0.0 and 0.0 are one group."""
    if kind in ("FLOAT", "DOUBLE"):
        return f"CAST({name} + 0 AS {kind}) AS {name}"
    return name


def _select_of(cte: str) -> str:
    return cte.partition(" AS (")[2].removesuffix(")")
