"""From statement to plan: parse, bind, prove, split. Plans are cached; nothing here does I/O.

Rule to keep: ``plan`` either returns a plan whose answer is the pooled one, or raises an error
that names the part, the reason and, where one exists, the declaration that is missing.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog
from podsql.planner.explaining import explain_text
from podsql.planner.fragment import Field
from podsql.planner.parameters import bind_parameters
from podsql.planner.plan import Options, Plan
from podsql.planner.rules.bind_tables import bind_tables
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.plan_aggregate import plan_aggregate
from podsql.planner.rules.plan_rows import plan_rows
from podsql.planner.rules.prove_pod_local import prove_pod_local
from podsql.planner.rules.refuse_unlisted import refuse_unlisted
from podsql.planner.rules.resolve_columns import expand_stars
from podsql.planner.rules.resolve_query import resolve_query
from podsql.planner.scope import POD_COLUMN, Scope
from podsql.planner.statements import classify, split_options
from podsql.planner.syntax import describe, parse, serialised

_CACHED: Final = 256
_cache: "OrderedDict[tuple[object, ...], Plan]" = OrderedDict()
_cache_lock = threading.Lock()


def plan(sql: str, catalog: Catalog, parameters: Sequence[object] = ()) -> Plan:
    """The plan of one SELECT (an EXPLAIN before it is ignored) over the catalog."""
    key = (sql, catalog.version, tuple((type(p).__name__, repr(p)) for p in parameters))
    with _cache_lock:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
            return known
    found = _plan(sql, catalog, parameters)
    with _cache_lock:
        _cache[key] = found
        if len(_cache) > _CACHED:
            _cache.popitem(last=False)
    return found


def explain(plan: Plan, catalog: Catalog) -> str:
    """The plan as stable text: stages, pods, what leaves each pod, the merge, the final step."""
    return explain_text(plan, catalog)


def _plan(sql: str, catalog: Catalog, parameters: Sequence[object]) -> Plan:
    text, options = split_options(classify(sql).sql)
    tree = parse(text)
    refuse_unlisted(serialised(text))
    if not isinstance(tree, exp.Select):
        raise error("NOT_SUPPORTED", "a statement must be one plain SELECT")
    if tree.args.get("with_"):
        raise error(
            "NOT_SUPPORTED",
            "a WITH query (common table expression) is not supported over the federation",
            hint="run the inner statement first, or write it in place",
        )
    bound = bind_parameters(tree, parameters)
    assert isinstance(bound, exp.Select)
    tree = bound
    scope = bind_tables(tree, catalog)
    expand_stars(tree, scope)
    query = resolve_query(tree, scope)
    schemas = _schemas(scope)
    answer = describe(tree.sql(dialect="duckdb", comments=False), schemas)
    answer = _named_as_written(text, answer, schemas)
    query.names = tuple(f.name for f in answer)
    query.types = tuple(f.type for f in answer)
    if not scope.sources:
        return _local(tree, sql, options, answer)
    if any(s.table.partitioned for s in scope.sources):
        prove_pod_local(query.source, scope)
    pods = choose_pods(query.source, scope, catalog, options.pods)
    if query.grouped:
        return plan_aggregate(query, catalog, pods, sql, options, schemas)
    return plan_rows(query, pods, sql, options, schemas)


def _named_as_written(
    text: str, answer: tuple[Field, ...], schemas: dict[str, tuple[Field, ...]]
) -> tuple[Field, ...]:
    """DuckDB names a column without an alias after its text as written, not as regenerated."""
    try:
        written = describe(text, schemas)
    except Error:
        return answer  # a table under another name there, a parameter: the names differ in spelling
    if len(written) != len(answer):
        return answer
    return tuple(Field(w.name, a.type) for w, a in zip(written, answer, strict=True))


def _local(
    tree: exp.Expression, statement: str, options: Options, answer: tuple[Field, ...]
) -> Plan:
    """A SELECT without FROM: no pod is asked."""
    return Plan(
        statement=statement,
        stages=(),
        final=tree.sql(dialect="duckdb", comments=False),
        columns=answer,
        tables=(),
        options=options,
    )


def _schemas(scope: Scope) -> dict[str, tuple[Field, ...]]:
    """The tables as the binder sees them: declared types, and ``_pod`` on federated ones."""
    found = {}
    for source in scope.sources:
        fields = [Field(c.name, c.type) for c in source.table.columns if c.name != POD_COLUMN]
        if source.table.partitioned:
            fields.append(Field(POD_COLUMN, "VARCHAR"))
        found[source.table.name] = tuple(fields)
    return found
