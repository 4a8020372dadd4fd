"""Write DuckDB's aggregate macros out: ``geomean`` and ``weighted_avg`` and their aliases.

DuckDB expands them itself before binding, so the plain aggregates mean the same.
"""

from sqlglot import exp

from podsql.errors import error
from podsql.planner.agreement import ALIASES


def expand_macros(tree: exp.Expression) -> exp.Expression:
    """``tree`` without macro calls, changed in place."""
    return tree.transform(_expand, copy=False)


def _expand(node: exp.Expression) -> exp.Expression:
    if not isinstance(node, exp.Anonymous):
        return node
    name = ALIASES.get(str(node.this).lower(), str(node.this).lower())
    if name not in ("geomean", "weighted_avg"):
        return node
    if len(node.expressions) != (1 if name == "geomean" else 2):
        raise error("BINDING", f"{name} has the wrong number of arguments")
    if isinstance(node.parent, exp.Filter):
        raise error("NOT_SUPPORTED", f"FILTER after {name} is not supported, as in DuckDB")
    if name == "geomean":
        (value,) = node.expressions
        return exp.Exp(this=exp.Avg(this=exp.Ln(this=value.copy())))
    value, weight = (exp.Paren(this=argument.copy()) for argument in node.expressions)
    present = exp.Case(
        ifs=[
            exp.If(
                this=exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null())),
                true=weight.copy(),
            )
        ],
        default=exp.Literal.number("0"),
    )
    product = exp.Sum(this=exp.Mul(this=value, expression=weight))
    return exp.Paren(this=exp.Div(this=product, expression=exp.Sum(this=present)))
