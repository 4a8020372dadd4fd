"""What kind of statistic a statement asks for, in the classes that output checkers use.

Read from the text alone. Rule to keep: what is not recognised is said to be unknown, never safe.
"""

from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from podsql.errors import Error
from podsql.planner.closing import split_options

CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "frequencies (counts)": ("count", "count_if", "countif", "approx_count_distinct"),
    "magnitudes (sums, means)": ("sum", "avg", "mean", "fsum"),
    "position (quantiles)": ("median", "quantile", "quantile_cont", "quantile_disc", "percentile_cont", "percentile_disc"),
    "extremes (smallest, largest)": ("min", "max", "arg_min", "arg_max"),
    "shape (spread)": (
        "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop", "skewness",
        "kurtosis",
    ),
    "relation (correlation, regression)": (
        "corr", "covar_samp", "covar_pop", "regr_slope", "regr_intercept", "regr_r2", "regr_count",
    ),
}  # fmt: skip
_CLASS_OF: Final = {name: kind for kind, names in CLASSES.items() for name in names}
ROWS: Final = "rows"
UNKNOWN: Final = "unknown"


def statbarns(statement: str) -> tuple[str, ...]:
    """Classes of the statement's aggregates; ``rows`` without any; ``unknown`` if it cannot be read."""
    try:
        sql, _ = split_options(statement)
        tree = sqlglot.parse_one(sql, read="duckdb")
    except (Error, SqlglotError, RecursionError, ValueError, TypeError, AttributeError):
        return (UNKNOWN,)
    if not isinstance(tree, exp.Query):
        return (UNKNOWN,)
    names = [_name(node) for node in tree.find_all(exp.AggFunc, exp.Anonymous)]
    found = sorted({_CLASS_OF.get(name, UNKNOWN) for name in names})
    return tuple(found) or (ROWS,)


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower()
    names = type(node).sql_names() if isinstance(node, exp.Func) else ["?"]
    return str(names[0]).lower()
