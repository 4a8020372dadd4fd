"""What may be aggregated: a small arithmetic of measures that cannot pick one row out.

Rule to keep: nothing here may act as a step or a switch. No comparison, no CASE, no rounding
cast, no division by a column (infinity would mark a row), no large or precise constants (adding
one to a float rounds the rest away).
"""

import re
from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement
from typing import Final

from sqlglot import exp

from podsql.planner.widening import widen_pair
from podsql.planner.wire_types import known_type
from podsql.policy.denial import Denial
from podsql.policy.scope import Scope

COLUMNS: Final = 4
CONSTANTS: Final = 2
SQUARE: Final = 2
"""Most factors of a product in which a column may occur twice."""
CONSTANT: Final = re.compile(r"\d{1,6}(\.\d{0,6})?|\.\d{1,6}", re.ASCII)
PLAIN_NODES: Final = (
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Neg,
    exp.Paren,
    exp.Null,
    exp.Identifier,
    exp.DataType,
    exp.DataTypeParam,
)


def require_measure(argument: exp.Expr, scope: Scope, factors: int) -> None:
    """Refuse an aggregate's argument that is more than arithmetic of measures.

    ``factors``: the most that it may multiply.
    """
    columns = constants = 0
    for node in argument.walk():
        if isinstance(node, exp.Column):
            columns += 1
            rights = scope.column(node)
            if rights.is_key or not rights.may("measure"):
                raise Denial("PREDICATE_IN_AGG")
        elif isinstance(node, exp.Literal):
            if not isinstance(node.parent, exp.DataTypeParam):
                constants += 1
                _require_constant(node)
        elif isinstance(node, exp.Cast):
            _require_cast(node, scope)
        elif isinstance(node, exp.Div):
            by = node.expression
            if not isinstance(by, exp.Literal) or by.is_string or not float(by.name):
                raise Denial("PREDICATE_IN_AGG")
        elif not isinstance(node, PLAIN_NODES):
            raise Denial("PREDICATE_IN_AGG")
    if columns > COLUMNS or constants > CONSTANTS or degree(argument) > factors:
        raise Denial("ENCODE_IN_AGG")
    if degree(argument) > SQUARE and any(degree(argument, one) > 1 for one in columns_in(argument)):
        raise Denial("ENCODE_IN_AGG")


def degree(tree: exp.Expr, of: exp.Column | None = None) -> int:
    """Of the polynomial that ``tree`` is (in ``of``); powers of a column could tell its values apart."""
    if isinstance(tree, exp.Column):
        return int(of is None or tree == of)
    parts = [degree(part, of) for part in tree.iter_expressions()]
    return sum(parts) if isinstance(tree, exp.Mul) else max(parts, default=0)


def columns_in(tree: exp.Expr) -> tuple[exp.Column, ...]:
    """The different columns of ``tree``."""
    return tuple(dict.fromkeys(tree.find_all(exp.Column)))


def products(arguments: Sequence[exp.Expr], power: int) -> tuple[tuple[exp.Expr, ...], ...]:
    """What sums of ``arguments``, to at most that power, multiply; each figure is of one of them.

    With other terms around it, or once lower sums are taken off, only such a product is left: as
    it is written, and of the bare columns.
    """
    listed = [term for argument in arguments for term in _terms(argument)]
    found: dict[tuple[exp.Expr, ...], None] = {}
    for count in range(1, power + 1):
        for chosen in combinations_with_replacement(listed, count):
            factors = tuple(dict.fromkeys(factor for term in chosen for factor in term))
            columns = tuple(dict.fromkeys(one for part in factors for one in columns_in(part)))
            if len(columns) > 1:
                found[factors] = None
            for size in range(2, len(columns) + 1):
                found.update(dict.fromkeys(combinations(columns, size)))
    return tuple(found)


def _terms(tree: exp.Expr) -> list[tuple[exp.Expr, ...]]:
    """``tree`` multiplied out, each term as its factors; a factor is of one column."""
    count = len(columns_in(tree))
    if count < 2:
        return [(tree,) if count else ()]
    if isinstance(tree, exp.Mul):
        left, right = _terms(tree.this), _terms(tree.expression)
        return [(*one, *other) for one in left for other in right]
    return [term for part in tree.iter_expressions() for term in _terms(part)]


def plain_column(node: exp.Expr, scope: Scope) -> exp.Column | None:
    """The column ``node`` is, looked at through parentheses and casts that lose nothing."""
    while True:
        if isinstance(node, exp.Column):
            return node
        if isinstance(node, exp.Paren) or (
            isinstance(node, exp.Cast) and type(node) is exp.Cast and _keeps_all(node, scope)
        ):
            node = node.this
        else:
            return None


def _require_constant(node: exp.Literal) -> None:
    if node.is_string or CONSTANT.fullmatch(node.name) is None:
        raise Denial("ENCODE_IN_AGG")


def _require_cast(node: exp.Cast, scope: Scope) -> None:
    if type(node) is not exp.Cast:
        raise Denial("PREDICATE_IN_AGG")
    if node.to.this is exp.DType.DOUBLE or isinstance(node.this, exp.Null):
        return
    if not _keeps_all(node, scope):
        raise Denial("PREDICATE_IN_AGG")


def _keeps_all(node: exp.Cast, scope: Scope) -> bool:
    inner = node.this
    while isinstance(inner, exp.Paren):
        inner = inner.this
    if not isinstance(inner, exp.Column):
        return False
    source = known_type(scope.column(inner).type)
    target = known_type(node.to.sql(dialect="duckdb"))
    return source is not None and target is not None and widen_pair(source, target) == target
