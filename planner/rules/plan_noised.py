"""Plan a grouped statement whose partials the pods release with noise (differential privacy).

Only counts and sums leave, so that each pod can bound what one unit adds; averages, variances and
the rest are computed of the noisy ones at the analyst, and never of a true count. Each output that
is one aggregate gets an error bar by the delta method. Rule to keep: HAVING, ORDER BY, LIMIT and
windows act on noisy values, which costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import Column, Field, Noised
from podsql.planner.literals import Lifter
from podsql.planner.plan import NORMAL_95, Block, Options, Plan, Stage, variance
from podsql.planner.rules.find_aggregates import Call, aggregates_in, call_of
from podsql.planner.rules.over_groups import MERGED, is_aggregate, key_columns, over_groups
from podsql.planner.rules.plan_quantiles import asks_quantiles, key_types, plan_noisy_quantiles
from podsql.planner.rules.prove_pod_local import require_pod_present
from podsql.planner.rules.resolve_columns import unwrapped
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.write_final import write_final
from podsql.planner.scope import Query

SPREADS = {"var_pop": 0, "var_samp": 1, "stddev_pop": 0, "stddev_samp": 1}


@dataclass(slots=True, kw_only=True)
class _Sums:
    """Partial counts and sums by text; ``values``: each aggregate over them, with its variance."""

    keys: tuple[exp.Expression, ...]
    partials: dict[str, Column] = field(default_factory=dict)
    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    text: Callable[[exp.Expression], str]

    def add(self, sql: str, condition: exp.Expression | None, kind: str) -> str:
        """The name of a partial."""
        if condition is not None:
            sql += f" FILTER (WHERE {self.text(condition)})"
        if sql not in self.partials:
            name = f"p{len(self.partials)}"
            self.partials[sql] = Column(name, sql, kind, "noised")
        return self.partials[sql].name


def plan_noised(
    query: Query,
    pods: tuple[str, ...],
    statement: str,
    options: Options,
    schemas: dict[str, tuple[Field, ...]],
    first: int,
) -> Plan:
    """The plan of a grouped SELECT with noise; NOT_SUPPORTED where a pod could not bound a unit."""
    if query.grouping_sets is not None:
        raise _refused("GROUPING SETS, ROLLUP and CUBE", "run one statement a set")
    if asks_quantiles(query):
        return plan_noisy_quantiles(query, pods, statement, options, schemas, first)
    lifter = Lifter()
    if any(column.deviations for table in query.scope.tables() for column in table.columns):
        raise _refused("a table whose columns differ between pods", "declare one schema")

    def text(tree: exp.Expression) -> str:
        return lifter.text(settle_drift(tree, query.scope, frozenset()))

    require_pod_present([query.source, *query.keys], query.scope)
    sums = _Sums(keys=query.keys, text=text)
    bars = {} if query.distinct else _bars(query, sums)
    final = write_final(query, MERGED, lambda tree: _over(tree, sums))
    noisy = write_final(
        query,
        MERGED,
        lambda tree: _over(tree, sums),
        [f"{NORMAL_95!r} * sqrt({sql}) AS bar{place}" for place, sql in bars.items()],
    )
    if not sums.partials:
        sums.add("count(*)", None, "BIGINT")
    kinds = key_types(query, schemas)
    source = text(query.source).removeprefix("SELECT NULL ")
    keys = key_columns(query.keys, kinds, text)
    columns = tuple(sums.partials.values())
    stage = Stage(
        name=f"stage{first}",
        pods=group_pods(pods, [], query.scope)[0][0],
        fragment=Noised(
            source=source,
            keys=keys,
            aggregates=columns,
            epsilon=options.epsilon,
            delta=options.delta,
            fresh=options.fresh,
            literals=lifter.literals,
        ),
        fields=tuple(Field(one.name, one.type) for one in (*keys, *columns)),
        merge="noisy counts and sums are added",
    )
    groups = [one.name for one in keys]
    selected = ", ".join([*groups, *(f"sum({one.name}) AS {one.name}" for one in columns)])
    ending = f" GROUP BY {', '.join(groups)}" if groups else ""
    merged = f"{MERGED} AS (SELECT {selected} FROM {stage.name}{ending})"
    return Plan(
        statement=statement,
        stages=(stage,),
        final=f"WITH {merged} {final}",
        columns=tuple(Field(n, t) for n, t in zip(query.names, query.types, strict=True)),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        options=options,
        bars=tuple(bars),
        noisy_final=f"WITH {merged} {noisy}",
        blocks=(Block(stages=(stage.name,), group_keys=tuple(groups)),),
    )


def _over(tree: exp.Expression, sums: _Sums) -> exp.Expression:
    """``tree`` with keys and aggregates replaced by what the merge has of them."""
    return over_groups(
        tree,
        sums.keys,
        lambda node: exp.maybe_parse(f"({_value(node, sums)[0]})", dialect="duckdb"),
    )


def _value(tree: exp.Expression, sums: _Sums) -> tuple[str, str]:
    """SQL over ``merged`` for an aggregate, and for the variance of its noise."""
    key = tree.sql(dialect="duckdb")
    if key not in sums.values:
        call = call_of(tree)
        if any(any(aggregates_in(argument)) for argument in call.arguments):
            raise error("BINDING", "an aggregate stands inside an aggregate")
        sums.values[key] = _formula(call, sums)
    return sums.values[key]


def _formula(call: Call, sums: _Sums) -> tuple[str, str]:
    """Gaussian noise propagates by first derivatives (delta method)."""
    name, given = call.name, [sums.text(one) for one in call.arguments]
    if name in ("count", "count_if"):
        distinct = "DISTINCT " if call.distinct else ""
        sql = f"{name}({distinct}{', '.join(given) or '*'})"
        n = sums.add(sql, call.condition, "BIGINT")
        return n, variance(n)
    if call.distinct or len(given) != 1:
        raise _refused(f"{name} of distinct or several values", "use count, sum, avg, variance")
    (x,) = given
    if name in ("sum", "fsum", "kahan_sum"):
        s = sums.add(f"sum({x})", call.condition, "DOUBLE")
        return s, variance(s)
    if name not in ("avg", "favg", *SPREADS):
        raise _refused(name, "use count, sum, avg, variance, stddev")
    n = sums.add(f"count({x})", call.condition, "BIGINT")
    s = sums.add(f"sum({x})", call.condition, "DOUBLE")
    known = f"CASE WHEN {n} > 0 THEN "
    mean = f"{s} / {n}"
    if name in ("avg", "favg"):
        return (
            f"{known}{mean} END",
            f"{known}({variance(s)} + {mean} * {mean} * {variance(n)}) / {n} / {n} END",
        )
    squares = x if x.startswith("(") else f"({x})"
    q = sums.add(f"sum({squares} * {squares})", call.condition, "DOUBLE")
    less = SPREADS[name]
    enough = f"CASE WHEN {n} > {less} THEN "
    value = f"greatest(0, {q} / {n} - {mean} * {mean})"
    value += f" * {n} / ({n} - 1)" if less else ""
    spread = (
        f"({variance(q)} + 4 * {mean} * {mean} * {variance(s)}"
        f" + (2 * {mean} * {mean} - {q} / {n}) * (2 * {mean} * {mean} - {q} / {n}) * {variance(n)})"
        f" / {n} / {n}"
    )
    if name.startswith("stddev"):
        root = f"sqrt({value})"
        return f"{enough}{root} END", f"{enough}{spread} / 4 / nullif({value}, 0) END"
    return f"{enough}{value} END", f"{enough}{spread} END"


def _bars(query: Query, sums: _Sums) -> dict[int, str]:
    """Outputs that are one aggregate: the variance of their noise."""
    found = {}
    for place, item in enumerate(query.items):
        bare = unwrapped(item.tree)
        if is_aggregate(bare):
            found[place] = _value(bare, sums)[1]
    return found


def _refused(what: str, hint: str) -> Exception:
    return error("NOT_SUPPORTED", f"{what} cannot be released with noise", hint=hint)
