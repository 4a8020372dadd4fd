"""The closed list of SQL tree nodes a fragment may hold, and which of their parts may be set.

Rule to keep: closed world. A node class or part that is not named here is refused, so a new
version of the SQL reader can add syntax but never a way through.
"""

from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from podsql.policy.denial import Denial, Reason
from podsql.policy.functions import (
    DATE_PART_NAMES,
    DATE_PARTS,
    PATTERN_CLASSES,
    aggregate,
    scalar_name,
)

BINARY: Final = frozenset({"this", "expression"})
UNARY: Final = frozenset({"this"})
LIST: Final = frozenset({"expressions"})

PREDICATES: Final[frozenset[type[exp.Expr]]] = frozenset(
    {
        exp.And,
        exp.Between,
        exp.EQ,
        exp.GT,
        exp.GTE,
        exp.ILike,
        exp.In,
        exp.Is,
        exp.LT,
        exp.LTE,
        exp.Like,
        exp.NEQ,
        exp.Not,
        exp.NullSafeEQ,
        exp.NullSafeNEQ,
        exp.Or,
    }
)
PARTS: Final[dict[type[exp.Expr], frozenset[str]]] = {
    exp.Add: BINARY,
    exp.And: BINARY,
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Boolean: UNARY,
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.Cast: frozenset({"this", "to", "_type"}),
    exp.Column: frozenset({"this", "table", "db"}),
    exp.DPipe: frozenset({"this", "expression", "safe"}),
    exp.DataType: frozenset({"this", "expressions", "nested"}),
    exp.DataTypeParam: UNARY,
    exp.Distinct: LIST,
    exp.Div: frozenset({"this", "expression", "typed", "safe"}),
    exp.EQ: BINARY,
    exp.Filter: BINARY,
    exp.GT: BINARY,
    exp.GTE: BINARY,
    exp.Escape: BINARY,
    exp.ILike: frozenset({"this", "expression", "negate"}),
    exp.Identifier: frozenset({"this", "quoted"}),
    exp.If: frozenset({"this", "true", "false"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.IntDiv: BINARY,
    exp.Interval: frozenset({"this", "unit"}),
    exp.Is: BINARY,
    exp.LT: BINARY,
    exp.LTE: BINARY,
    exp.Like: frozenset({"this", "expression", "negate"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Mod: BINARY,
    exp.Mul: BINARY,
    exp.NEQ: BINARY,
    exp.Neg: UNARY,
    exp.Not: UNARY,
    exp.Null: frozenset(),
    exp.NullSafeEQ: BINARY,
    exp.NullSafeNEQ: BINARY,
    exp.Or: BINARY,
    exp.Paren: UNARY,
    exp.Placeholder: UNARY,
    exp.Star: frozenset(),
    exp.Sub: BINARY,
    exp.TryCast: frozenset({"this", "to", "_type", "safe"}),
    exp.Var: UNARY,
    exp.Where: UNARY,
}
TYPES: Final = frozenset(
    {
        exp.DType.BOOLEAN,
        exp.DType.TINYINT,
        exp.DType.SMALLINT,
        exp.DType.INT,
        exp.DType.BIGINT,
        exp.DType.INT128,
        exp.DType.UTINYINT,
        exp.DType.USMALLINT,
        exp.DType.UINT,
        exp.DType.UBIGINT,
        exp.DType.UINT128,
        exp.DType.FLOAT,
        exp.DType.DOUBLE,
        exp.DType.DECIMAL,
        exp.DType.TEXT,
        exp.DType.VARCHAR,
        exp.DType.CHAR,
        exp.DType.DATE,
        exp.DType.TIME,
        exp.DType.TIMETZ,
        exp.DType.TIMESTAMP,
        exp.DType.TIMESTAMPTZ,
        exp.DType.TIMESTAMP_S,
        exp.DType.TIMESTAMP_MS,
        exp.DType.TIMESTAMP_NS,
        exp.DType.TIMESTAMPNTZ,
        exp.DType.INTERVAL,
        exp.DType.UUID,
        exp.DType.VARBINARY,
        exp.DType.BIT,
    }
)
WHY: Final[dict[type[exp.Expr], Reason]] = {
    exp.Array: "NESTED_VALUE",
    exp.Bracket: "NESTED_VALUE",
    exp.Columns: "STAR_EXPR",
    exp.Dot: "NESTED_VALUE",
    exp.Exists: "SUBQUERY_ROWS",
    exp.Lambda: "FUNC_NOT_ALLOWED",
    exp.Lateral: "JOIN_INPUT",
    exp.PositionalColumn: "PSEUDO_COLUMN",
    exp.Select: "SUBQUERY_ROWS",
    exp.Star: "STAR_EXPR",
    exp.Struct: "NESTED_VALUE",
    exp.Subquery: "SUBQUERY_ROWS",
    exp.TableSample: "NONDETERMINISM",
    exp.Tuple: "NESTED_VALUE",
    exp.Unnest: "JOIN_INPUT",
    exp.Values: "JOIN_INPUT",
    exp.Window: "WINDOW",
}


def require_listed(root: exp.Expr) -> None:
    """Refuse ``root`` unless every node and every set part of it is on the list."""
    for node in root.walk():
        kind = type(node)
        if scalar_name(node) is not None or aggregate(node) is not None:
            _require_plain_call(node)
            continue
        parts = PARTS.get(kind)
        if parts is None:
            raise Denial(_why(node))
        for name, value in node.args.items():
            if name not in parts and value not in (None, False, [], ()):
                raise Denial("NODE_NOT_ALLOWED")
        _require_place(node)


def _require_place(node: exp.Expr) -> None:
    """Nodes that are harmless in one place only."""
    if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
        raise Denial("STAR_EXPR")
    if isinstance(node, exp.Var) and node.name.lower() not in DATE_PARTS:
        raise Denial("FUNC_NOT_ALLOWED")
    if isinstance(node, exp.DataType) and node.this not in TYPES:
        raise Denial("BAD_TYPE")
    if isinstance(node, exp.Distinct) and aggregate(_parent(node)) is None:
        raise Denial("NODE_NOT_ALLOWED")
    if isinstance(node, exp.Placeholder) and not str(node.this or "").isdecimal():
        raise Denial("BAD_LITERAL")
    if isinstance(node, exp.Interval) and node.args.get("unit") is None:
        raise Denial("BAD_LITERAL")
    if isinstance(node, exp.Filter) and aggregate(node.this) is None:
        raise Denial("FUNC_NOT_ALLOWED")


def _require_plain_call(node: exp.Expr) -> None:
    if isinstance(node, exp.Distinct):
        raise Denial("NODE_NOT_ALLOWED")
    if type(node) in PATTERN_CLASSES:
        pattern = node.args.get("expression")
        if not isinstance(pattern, exp.Literal | exp.Placeholder):
            raise Denial("FUNC_NOT_ALLOWED")


def require_date_parts(root: exp.Expr) -> None:
    """Refuse a call by name whose date part is not a known word (a column, another text)."""
    for node in root.find_all(exp.Anonymous):
        if node.name.lower() in DATE_PART_NAMES:
            part = node.expressions[0] if node.expressions else None
            if not isinstance(part, exp.Literal) or part.name.lower() not in DATE_PARTS:
                raise Denial("FUNC_NOT_ALLOWED")


def _parent(node: exp.Expr) -> exp.Expr:
    return node.parent if node.parent is not None else node


def _why(node: exp.Expr) -> Reason:
    named = WHY.get(type(node))
    if named is not None:
        return named
    if isinstance(node, exp.AggFunc):
        return "AGG_NOT_ALLOWED"
    if isinstance(node, exp.Func):
        return "FUNC_NOT_ALLOWED"
    return "NODE_NOT_ALLOWED"


def depth(root: exp.Expr) -> int:
    """Levels of ``root``; a chain of one connector (``a AND b AND c``) is one level."""
    deepest = 0
    pending: list[tuple[exp.Expr, int]] = [(root, 1)]
    while pending:
        node, level = pending.pop()
        deepest = max(deepest, level)
        chain = isinstance(node, exp.Connector)
        for child in node.iter_expressions():
            same = chain and type(child) is type(node)
            pending.append((child, level if same else level + 1))
    return deepest


def conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The terms of a conjunction, parentheses looked through."""
    pending = [] if condition is None else [condition]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.And):
            pending += [node.expression, node.this]
        elif isinstance(node, exp.Paren):
            pending.append(node.this)
        else:
            yield node
