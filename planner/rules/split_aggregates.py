"""Split each aggregate into partials that a pod computes and a merge over all pods' partials.

Partials are ordinary SQL aggregates with small typed results. Rule to keep: every merge is exact
for zero pods, empty pods and groups that some pods lack, and never re-aggregates a final value.
"""

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.functions import (
    COUNTS,
    HINTS,
    MEANS,
    PAIRS,
    REFUSED,
    SAME,
    SHAPES,
    SPREADS,
    SUMS,
)
from podsql.planner.partials import Partials
from podsql.planner.rules.find_aggregates import Call
from podsql.planner.rules.merge_moments import merge_pair, merge_shape, merge_spread
from podsql.planner.wire_types import INTEGERS


def split_aggregate(
    call: Call,
    partials: Partials,
    *,
    type_of: Callable[[exp.Expression], str],
    answer_type: str,
    disjoint: bool,
) -> str:
    """Register the partials of ``call``; SQL that merges them, of type ``answer_type``.

    ``disjoint``: a DISTINCT argument's values occur in one pod only.
    """
    name = call.name
    if name in REFUSED:
        raise error(
            "NOT_EXACT", f"{name} cannot be merged: {REFUSED[name]}", hint=HINTS.get(name, "")
        )
    if call.distinct and name not in ("min", "max", "bool_and", "bool_or"):
        return _distinct(call, partials, answer_type, disjoint)
    for kinds, rule in _RULES:
        if name in kinds:
            return f"CAST({rule(call, partials, type_of)} AS {answer_type})"
    raise error("NOT_EXACT", f"{name} cannot be merged")


TypeOf = Callable[[exp.Expression], str]


def _distinct(call: Call, partials: Partials, answer_type: str, disjoint: bool) -> str:
    if call.name not in ("count", "sum") or len(call.arguments) != 1:
        raise error("NOT_EXACT", f"{call.name}(DISTINCT …) cannot be merged from the pods' values")
    if not disjoint:
        raise error(
            "NOT_EXACT",
            f"{call.name}(DISTINCT …) counts a value twice that occurs in two pods",
            hint="it is exact on a column that the custodians declare a local key, and alone, without"
            " groups, on a key that all of them let be counted across pods (joins.kinds psi_count)",
        )
    partial = partials.add(
        f"{call.name}(DISTINCT {{0}})", call.arguments, call.condition, answer_type, "additive"
    )
    merged = f"sum({partial})"
    if call.name == "count":
        merged = f"coalesce({merged}, 0)"
    return f"CAST({merged} AS {answer_type})"


def _count(call: Call, partials: Partials, type_of: TypeOf) -> str:
    wanted = {"regr_count": 2, "count_if": 1}.get(call.name)
    if (wanted is not None and len(call.arguments) != wanted) or len(call.arguments) > 2:
        raise error("BINDING", f"{call.name} has the wrong number of arguments")
    if call.name == "count" and len(call.arguments) > 1:
        raise error("NOT_SUPPORTED", "count of several expressions is not supported")
    spelled = (
        "*" if not call.arguments else ", ".join(f"{{{i}}}" for i in range(len(call.arguments)))
    )
    partial = partials.add(
        f"{call.name}({spelled})", call.arguments, call.condition, "BIGINT", "additive"
    )
    if call.name == "count_if":
        return f"sum({partial})"  # DuckDB's count_if is a sum: NULL over no values, not 0
    return f"coalesce(sum({partial}), 0)"


def sum_type(argument: str) -> str:
    """DuckDB's type of ``sum`` over a column of that type."""
    if (argument in INTEGERS and argument != "UHUGEINT") or argument == "BOOLEAN":
        return "HUGEINT"
    if argument.startswith("DECIMAL("):
        return f"DECIMAL(38,{argument.rstrip(')').split(',')[1].strip()})"
    return "DOUBLE"


def _sum(call: Call, partials: Partials, type_of: TypeOf) -> str:
    if call.name == "kahan_sum":
        return f"fsum({partials.add('fsum({0})', call.arguments, call.condition, 'DOUBLE', 'additive')})"
    kind = sum_type(type_of(call.arguments[0]))
    chosen = _chosen(call.arguments[0])
    if chosen is not None:
        return _sum_of_chosen(call, chosen, kind, partials)
    partial = partials.add("sum({0})", call.arguments, call.condition, kind, "additive")
    return f"sum({partial})"


def _chosen(tree: exp.Expression) -> tuple[exp.Expression, exp.Expression] | None:
    """p and x of CASE WHEN p THEN x ELSE 0 END."""
    if not isinstance(tree, exp.Case) or tree.this is not None or len(tree.args["ifs"]) != 1:
        return None
    default = tree.args.get("default")
    if (
        not isinstance(default, exp.Literal)
        or default.is_string
        or default.name not in ("0", "0.0")
    ):
        return None
    (branch,) = tree.args["ifs"]
    if any(one.is_string for one in branch.args["true"].find_all(exp.Literal)):
        return None  # alone it might not be a number
    return branch.this, branch.args["true"]


def _sum_of_chosen(
    call: Call, chosen: tuple[exp.Expression, exp.Expression], kind: str, partials: Partials
) -> str:
    """A sum of those that are chosen, and 0 if there are others: so that both are seen as counts."""
    condition, value = chosen
    within = _both(call.condition, condition)
    others = exp.Not(this=exp.Is(this=exp.paren(condition.copy()), expression=exp.true()))
    rest = partials.add("count(*)", (), _both(call.condition, others), "BIGINT", "additive")
    if isinstance(value, exp.Literal) and value.name == "1":
        number = partials.add("count(*)", (), within, "BIGINT", "additive")
        return f"CASE WHEN sum({rest}) + sum({number}) > 0 THEN sum({number}) END"
    total = partials.add("sum({0})", (value,), within, kind, "additive")
    return f"CASE WHEN sum({rest}) > 0 THEN coalesce(sum({total}), 0) ELSE sum({total}) END"


def _both(one: exp.Expression | None, other: exp.Expression) -> exp.Expression:
    other = exp.Paren(this=other.copy())
    return other if one is None else exp.And(this=exp.Paren(this=one.copy()), expression=other)


_TIME_LIKE: Final = ("DATE", "TIME", "TIMESTAMP", "INTERVAL")


def _mean(call: Call, partials: Partials, type_of: TypeOf) -> str:
    kind = type_of(call.arguments[0])
    if kind.startswith(_TIME_LIKE):
        raise error(
            "NOT_EXACT",
            f"{call.name} of a {kind.split()[0].lower()} is rounded by rules we do not repeat",
            hint="average epoch(column), or a difference in days",
        )
    count = partials.add("count({0})", call.arguments, call.condition, "BIGINT", "additive")
    if call.name == "favg":
        total = partials.add("fsum({0})", call.arguments, call.condition, "DOUBLE", "additive")
        return f"fsum({total}) / nullif(sum({count}), 0)"
    total = partials.add("sum({0})", call.arguments, call.condition, sum_type(kind), "additive")
    return f"CAST(sum({total}) AS DOUBLE) / nullif(sum({count}), 0)"


def _same(call: Call, partials: Partials, type_of: TypeOf) -> str:
    if len(call.arguments) != 1:
        raise error("NOT_EXACT", f"{call.name} of the n first values cannot be merged")
    if call.name == "product":
        return f"product({partials.add('product({0})', call.arguments, call.condition, 'DOUBLE', 'extreme')})"
    kind = type_of(call.arguments[0])
    if call.name in ("bool_and", "bool_or"):
        kind = "BOOLEAN"
    return f"{call.name}({partials.add(f'{call.name}({{0}})', call.arguments, call.condition, kind, 'extreme')})"


def _spread(call: Call, partials: Partials, type_of: TypeOf) -> str:
    return merge_spread(call, partials)


def _shape(call: Call, partials: Partials, type_of: TypeOf) -> str:
    return merge_shape(call, partials)


def _pair(call: Call, partials: Partials, type_of: TypeOf) -> str:
    return merge_pair(call, partials)


_RULES: Final = (
    (COUNTS, _count),
    (SUMS, _sum),
    (MEANS, _mean),
    (SPREADS, _spread),
    (SHAPES, _shape),
    (PAIRS, _pair),
    (SAME, _same),
)
