"""Plan a count of different keys that several pods may hold, by private set intersection.

Two shapes can be answered exactly: ``count(DISTINCT key)`` over one federated table (with what is
local to it), and ``count(DISTINCT a.key)`` of the inner join of tables of different named pods on
that key. Rule to keep: where nothing crosses pods, or a custodian does not allow it, this plans
nothing, and the ordinary rules plan or refuse.
"""

from collections.abc import Sequence

from sqlglot import exp

from podsql.errors import Error, error
from podsql.planner.catalog import Catalog
from podsql.planner.fragment import PSI_FIELDS, Column, Field, Psi, PsiPart
from podsql.planner.literals import Lifter
from podsql.planner.plan import Block, Options, Plan, Stage
from podsql.planner.rules.bind_tables import kind_of
from podsql.planner.rules.choose_pods import choose_pods
from podsql.planner.rules.find_aggregates import aggregates_in, call_of
from podsql.planner.rules.over_groups import MERGED, over_groups
from podsql.planner.rules.prove_pod_local import conjuncts, prove_pod_local
from podsql.planner.rules.resolve_columns import unwrapped
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.write_final import write_final
from podsql.planner.scope import Query, Scope, Source, column, columns_of
from podsql.planner.wire_types import key_kind


def plan_psi(
    query: Query, catalog: Catalog, options: Options, statement: str, first: int
) -> Plan | None:
    """The plan, or None: the statement is another rule's."""
    sources = query.scope.sources
    if not query.grouped or not all(s.table.psi_count for s in sources if _held(s)):
        return None
    pods_named = {source.pod for source in sources} - {None}
    if len(pods_named) == len(sources) > 1 and all(map(_held, sources)):
        lifter = Lifter()
        parts = _overlapping(query, lifter)
        fragment = Psi("overlap", parts, literals=lifter.literals)
        return _plan(query, fragment, options, statement, first)
    key = _counted_key(query)
    if key is None:
        return None
    prove_pod_local(query.source, query.scope)
    pods = choose_pods(query.source, query.scope, catalog, options.pods)
    if len(pods) < 2:
        return None
    lifter = Lifter()
    united = _united(query, key, pods, lifter)
    return _plan(query, Psi("union", united, literals=lifter.literals), options, statement, first)


def _held(source: Source) -> bool:
    return source.inner is None and source.table.partitioned


def _counted_key(query: Query) -> exp.Column | None:
    """The column of ``count(DISTINCT column)``, if that is the one aggregate of a statement without
    groups, and its values may occur in two pods."""
    if query.keys or query.grouping_sets is not None or query.qualify is not None:
        return None
    clauses = [*(item.tree for item in query.items), *(sort.tree for sort in query.order)]
    if query.having is not None:
        clauses.append(query.having)
    calls = [node for tree in clauses for node in aggregates_in(tree)]
    if not calls or any(one != calls[0] or isinstance(one.parent, exp.Filter) for one in calls):
        return None
    call = call_of(calls[0])
    if call.name != "count" or not call.distinct or len(call.arguments) != 1:
        return None
    key = unwrapped(call.arguments[0])
    source = query.scope.source(key.table) if isinstance(key, exp.Column) else None
    if source is None or not isinstance(key, exp.Column) or source.nullable or not _held(source):
        return None
    found = source.table.column(key.name)
    if found is None or found.name.lower() in source.table.local_keys:
        return None
    kind = key_kind(found.type)
    alike = all(key_kind(own) == kind for _, own in found.deviations)
    return key if kind is not None and alike else None


def _united(
    query: Query, key: exp.Column, pods: tuple[str, ...], lifter: Lifter
) -> tuple[PsiPart, ...]:
    """What each pod brings; pods that lack a column that is read have a text of their own."""
    return tuple(
        PsiPart(
            names,
            lifter.text(settle_drift(query.source, query.scope, gaps)).removeprefix("SELECT NULL "),
            _key_column(settle_drift(key, query.scope, gaps), key, query.scope, lifter),
        )
        for names, gaps in group_pods(pods, [query.source, key], query.scope)
    )


# -- tables of named pods -------------------------------------------------------------------------


def _overlapping(query: Query, lifter: Lifter) -> tuple[PsiPart, ...]:
    """What each of the named pods brings: its own table under its own conditions."""
    scope = query.scope
    key = _counted_key(query)
    if key is None:
        raise _refused(
            "only keys that occur in several pods can be counted over a join of named pods",
            f"count(DISTINCT {scope.sources[0].alias}.key), on the column that joins them",
        )
    own = _conditions(query)
    linked = _linked(key, own.pop(None, []), scope)
    return tuple(
        _side(source, linked[source.alias], own, scope, lifter) for source in scope.sources
    )


def _conditions(query: Query) -> dict[str | None, list[exp.Expression]]:
    """The statement's conditions by the one table they are about; None: about several."""
    terms: list[exp.Expression] = []
    for number, join in enumerate(query.source.args.get("joins") or ()):
        if kind_of(join) not in ("inner", "cross"):
            raise _refused("an outer, semi or anti join of named pods", "join them with JOIN … ON")
        on = join.args.get("on") or query.scope.conditions.get(number)
        terms += [] if on is None else conjuncts(on)
    where = query.source.args.get("where")
    terms += [] if where is None else conjuncts(where.this)
    found: dict[str | None, list[exp.Expression]] = {}
    for term in terms:
        tables = {one.table for one in columns_of(term)}
        found.setdefault(tables.pop() if len(tables) == 1 else None, []).append(term)
    return found


def _linked(
    key: exp.Column, terms: Sequence[exp.Expression], scope: Scope
) -> dict[str, exp.Column]:
    """Each table's column that equals ``key``; every term must be such an equality."""
    found = {key.table: key}
    pending = list(terms)
    while pending:
        sides = next((pair for term in pending if (pair := _tie(term, found)) is not None), None)
        if sides is None:
            break
        term, other = sides
        pending.remove(term)
        found[other.table] = other
    if pending or len(found) < len(scope.sources):
        raise _refused(
            "tables of several pods meet on one key alone",
            "join each on equality with the counted column, and on nothing else",
        )
    kinds = {_kind(column, scope) for column in found.values()}
    if len(kinds) > 1:
        raise _refused("keys of different types are compared", "cast one where it is stored")
    return found


def _tie(
    term: exp.Expression, found: dict[str, exp.Column]
) -> tuple[exp.Expression, exp.Column] | None:
    """A term that equates a known column with one of a table that has none yet, and that column."""
    if not isinstance(term, exp.EQ):
        return None
    for one, other in ((term.this, term.expression), (term.expression, term.this)):
        if not isinstance(one, exp.Column) or not isinstance(other, exp.Column):
            return None
        if found.get(one.table) == one and other.table not in found:
            return term, other
    return None


def _kind(key: exp.Column, scope: Scope) -> str | None:
    source = scope.source(key.table)
    found = None if source is None else source.table.column(key.name)
    return None if found is None else key_kind(found.type)


def _side(
    source: Source,
    key: exp.Column,
    own: dict[str | None, list[exp.Expression]],
    scope: Scope,
    lifter: Lifter,
) -> PsiPart:
    assert source.pod is not None
    schema, name = source.table.name.split(".", 1)
    table = exp.Table(
        this=exp.to_identifier(name, quoted=True),
        db=exp.to_identifier(schema, quoted=True),
        alias=exp.TableAlias(this=exp.to_identifier(source.alias, quoted=True)),
    )
    select = exp.Select(expressions=[exp.Null()]).from_(table)
    for term in own.get(source.alias, ()):
        select = select.where(term.copy())
    ((_, gaps),) = group_pods((source.pod,), [select, key], scope)
    return PsiPart(
        (source.pod,),
        lifter.text(settle_drift(select, scope, gaps)).removeprefix("SELECT NULL "),
        _key_column(settle_drift(key, scope, gaps), key, scope, lifter),
    )


# -- both -----------------------------------------------------------------------------------------


def _key_column(written: exp.Expression, key: exp.Column, scope: Scope, lifter: Lifter) -> Column:
    source = scope.source(key.table)
    found = None if source is None else source.table.column(key.name)
    assert found is not None
    return Column("key", lifter.text(written), found.type, "additive")


def _plan(query: Query, fragment: Psi, options: Options, statement: str, first: int) -> Plan:
    name = f"stage{first}"
    merged = f"SELECT sum(n) AS a0 FROM {name}"
    stage = Stage(name=name, pods=fragment.pods, fragment=fragment, fields=PSI_FIELDS, merge=merged)
    final = write_final(
        query, MERGED, lambda tree: over_groups(tree, (), lambda _: column(MERGED, "a0"))
    )
    return Plan(
        statement=statement,
        stages=(stage,),
        final=f"WITH {MERGED} AS ({merged}) {final}",
        columns=tuple(Field(n, t) for n, t in zip(query.names, query.types, strict=True)),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        options=options,
        blocks=(Block(stages=(name,)),),
    )


def _refused(what: str, hint: str) -> Error:
    return error("NOT_LOCAL", what, hint=hint)
