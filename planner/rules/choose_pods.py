"""Which pods a statement needs: those that hold its tables, narrowed by what it says of ``_pod``."""

from sqlglot import exp

from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.rules.bind_tables import kind_of
from podsql.planner.rules.prove_pod_local import conjuncts
from podsql.planner.scope import POD_COLUMN, Scope, Source
from podsql.planner.syntax import nearest


def choose_pods(
    source: exp.Select, scope: Scope, catalog: Catalog, asked: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Pod names in order; one pod if only reference tables are read. May be empty."""
    partitioned = [s for s in scope.sources if s.table.partitioned]
    replicated = [s for s in scope.sources if not s.table.partitioned]
    held = _holders(source, scope, partitioned) if partitioned else set(catalog.pods)
    _require_known(asked, catalog)
    chosen = held if asked is None else held & set(asked)
    for one in scope.sources:
        if one.pod is not None:
            chosen &= {one.pod}
    where = source.args.get("where")
    if where is not None:
        for term in conjuncts(where.this):
            named = _named_pods(term, scope)
            if named is not None:
                chosen &= named
    for one in replicated:
        lacking = sorted(chosen - set(one.table.pods))
        if not partitioned:
            chosen &= set(one.table.pods)
        elif lacking:
            raise error(
                "NOT_LOCAL",
                f"reference table {one.table.name!r} is missing in pod {lacking[0]!r}",
                hint=f"narrow the statement with WITH (pods = …): it is in {', '.join(one.table.pods)}",
            )
    if not partitioned:
        if not chosen:
            raise error("NO_PODS", "no pod offers all reference tables of the statement")
        return (min(chosen),)
    return tuple(sorted(chosen))


def _holders(source: exp.Select, scope: Scope, partitioned: list[Source]) -> set[str]:
    sets = [set(s.table.pods) for s in partitioned]
    held = set.intersection(*sets)
    joins = source.args.get("joins") or ()
    inner = all(kind_of(join) in ("inner", "cross") for join in joins)
    narrowed = any(s.pod is not None for s in partitioned)
    if len(partitioned) > 1 and not inner and (any(s != held for s in sets) or narrowed):
        raise error(
            "NOT_LOCAL",
            "an outer join of federated tables that are not offered by the same pods",
            hint="narrow the statement with WITH (pods = …)",
        )
    if len({s.pod for s in partitioned if s.pod is not None}) > 1:
        raise error("NOT_LOCAL", "a join of tables of two pods", hint="rows of two pods never meet")
    return held


def _require_known(asked: tuple[str, ...] | None, catalog: Catalog) -> None:
    for pod in asked or ():
        if pod not in catalog.pods:
            raise error("NO_PODS", f"no pod {pod!r}", hint=nearest(pod, catalog.pods))


def _named_pods(term: exp.Expression, scope: Scope) -> set[str] | None:
    """The pods for which ``term`` can hold, if it compares ``_pod`` with literals."""
    if isinstance(term, exp.EQ):
        sides = [term.this, term.expression]
        if not _is_pod(sides[0], scope):
            sides.reverse()
        values = [sides[1]]
        subject = sides[0]
    elif isinstance(term, exp.In) and not term.args.get("query"):
        subject, values = term.this, term.expressions
    else:
        return None
    strings = [v.this for v in values if isinstance(v, exp.Literal) and v.is_string]
    if not _is_pod(subject, scope) or len(strings) != len(values):
        return None
    return set(strings)


def _is_pod(node: exp.Expression, scope: Scope) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.name == POD_COLUMN
        and bool((source := scope.source(node.table)) and source.table.partitioned)
    )
