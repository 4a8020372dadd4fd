"""From statement to plan: parse, bind, prove, split. Plans are cached; nothing here does I/O.

Rule to keep: ``plan`` either returns a plan whose answer is the pooled one, or raises an error
that names the part, the reason and, where one exists, the declaration that is missing.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog
from podsql.planner.explaining import explain_text
from podsql.planner.fragment import Field
from podsql.planner.parameters import bind_parameters
from podsql.planner.plan import Options, Plan
from podsql.planner.rules.bind_derived import bind_derived, is_local, schemas, table_schema
from podsql.planner.rules.bind_tables import bind_tables, qualify_table
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.inline_ctes import inline_ctes
from podsql.planner.rules.plan_aggregate import plan_aggregate
from podsql.planner.rules.plan_noised import plan_noised
from podsql.planner.rules.plan_psi import plan_psi
from podsql.planner.rules.plan_released import plan_over_parts, plan_set_operation, sources_of
from podsql.planner.rules.plan_rows import plan_rows
from podsql.planner.rules.prove_pod_local import prove_pod_local
from podsql.planner.rules.refuse_unlisted import refuse_unlisted
from podsql.planner.rules.resolve_columns import expand_stars
from podsql.planner.rules.resolve_query import resolve_query
from podsql.planner.scope import Scope
from podsql.planner.statements import Summarize, classify, split_options
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
    command = classify(sql)
    if isinstance(command, Summarize):
        raise error("STATEMENT", "SUMMARIZE is no SELECT", hint="it stands alone: SUMMARIZE visits")
    text, options = split_options(command.sql)
    tree = parse(text)
    refuse_unlisted(serialised(text))
    tree = bind_parameters(tree, parameters)
    inline_ctes(tree)
    part = _Part(catalog=catalog, options=options, statement=sql).plan(tree)
    schemas = {
        name: table_schema(catalog.tables[name]) for name in part.tables if name in catalog.tables
    }
    return replace(part, columns=_named_as_written(text, part.columns, schemas))


@dataclass(slots=True, kw_only=True)
class _Part:
    """One statement on its way through the rules, part by part."""

    catalog: Catalog
    options: Options
    statement: str
    stages: int = 0

    def plan(self, tree: exp.Expression) -> Plan:
        """The plan of a SELECT or a set operation; its columns as DuckDB names and types them."""
        if isinstance(tree, exp.Subquery):
            if any(value for name, value in tree.args.items() if name not in ("this", "alias")):
                raise error(
                    "NOT_SUPPORTED", "ORDER BY or LIMIT after brackets", hint="write it inside"
                )
            return self.plan(tree.this)
        if isinstance(tree, exp.SetOperation):
            return self._whole(tree, plan_set_operation(tree.copy(), self.plan))
        if not isinstance(tree, exp.Select):
            raise error("NOT_SUPPORTED", "a statement must be one plain SELECT")
        derived = [isinstance(holder.this, exp.Subquery) for holder in sources_of(tree)]
        local = [is_local(holder.this, self.catalog) for holder in sources_of(tree)]
        if any(derived) and all(derived) and not any(local):
            return self._whole(tree, plan_over_parts(tree.copy(), self.plan))
        return self._base(tree)

    def _base(self, tree: exp.Select) -> Plan:
        """A SELECT over tables, and derived ones that each pod makes of its own rows."""
        catalog = self.catalog
        scope = bind_tables(tree, catalog, lambda node: bind_derived(node, catalog))
        expand_stars(tree, scope)
        query = resolve_query(tree, scope)
        found = schemas(scope)
        answer = describe(tree.sql(dialect="duckdb", comments=False), found)
        query.names = tuple(f.name for f in answer)
        query.types = tuple(f.type for f in answer)
        if not scope.sources:
            return _local(tree, self.statement, self.options, answer)
        first = self.stages + 1
        noised = self._noised(scope)
        crossing = None if noised else plan_psi(query, catalog, self.options, self.statement, first)
        if crossing is not None:
            self.stages += len(crossing.stages)
            return crossing
        if any(s.table.partitioned for s in scope.sources):
            prove_pod_local(query.source, scope)
        pods = choose_pods(query.source, scope, catalog, self.options.pods)
        if noised:
            if not query.grouped:
                raise error(
                    "NOT_SUPPORTED",
                    "rows cannot be released with noise",
                    hint="ask for counts, sums or averages",
                )
            made = plan_noised(query, pods, self.statement, self.options, found, first)
        elif query.grouped:
            made = plan_aggregate(query, catalog, pods, self.statement, self.options, found, first)
        else:
            made = plan_rows(query, pods, self.statement, self.options, found, first)
        self.stages += len(made.stages)
        return made

    def _noised(self, scope: Scope) -> bool:
        """Whether the statement asks for noise, or a pod gives nothing else."""
        protected = [table for table in scope.tables() if table.partitioned]
        if not protected:
            return False
        return self.options.privacy == "dp" or any("dp" in table.releases for table in protected)

    def _whole(self, tree: exp.Expression, part: Plan) -> Plan:
        """With the names and types that one DuckDB gives the answer."""
        tables = {name: table_schema(self.catalog.tables[name]) for name in part.tables}
        bound = tree.copy()
        for node in bound.find_all(exp.Table):
            if isinstance(node.this, exp.Identifier):
                qualify_table(node, self.catalog)
        columns = describe(bound.sql(dialect="duckdb", comments=False), tables)
        return replace(part, columns=columns, statement=self.statement, options=self.options)


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
