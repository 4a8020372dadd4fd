"""Tell aggregates from other calls, by DuckDB's folded names.

Rule to keep: an aggregate that is a window's own function is not an aggregate of the query.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.agreement import ALIASES
from podsql.planner.functions import AGGREGATES
from podsql.planner.trees import is_query

_CLASSES: Final[dict[type[exp.Expression], str]] = {
    exp.Avg: "avg",
    exp.BitwiseAndAgg: "bit_and",
    exp.BitwiseOrAgg: "bit_or",
    exp.BitwiseXorAgg: "bit_xor",
    exp.Corr: "corr",
    exp.Count: "count",
    exp.CountIf: "count_if",
    exp.CovarPop: "covar_pop",
    exp.CovarSamp: "covar_samp",
    exp.Kurtosis: "kurtosis",
    exp.LogicalAnd: "bool_and",
    exp.LogicalOr: "bool_or",
    exp.Max: "max",
    exp.Min: "min",
    exp.RegrAvgx: "regr_avgx",
    exp.RegrAvgy: "regr_avgy",
    exp.RegrCount: "regr_count",
    exp.RegrIntercept: "regr_intercept",
    exp.RegrR2: "regr_r2",
    exp.RegrSlope: "regr_slope",
    exp.RegrSxx: "regr_sxx",
    exp.RegrSxy: "regr_sxy",
    exp.RegrSyy: "regr_syy",
    exp.Skewness: "skewness",
    exp.Stddev: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.StddevSamp: "stddev_samp",
    exp.Sum: "sum",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One aggregate of the query: name, arguments, DISTINCT, FILTER, and its whole tree."""

    name: str
    arguments: tuple[exp.Expression, ...]
    distinct: bool
    condition: exp.Expression | None
    tree: exp.Expression


def aggregate_name(node: exp.Expr | exp.Expression) -> str | None:
    """The folded name of the aggregate ``node`` calls, or None."""
    name = next((n for kind, n in _CLASSES.items() if type(node) is kind), None)
    if name is None and isinstance(node, exp.Anonymous):
        name = ALIASES.get(str(node.this).lower(), str(node.this).lower())
    elif name is None and isinstance(node, exp.AggFunc):
        name = node.sql(dialect="duckdb").partition("(")[0].lower()
        name = ALIASES.get(name, name)
    return name if name in AGGREGATES else None


def is_window_function(node: exp.Expression) -> bool:
    """True if ``node`` is what an OVER clause stands after (a FILTER may be between)."""
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        node, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is node


def aggregates_in(tree: exp.Expression) -> Iterator[exp.Expression]:
    """The aggregates of ``tree``, outermost only; those of queries within are not its own."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if is_query(node):
            continue
        if aggregate_name(node) is not None and not is_window_function(node):
            yield node
        else:
            pending.extend(node.iter_expressions())


def has_window(tree: exp.Expression) -> bool:
    """True if a window function stands in ``tree``."""
    return tree.find(exp.Window) is not None


def call_of(node: exp.Expression) -> Call:
    """Take an aggregate (perhaps under FILTER) apart."""
    condition = None
    inner = node
    if isinstance(inner, exp.Filter):
        condition = inner.expression.this
        inner = inner.this
    name = aggregate_name(inner)
    if name is None:
        raise error("NOT_SUPPORTED", "FILTER stands after something that is no aggregate")
    if isinstance(inner, exp.Anonymous):
        arguments = list(inner.expressions)
    else:
        arguments = [inner.this, inner.args.get("expression"), *(inner.expressions or ())]
    found = [a for a in arguments if isinstance(a, exp.Expression)]
    if any(isinstance(a, exp.Order) for a in found):
        raise error(
            "NOT_SUPPORTED",
            "ORDER BY inside an aggregate needs rows: pods cannot order those of all",
            hint="order the answer instead",
        )
    distinct = bool(found) and isinstance(found[0], exp.Distinct)
    if distinct:
        found = [*found[0].expressions, *found[1:]]
    if found and isinstance(found[0], exp.Star):
        found = []
    return Call(
        name=name, arguments=tuple(found), distinct=distinct, condition=condition, tree=node
    )
