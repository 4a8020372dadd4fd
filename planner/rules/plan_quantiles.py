"""Quantiles to the bin: each pod says how many rows lie in which public bins, and no value leaves.

A quantile is known to lie between two bin edges; the answer is their middle, with half their
distance as its error bar. Rule to keep: the true quantile of the pooled rows (values beyond the
declared bounds taken as the bound) is never outside the interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import BIN_FIELDS, Binned, Column, Field
from podsql.planner.literals import Lifter
from podsql.planner.plan import NORMAL_95, Block, Options, Plan, Stage, variance
from podsql.planner.rules.find_aggregates import Call, aggregates_in, call_of
from podsql.planner.rules.over_groups import MERGED, is_aggregate, key_columns, over_groups
from podsql.planner.rules.prove_pod_local import require_pod_present
from podsql.planner.rules.resolve_columns import unwrapped
from podsql.planner.rules.settle_drift import group_pods, settle_drift
from podsql.planner.rules.write_final import write_final
from podsql.planner.scope import Query, Scope, column
from podsql.planner.syntax import describe

QUANTILES: Final = ("median", "quantile_cont", "quantile_disc", "approx_quantile")
EDGES: Final = "edges"

Bins = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """One quantile of one binned column. ``share`` is its text, 0 to 1."""

    column: exp.Column
    bins: Bins
    share: str
    discrete: bool

    @property
    def ranks(self) -> tuple[str, str]:
        """First and last of the (0-based) rows it lies between, of ``total`` rows."""
        if self.discrete:
            rank = f"greatest(ceil({self.share}::DOUBLE * total) - 1, 0)"
            return rank, rank
        place = f"{self.share}::DOUBLE * (total - 1)"
        return f"floor({place})", f"ceil({place})"


@dataclass(slots=True, kw_only=True)
class Quantiles:
    """The quantiles of one statement, by column."""

    scope: Scope
    asked: dict[str, list[Quantile]] = field(default_factory=dict)

    def add(self, quantile: Quantile) -> tuple[int, int]:
        """Place of its column, and its own among those of the column."""
        text = _text(quantile.column)
        listed = self.asked.setdefault(text, [])
        if quantile not in listed:
            listed.append(quantile)
        return list(self.asked).index(text), listed.index(quantile)

    def value(self, tree: exp.Expression) -> exp.Expression | None:
        """The column of ``merged`` that holds the quantile ``tree`` asks for; None: it is none."""
        found = quantile_of(tree, self.scope)
        if found is None:
            return None
        at, place = self.add(found)
        return column(MERGED, f"q{at}_{place}")

    def bars(self, query: Query) -> dict[int, str]:
        """Outputs that are one quantile: half the width of its interval."""
        found = {}
        for position, item in enumerate(query.items):
            bare = unwrapped(item.tree)
            quantile = quantile_of(bare, self.scope) if is_aggregate(bare) else None
            if quantile is not None:
                at, place = self.add(quantile)
                kind = query.types[position]
                value = f"CAST(CAST({MERGED}.q{at}_{place} AS {kind}) AS DOUBLE)"
                low, high = (f"{MERGED}.{end}{at}_{place}" for end in ("l", "h"))
                found[position] = f"greatest({high} - {value}, {value} - {low})"
        return found


def quantile_of(tree: exp.Expression, scope: Scope) -> Quantile | None:
    """The quantile ``tree`` asks for, if its column has bins; None otherwise."""
    call = call_of(tree)
    if call.name not in QUANTILES or not call.arguments:
        return None
    argument = unwrapped(call.arguments[0])
    if not isinstance(argument, exp.Column):
        return None
    source = scope.source(argument.table)
    known = source.table.column(argument.name) if source is not None else None
    if known is None or known.bins is None or known.deviations or source is None:
        return None
    if call.condition is not None or call.distinct or source.nullable:
        raise error(
            "NOT_SUPPORTED",
            f"{call.name} to the bin with FILTER, DISTINCT or an outer join's columns",
            hint="filter with WHERE",
        )
    return Quantile(
        column=argument,
        bins=known.bins,
        share=_share(call),
        discrete=call.name == "quantile_disc",
    )


def _share(call: Call) -> str:
    if call.name == "median":
        return "0.5"
    given = call.arguments[1] if len(call.arguments) > 1 else call.tree.args.get("quantile")
    if isinstance(given, exp.Literal) and not given.is_string and 0 <= float(given.name) <= 1:
        return given.name
    raise error("NOT_SUPPORTED", f"{call.name} takes one number from 0 to 1", hint="one call each")


# -- exact counts of joined bins ----------------------------------------------------------------


def binned_stages(
    quantiles: Quantiles,
    query: Query,
    pods: tuple[str, ...],
    key_types: Sequence[str],
    first: int,
) -> list[list[Stage]]:
    """For each binned column the stages that count its bins."""
    if quantiles.asked and query.grouping_sets is not None:
        raise error(
            "NOT_SUPPORTED",
            "quantiles to the bin do not go with GROUPING SETS, ROLLUP or CUBE",
            hint="run one statement a set",
        )
    found: list[list[Stage]] = []
    for listed in quantiles.asked.values():
        read = [query.source, *query.keys, listed[0].column]
        stages: list[Stage] = []
        for names, gaps in group_pods(pods, read, query.scope):
            number = first + sum(map(len, found)) + len(stages)
            rewrite = _settler(query, gaps)
            stages.append(_stage(f"stage{number}", names, rewrite, query, key_types, listed[0]))
        found.append(stages)
    return found


def quantile_ctes(
    quantiles: Quantiles, stages: Sequence[Sequence[Stage]], keys: int, base: str
) -> list[str]:
    """CTEs from the pods' bins to ``merged``: ``base`` with ``q``, ``l``, ``h`` of each quantile."""
    names = [f"k{place}" for place in range(keys)]
    grouped = ", ".join(names)
    ctes, joins, outputs = [], [], [f"{base}.*"]
    for at, (listed, parts) in enumerate(zip(quantiles.asked.values(), stages, strict=True)):
        selected = ", ".join([*names, "low", "high", "n"])
        gathered = " UNION ALL ".join(f"SELECT {selected} FROM {stage.name}" for stage in parts)
        same = f"PARTITION BY {grouped} " if names else ""
        ctes.append(
            f"bins{at} AS (SELECT {', '.join([*names, 'low', 'high'])},"
            f" sum(n) OVER ({same}ORDER BY low) AS below_low,"
            f" sum(n) OVER ({same}ORDER BY high) AS below_high,"
            f" sum(n) OVER ({same}) AS total FROM ({gathered}))"
        )
        ends = []
        for place, quantile in enumerate(listed):
            first, last = quantile.ranks
            ends.append(f"min(low) FILTER (WHERE below_low > {first}) AS low{place}")
            ends.append(f"min(high) FILTER (WHERE below_high > {last}) AS high{place}")
        ending = f" GROUP BY {grouped}" if names else ""
        ctes.append(f"{EDGES}{at} AS (SELECT {', '.join([*names, *ends])} FROM bins{at}{ending})")
        on = " AND ".join(
            f"{base}.{name} IS NOT DISTINCT FROM {EDGES}{at}.{name}" for name in names
        )
        joins.append(f" JOIN {EDGES}{at} ON {on or 'true'}")
        for place, quantile in enumerate(listed):
            outputs += _interval(
                quantile.bins,
                f"{EDGES}{at}.low{place}",
                f"{EDGES}{at}.high{place}",
                f"{at}_{place}",
            )
    ctes.append(f"{MERGED} AS (SELECT {', '.join(outputs)} FROM {base}{''.join(joins)})")
    return ctes


def _interval(bins: Bins, low: str, high: str, name: str) -> list[str]:
    """Lower and upper edge of two bins, and the middle between them."""
    start, end, width = bins
    least = f"({start!r}::DOUBLE + {low} * {width!r}::DOUBLE)"
    most = f"least({start!r}::DOUBLE + ({high} + 1) * {width!r}::DOUBLE, {end!r}::DOUBLE)"
    return [f"{least} AS l{name}", f"{most} AS h{name}", f"({least} + {most}) / 2 AS q{name}"]


# -- noisy counts of every bin --------------------------------------------------------------------


def asks_quantiles(query: Query) -> bool:
    """Whether an aggregate of the statement is a quantile of a binned column."""
    return any(quantile_of(node, query.scope) is not None for node in _aggregates(query))


def plan_noisy_quantiles(
    query: Query,
    pods: tuple[str, ...],
    statement: str,
    options: Options,
    schemas: dict[str, tuple[Field, ...]],
    first: int,
) -> Plan:
    """The plan of quantiles of one column from a noisy count of each bin."""
    require_pod_present([query.source, *query.keys], query.scope)
    quantiles = Quantiles(scope=query.scope)

    def value(tree: exp.Expression) -> exp.Expression:
        found = quantiles.value(tree)
        if found is None or len(quantiles.asked) > 1:
            raise error(
                "NOT_SUPPORTED",
                "noisy quantiles are of one column, without other aggregates",
                hint="ask for the others in a statement of their own: each has its price",
            )
        return found

    def over(tree: exp.Expression) -> exp.Expression:
        return over_groups(tree, query.keys, value)

    final = write_final(query, MERGED, over)
    bars = {} if query.distinct else quantiles.bars(query)
    extra = [f"{sql} AS bar{place}" for place, sql in bars.items()]
    noisy = write_final(query, MERGED, over, extra)
    (listed,) = quantiles.asked.values()
    kinds = key_types(query, schemas)
    ((names, _),) = group_pods(pods, [], query.scope)
    settle = _settler(query, frozenset())
    stage = _stage(f"stage{first}", names, settle, query, kinds, listed[0], options)
    ctes = ", ".join(_noisy_ctes(listed, stage.name, len(query.keys)))
    return Plan(
        statement=statement,
        stages=(stage,),
        final=f"WITH {ctes.replace(variance('n'), '0.0')} {final}",
        columns=tuple(Field(n, t) for n, t in zip(query.names, query.types, strict=True)),
        tables=tuple(sorted({table.name for table in query.scope.tables()})),
        options=options,
        bars=tuple(bars),
        noisy_final=f"WITH {ctes} {noisy}",
        blocks=(Block(stages=(stage.name,), group_keys=tuple(f"k{i}" for i in range(len(kinds)))),),
    )


def _noisy_ctes(listed: Sequence[Quantile], stage: str, keys: int) -> list[str]:
    """The first bin up to which enough rows lie, and those it may be by the noise (95 %)."""
    names = [f"k{place}" for place in range(keys)]
    grouped = ", ".join(names)
    same = f"PARTITION BY {grouped} " if names else ""
    ending = f" GROUP BY {grouped}" if names else ""
    added = f"SELECT {', '.join([*names, 'low'])}, sum(n) AS n FROM {stage} GROUP BY ALL"
    ctes = [
        f"bins AS (SELECT *, sum(n) OVER ({same}ORDER BY low) AS below,"
        f" sum(n) OVER ({same}) AS total, count(*) OVER ({same}) AS many FROM ({added}))"
    ]
    ends, outputs = [], list(names)
    bound = "coalesce({0}, {1})"
    for place, quantile in enumerate(listed):
        q = f"{quantile.share}::DOUBLE"
        # Of the bins below and those above, as the total is noisy too.
        spread = (
            f"{NORMAL_95!r} * sqrt({variance('n')} * ((low + 1) * (1 - {q}) * (1 - {q})"
            f" + (many - low - 1) * {q} * {q}))"
        )
        last = "max(low)"
        for name, condition in (
            ("mid", f"below >= {q} * total"),
            ("low", f"below + {spread} >= {q} * total"),
            ("high", f"below - {spread} >= {q} * total"),
        ):
            chosen = f"min(low) FILTER (WHERE {condition})"
            ends.append(f"{bound.format(chosen, last)} AS {name}{place}")
        start, _, width = quantile.bins
        edges = _interval(quantile.bins, f"low{place}", f"high{place}", f"0_{place}")
        middle = f"{start!r}::DOUBLE + (mid{place} + 0.5) * {width!r}::DOUBLE AS q0_{place}"
        outputs += [*edges[:2], middle]
    ctes.append(f"{EDGES} AS (SELECT {', '.join([*names, *ends])} FROM bins{ending})")
    ctes.append(f"{MERGED} AS (SELECT {', '.join(outputs)} FROM {EDGES})")
    return ctes


def key_types(query: Query, schemas: dict[str, tuple[Field, ...]]) -> list[str]:
    """DuckDB's types of the group keys."""
    if not query.keys:
        return []
    probe = query.source.copy()
    probe.set("expressions", [key.copy() for key in query.keys])
    return [found.type for found in describe(_text(probe), schemas)]


def _stage(
    name: str,
    pods: tuple[str, ...],
    settle: Callable[[exp.Expression], exp.Expression],
    query: Query,
    kinds: Sequence[str],
    quantile: Quantile,
    noise: Options | None = None,
) -> Stage:
    lifter = Lifter()
    keys = key_columns(query.keys, kinds, lambda key: lifter.text(settle(key)))
    source = lifter.text(settle(query.source)).removeprefix("SELECT NULL ")
    binned = Column("bin", _text(quantile.column), "BIGINT", "distinct")
    fragment = Binned(
        source=source,
        keys=keys,
        column=binned,
        noisy=noise is not None,
        epsilon=noise.epsilon if noise else "",
        delta=noise.delta if noise else "",
        fresh=noise is not None and noise.fresh,
        literals=lifter.literals,
    )
    fields = (*(Field(one.name, one.type) for one in keys), *BIN_FIELDS)
    return Stage(
        name=name,
        pods=pods,
        fragment=fragment,
        fields=fields,
        merge="counts of bins are added; a quantile lies between two of their edges",
    )


def _settler(
    query: Query, gaps: frozenset[tuple[str, str]]
) -> Callable[[exp.Expression], exp.Expression]:
    return lambda tree: settle_drift(tree, query.scope, gaps)


def _aggregates(query: Query) -> list[exp.Expression]:
    trees = [item.tree for item in query.items]
    trees += [tree for tree in (query.having, query.qualify) if tree is not None]
    trees += [sort.tree for sort in query.order]
    return [node for tree in trees for node in aggregates_in(tree)]


def _text(tree: exp.Expression) -> str:
    return tree.sql(dialect="duckdb", comments=False)
