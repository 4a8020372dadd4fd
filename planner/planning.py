"""From statement to plan: parse, bind, prove, split. Plans are cached; nothing here does I/O.

Rule to keep: ``plan`` either returns a plan whose answer is the pooled one, or raises an error
that names the part, the reason and, where one exists, the declaration that is missing.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.closing import split_options
from podsql.planner.explaining import explain_text
from podsql.planner.fragment import Field
from podsql.planner.functions import ORDERED
from podsql.planner.parameters import bind_parameters
from podsql.planner.plan import Options, Plan, with_relations
from podsql.planner.rules.bind_derived import (
    bind_derived,
    require_apart,
    schemas,
    table_schema,
)
from podsql.planner.rules.bind_tables import bind_tables, find_table, qualify_table
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.find_aggregates import aggregate_name, aggregates_in
from podsql.planner.rules.inline_ctes import inline_ctes
from podsql.planner.rules.mask_stage import mask_plan, require_maskable
from podsql.planner.rules.merge_totals import by_total, judged_together
from podsql.planner.rules.narrow_sources import narrow_derived
from podsql.planner.rules.plan_aggregate import plan_aggregate
from podsql.planner.rules.plan_at_analyst import UNBOUND, plan_at_analyst
from podsql.planner.rules.plan_joined_groups import plan_joined_groups
from podsql.planner.rules.plan_noised import plan_noised
from podsql.planner.rules.plan_psi import plan_psi
from podsql.planner.rules.plan_rows import plan_rows
from podsql.planner.rules.plan_set_operation import plan_set_operation
from podsql.planner.rules.prove_pod_local import prove_pod_local
from podsql.planner.rules.refuse_unlisted import refuse_unlisted
from podsql.planner.rules.release_scalars import Scalars
from podsql.planner.rules.resolve_columns import expand_stars
from podsql.planner.rules.resolve_query import resolve_query
from podsql.planner.rules.share_stages import share_stages
from podsql.planner.rules.write_as_joins import write_as_joins
from podsql.planner.scope import POD_COLUMN
from podsql.planner.statements import Explain, ExplainPolicy, Query, classify
from podsql.planner.syntax import describe, parse, serialised

_CACHED: Final = 256
_TRY_ANOTHER: Final = frozenset({"NOT_SUPPORTED", "NOT_EXACT", "NOT_LOCAL", "DENIED", "BINDING"})
"""Refusals of one way to plan a SELECT after which another is tried."""
_cache: "OrderedDict[tuple[object, ...], Plan]" = OrderedDict()
_cache_lock = threading.Lock()


def plan(
    sql: str, catalog: Catalog, parameters: Sequence[object] = (), *, meets: bool = True
) -> Plan:
    """The plan of one SELECT (an EXPLAIN before it is ignored) over the catalog.

    ``meets``: pods may be asked to join public tables that the statement joins elsewhere, so that
    less travels. Without, the plan asks for no join that a policy could deny on top of its own.
    """
    key = (sql, catalog.version, tuple((type(p).__name__, repr(p)) for p in parameters), meets)
    with _cache_lock:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
            return known
    found = _plan(sql, catalog, parameters, meets)
    with _cache_lock:
        _cache[key] = found
        if len(_cache) > _CACHED:
            _cache.popitem(last=False)
    return found


def explain(plan: Plan, catalog: Catalog) -> str:
    """The plan as stable text: stages, pods, what leaves each pod, the merge, the final step."""
    return explain_text(plan, catalog)


def _plan(sql: str, catalog: Catalog, parameters: Sequence[object], meets: bool) -> Plan:
    command = classify(sql)
    if not isinstance(command, Query | Explain | ExplainPolicy):
        raise error("STATEMENT", "only a SELECT has a plan", hint="send this statement by itself")
    text, options = split_options(command.sql)
    tree = parse(text)
    refuse_unlisted(serialised(text))
    tagged = _names_pod(tree)
    tree = bind_parameters(tree, parameters)
    inline_ctes(tree)
    met = write_as_joins(tree, catalog, meets=meets)
    ordered = any(aggregate_name(node) in ORDERED for node in tree.find_all(exp.Func))
    part = _Part(
        catalog=catalog, options=options, statement=sql, ordered=ordered, meets=meets
    ).plan(tree)
    if met:
        part = replace(part, stages=tuple(replace(stage, met=True) for stage in part.stages))
    found = _schemas(catalog, part.tables, tagged=tagged)
    return share_stages(replace(part, columns=_named_as_written(text, part.columns, found)))


@dataclass(slots=True, kw_only=True)
class _Part:
    """One statement on its way through the rules, part by part."""

    catalog: Catalog
    options: Options
    statement: str
    meets: bool
    stages: int = 0
    depth: int = 0
    ordered: bool = False
    """The answer depends on the order of rows, which counted groups have none of."""

    def plan(self, tree: exp.Expression) -> Plan:
        """The plan of a SELECT or a set operation; its columns as DuckDB names and types them."""
        if isinstance(tree, exp.Subquery):
            if any(value for name, value in tree.args.items() if name not in ("this", "alias")):
                raise error(
                    "NOT_SUPPORTED", "ORDER BY or LIMIT after brackets", hint="write it inside"
                )
            return self.plan(tree.this)
        if self.options.masking is not None:
            return self._masked(tree)
        if isinstance(tree, exp.SetOperation):
            return self._whole(tree, plan_set_operation(tree.copy(), self.plan))
        if not isinstance(tree, exp.Select):
            raise error("NOT_SUPPORTED", "a statement must be one plain SELECT")
        ways = (self._by_pods, self._joined_groups, self._at_analyst)
        kept = self.stages
        refusals: list[Error] = []
        for way in ways:
            try:
                made = way(tree.copy())
                return replace(made, instead=(*made.instead, *map(_reason, refusals[:1])))
            except Error as refusal:
                if refusal.code not in _TRY_ANOTHER:
                    raise
                refusals.append(refusal)
                self.stages = kept
        first, last = refusals[0], refusals[-1]
        raise last if last.code in UNBOUND and first.code not in UNBOUND else first

    def _masked(self, tree: exp.Expression) -> Plan:
        """One grouped SELECT whose figures the pods add under masks; nothing else may leave."""
        if not isinstance(tree, exp.Select):
            raise error(
                "NOT_SUPPORTED",
                "a statement under masks must be one plain SELECT",
                hint="run one statement each, or leave secure_aggregation out",
            )
        return self._base(tree)

    def _by_pods(self, tree: exp.Select) -> Plan:
        """Every pod runs the SELECT over its own rows, with values that are released before."""
        scalars = Scalars(catalog=self.catalog, plan_part=self.plan)
        scalars.release(tree)
        return scalars.attach(self._base(tree))

    def _joined_groups(self, tree: exp.Select) -> Plan:
        if self._has_noise(tree):
            raise error("NOT_SUPPORTED", "groups with noise cannot be joined and added up")
        made = plan_joined_groups(
            tree,
            self.catalog,
            plan_part=self.plan,
            plan_table=self._by_pods,
            fits=self._fits,
            meets=self.meets,
        )
        return self._whole(tree, made)

    def _fits(self, tree: exp.Select) -> bool:
        """Whether every pod can run ``tree`` over its own rows."""
        copy = tree.copy()
        try:
            scope = bind_tables(copy, self.catalog, lambda node: bind_derived(node, self.catalog))
            require_apart(scope)
            query = resolve_query(copy, scope)
            if any(source.table.partitioned for source in scope.sources):
                prove_pod_local(query.source, scope)
                choose_pods(query.source, scope, self.catalog, self.options.pods)
        except Error:
            return False
        return True

    def _at_analyst(self, tree: exp.Select) -> Plan:
        self.depth += 1
        grouped = self.depth > 1 or _is_aggregated(tree)
        counted = grouped and not self.ordered and not self._has_noise(tree)
        try:
            made = plan_at_analyst(
                tree,
                self.catalog,
                plan_part=self.plan,
                plan_table=self._by_pods,
                counted=counted,
                meets=self.meets,
            )
        finally:
            self.depth -= 1
        return self._whole(tree, made)

    def _base(self, tree: exp.Select) -> Plan:
        """A SELECT over tables, and derived ones that each pod makes of its own rows."""
        catalog = self.catalog
        public = self._is_public(tree)
        met = public and self.meets and narrow_derived(tree, catalog)
        scope = bind_tables(tree, catalog, lambda node: bind_derived(node, catalog))
        require_apart(scope)
        if public and any(source.inner is not None for source in scope.sources):
            if not self.meets:
                raise error("NOT_LOCAL", "groups of public tables are joined at the analyst")
            met = True
        expand_stars(tree, scope)
        query = resolve_query(tree, scope)
        found = schemas(scope)
        answer = describe(tree.sql(dialect="duckdb", comments=False), found)
        query.names = tuple(f.name for f in answer)
        query.types = tuple(f.type for f in answer)
        noised = self._noised(scope.tables())
        masked = self.options.masking is not None
        if masked:
            require_maskable(query, noised=noised, names_pod=_names_pod(tree))
        units = 0 if noised else by_total(scope.tables(), masked=masked)
        if not scope.sources:
            return _local(tree, self.statement, self.options, answer)
        first = self.stages + 1
        crossing = None
        if not noised and not masked:
            crossing = plan_psi(query, catalog, self.options, self.statement, first)
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
        if masked:
            made = mask_plan(made, query)
        if units:
            made = judged_together(made, units)
        self.stages += len(made.stages)
        if any(table.partitioned for table in scope.tables()):
            return made
        stages = tuple(replace(one, public=True, met=met) for one in made.stages)
        return replace(made, stages=stages)

    def _is_public(self, tree: exp.Select) -> bool:
        """Whether ``tree`` reads public tables only."""
        return not any(
            find_table(node, self.catalog)[0].partitioned
            for node in tree.find_all(exp.Table)
            if isinstance(node.this, exp.Identifier)
        )

    def _has_noise(self, tree: exp.Select) -> bool:
        """The same of every table that ``tree`` reads, wherever."""
        return self._noised(
            find_table(node, self.catalog)[0]
            for node in tree.find_all(exp.Table)
            if isinstance(node.this, exp.Identifier)
        )

    def _noised(self, tables: Iterable[CatalogTable]) -> bool:
        """Whether the statement asks for noise, or a pod gives nothing else."""
        protected = [table for table in tables if table.partitioned]
        if not protected:
            return False
        return self.options.privacy == "dp" or any("dp" in table.releases for table in protected)

    def _whole(self, tree: exp.Expression, part: Plan) -> Plan:
        """With the names and types that one DuckDB gives the answer."""
        tables = _schemas(self.catalog, part.tables, tagged=_names_pod(tree))
        bound = tree.copy()
        for node in bound.find_all(exp.Table):
            if isinstance(node.this, exp.Identifier):
                qualify_table(node, self.catalog)
        columns = describe(bound.sql(dialect="duckdb", comments=False), tables)
        made = replace(part, columns=columns, statement=self.statement, options=self.options)
        _require_last_step(made)
        return made


def _require_last_step(made: Plan) -> None:
    """The last step must be one that DuckDB accepts, and yield columns of the answer's types."""
    relations = [
        f"{stage.name} AS (SELECT "
        + ", ".join(
            f"CAST(NULL AS {f.type}) AS {exp.to_identifier(f.name, quoted=True).sql('duckdb')}"
            for f in (Field(POD_COLUMN, "VARCHAR"), *stage.fields)
        )
        + ")"
        for stage in made.stages
    ]
    try:
        found = describe(with_relations(relations, made.final), {})
    except Error:
        found = ()
    if [f.type for f in found] != [f.type for f in made.columns]:
        raise error("NOT_SUPPORTED", "the statement cannot be finished over what the pods release")


def _names_pod(tree: exp.Expression) -> bool:
    return any(node.name.lower() == POD_COLUMN for node in tree.find_all(exp.Column))


def _schemas(
    catalog: Catalog, tables: Sequence[str], *, tagged: bool
) -> dict[str, tuple[Field, ...]]:
    """What the tables hold; with ``_pod`` only if it is named, as a star does not stand for it."""
    found = {name: table_schema(catalog.tables[name]) for name in tables if name in catalog.tables}
    if tagged:
        return found
    return {
        name: tuple(one for one in fields if one.name.lower() != POD_COLUMN)
        for name, fields in found.items()
    }


def _reason(refusal: Error) -> str:
    return f"{refusal.message}: {refusal.hint}" if refusal.hint else refusal.message


def _is_aggregated(select: exp.Select) -> bool:
    """Whether the answer is of groups, not of single rows."""
    return (
        select.args.get("group") is not None
        or select.args.get("distinct") is not None
        or any(any(aggregates_in(item)) for item in select.expressions)
    )


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
