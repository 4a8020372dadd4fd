"""Interval arithmetic: how large an aggregated expression can be, from its columns' bounds.

Sound by construction (Moore 1966): the interval holds every value the expression takes on values
within the declared bounds; what lies outside is clamped to it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from sqlglot import exp

from podsql.planner.wire_types import INTEGERS, known_type
from podsql.policy.scope import Scope
from podsql.policy.total import attempted

_LOSSLESS: Final = ("DOUBLE", "BIGINT", "HUGEINT", "INT128")


@dataclass(frozen=True, slots=True)
class Interval:
    """``low <= value <= high``; ``whole``: only integers."""

    low: Fraction
    high: Fraction
    whole: bool


def interval_of(tree: exp.Expr, scope: Scope) -> Interval | None:
    """The interval of ``tree``; None where a column declares no bounds."""
    tried = attempted(tree)
    if tried is not None:
        return interval_of(tried, scope)
    if isinstance(tree, exp.Paren):
        return interval_of(tree.this, scope)
    if isinstance(tree, exp.Cast):
        return (
            interval_of(tree.this, scope)
            if tree.to.sql("duckdb") in _LOSSLESS or tree.to.sql("duckdb").startswith("DECIMAL(38")
            else None
        )
    if isinstance(tree, exp.Column):
        rights = scope.column(tree)
        if rights.bounds is None:
            return None
        low, high = (Fraction(bound) for bound in rights.bounds)
        return Interval(low, high, known_type(rights.type) in INTEGERS)
    if isinstance(tree, exp.Literal) and not tree.is_string:
        value = Fraction(tree.name)
        return Interval(value, value, value.denominator == 1)
    if isinstance(tree, exp.Neg):
        inner = interval_of(tree.this, scope)
        return None if inner is None else Interval(-inner.high, -inner.low, inner.whole)
    if not isinstance(tree, exp.Add | exp.Sub | exp.Mul | exp.Div):
        return None
    left, right = interval_of(tree.this, scope), interval_of(tree.expression, scope)
    if left is None or right is None:
        return None
    whole = left.whole and right.whole
    if isinstance(tree, exp.Add):
        return Interval(left.low + right.low, left.high + right.high, whole)
    if isinstance(tree, exp.Sub):
        return Interval(left.low - right.high, left.high - right.low, whole)
    if isinstance(tree, exp.Mul):
        if tree.this == tree.expression:
            most = max(left.low**2, left.high**2)
            return Interval(Fraction(0), most, whole)
        ends = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
        return Interval(min(ends), max(ends), whole)
    if right.low != right.high or right.low == 0:
        return None
    ends = [left.low / right.low, left.high / right.low]
    return Interval(min(ends), max(ends), False)
