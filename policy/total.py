"""Over protected rows nothing fails: an error would be an answer about the row it failed on.

`CASE WHEN <one person> THEN <cast that fails> END` would tell one bit about that person, whatever
the threshold. So an expression that cannot be computed for a row is NULL there, as with TRY_CAST
(docs/decisions/0008). Rule to keep: this is the last change before the SQL is written; what was
checked is what is wrapped.
"""

from dataclasses import replace
from math import ceil
from typing import Final

from sqlglot import exp

from podsql.planner.wire_types import FLOATS, INTEGERS, decimal_parts, known_type
from podsql.policy.denial import Denial
from podsql.policy.functions import aggregate, scalar_name
from podsql.policy.measures import columns_in
from podsql.policy.nodes import PREDICATES
from podsql.policy.scope import Scope

TRY: Final = "try"
PARTED: Final = frozenset(
    {
        *("date_diff", "date_part", "date_sub", "datepart", "datesub", "dayofweek", "dayofyear"),
        *("era", "extract", "isodow", "isoyear", "time_bucket", "week", "weekday", "weekofyear"),
        "yearweek",
    }
)
"""Functions that are not implemented for some parts of times and intervals: no attempt catches that."""
MOST_DIGITS: Final = 38
"""Of HUGEINT: a product of two BIGINTs fits. DECIMAL(38) holds one less of every value."""
DIGITS: Final = {
    **dict.fromkeys(("TINYINT", "UTINYINT"), 3),
    **dict.fromkeys(("SMALLINT", "USMALLINT"), 5),
    **dict.fromkeys(("INTEGER", "UINTEGER"), 10),
    "BIGINT": 19,
    "UBIGINT": 20,
    **dict.fromkeys(("HUGEINT", "UHUGEINT"), 39),
}
_COMPARED: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)


def attempt(node: exp.Expr) -> exp.Expr:
    """``node``, or NULL where it cannot be computed."""
    if isinstance(node, exp.Column | exp.Literal):
        return node.copy()
    return exp.Anonymous(this=TRY, expressions=[node.copy()])


def attempted(node: exp.Expr) -> exp.Expr | None:
    """What ``attempt`` was made of; None if ``node`` is no attempt."""
    if isinstance(node, exp.Anonymous) and node.this == TRY:
        found: exp.Expr = node.expressions[0]
        return found
    return None


def without_errors(scope: Scope) -> Scope:
    """``scope`` with every condition, key and aggregated expression as an attempt."""
    for tree in scope.trees():
        for node in tree.walk():
            if scalar_name(node) in PARTED:
                _require_dates(node, scope)
    sources = tuple(
        replace(
            source,
            conditions=tuple(_condition(term, scope) for term in source.conditions),
            inner=None if source.inner is None else without_errors(source.inner),
        )
        for source in scope.sources
    )
    return replace(
        scope,
        sources=sources,
        where=tuple(_condition(term, scope) for term in scope.where),
        outputs=tuple(_output(tree, scope) for tree in scope.outputs),
    )


def _require_dates(call: exp.Expr, scope: Scope) -> None:
    """Denial unless a function of ``PARTED`` is asked of dates and timestamps."""
    given = list(call.iter_expressions())
    if isinstance(call, exp.DateBin):
        width = given.pop(0)
        if not isinstance(width, exp.Interval) or not _is_positive(width.this):
            raise Denial("FUNC_NOT_ALLOWED")
    for one in given:
        if not isinstance(one, exp.Literal | exp.Var) and not _is_date(one, scope):
            raise Denial("FUNC_NOT_ALLOWED")


def _is_date(node: exp.Expr, scope: Scope) -> bool:
    if isinstance(node, exp.Column):
        kind = known_type(scope.column(node).type) or ""
    elif isinstance(node, exp.Cast):
        kind = known_type(node.to.sql("duckdb")) or ""
    elif isinstance(node, exp.Paren | exp.Add | exp.Sub | exp.LastDay | exp.TimestampTrunc):
        apart = isinstance(node, exp.Sub) and _is_date(node.expression, scope)
        return _is_date(node.this, scope) and not apart
    else:
        return False
    return kind == "DATE" or kind.startswith("TIMESTAMP")


def _is_positive(width: exp.Expr | None) -> bool:
    named = width.name if isinstance(width, exp.Literal) else ""
    return named.isdecimal() and named.strip("0") != ""


def _condition(term: exp.Expr, scope: Scope) -> exp.Expr:
    return term if _cannot_fail(term, scope) else attempt(term)


def _output(tree: exp.Expr, scope: Scope) -> exp.Expr:
    """A key as a whole; of an aggregate its arguments and its FILTER."""
    if not any(aggregate(node) is not None for node in tree.walk()):
        return attempt(tree)
    copy = _cast_softly(tree.copy())
    for call in [node for node in copy.walk() if aggregate(node) is not None]:
        _wrap_arguments(call, scope)
        if isinstance(call.parent, exp.Filter):
            where = call.parent.expression
            where.set("this", _condition(where.this, scope))
    return copy


def _cast_softly(tree: exp.Expr) -> exp.Expr:
    """What stands around aggregates is computed for hidden groups too: only what cannot fail."""
    for node in list(tree.walk()):
        if type(node) is exp.Cast and any(aggregate(one) is not None for one in node.walk()):
            soft = exp.TryCast(this=node.this.copy(), to=node.to.copy())
            tree = soft if node is tree else tree
            node.replace(soft)
            return _cast_softly(tree)
    above = [
        node
        for node in tree.walk()
        if aggregate(node) is None and any(aggregate(one) is not None for one in node.walk())
    ]
    if not all(_is_soft(node) for node in above):
        raise Denial("AGG_NOT_ALLOWED")
    return tree


def _is_soft(node: exp.Expr) -> bool:
    """Whether it gives a value for all figures: comparisons, quotients (infinite ones included)."""
    if isinstance(node, exp.IntDiv):
        by = node.expression
        return isinstance(by, exp.Literal) and not by.is_string and float(by.name) != 0
    plain = isinstance(node, exp.Paren | exp.TryCast | exp.Div | exp.Filter)
    return plain or type(node) in PREDICATES


def _wrap_arguments(call: exp.Expr, scope: Scope) -> None:
    named = aggregate(call)
    compares = isinstance(call, exp.CountIf) or (named is not None and named[1] == "predicate")
    for argument in list(call.iter_expressions()):
        if isinstance(argument, exp.Distinct):
            argument.set(
                "expressions", [attempt(widened(one, scope)) for one in argument.expressions]
            )
        elif not isinstance(argument, exp.Star):
            argument.replace(attempt(argument if compares else widened(argument, scope)))


def widened(argument: exp.Expr, scope: Scope) -> exp.Expr:
    """Arithmetic of whole numbers in a type that holds every result.

    A product that overflows for some rows would be NULL for them: a comparison of a column that
    may not be compared.
    """
    if argument.find(exp.Add, exp.Sub, exp.Mul, exp.Neg) is None:
        return argument
    kinds = {_declared(column, scope) for column in argument.find_all(exp.Column)}
    floats = bool(kinds & set(FLOATS))
    decimals = {kind for kind in kinds if kind.startswith("DECIMAL(")}
    if not floats and not kinds <= {*INTEGERS, *decimals}:
        if argument.find(exp.Literal) is not None:
            raise Denial("ENCODE_IN_AGG")  # a date so far away that it overflows for some
        return argument  # no arithmetic of numbers
    if not floats and _digits(argument, scope, bounded=True) > MOST_DIGITS - bool(decimals):
        raise Denial("ENCODE_IN_AGG")

    def put(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Column):
            return node
        if floats:
            # In a FLOAT a large constant would round small values away, and large ones not.
            return exp.Cast(this=node.copy(), to=exp.DataType.build("DOUBLE"))
        parts = decimal_parts(_declared(node, scope))
        wide = "HUGEINT" if parts is None else f"DECIMAL(38,{parts[1]})"
        return exp.Cast(this=node.copy(), to=exp.DataType.build(wide, dialect="duckdb"))

    return argument.copy().transform(put)


def _declared(column: exp.Column, scope: Scope) -> str:
    return known_type(scope.column(column).type) or ""


def leans_on_bounds(argument: exp.Expr, scope: Scope) -> tuple[exp.Column, ...]:
    """The columns without whose declared bounds a result could have too many digits."""
    columns = columns_in(argument)
    kinds = {_declared(column, scope) for column in columns}
    exact = all(kind in INTEGERS or kind.startswith("DECIMAL(") for kind in kinds)
    if not exact or argument.find(exp.Add, exp.Sub, exp.Mul, exp.Neg) is None:
        return ()
    most = MOST_DIGITS - any(kind.startswith("DECIMAL(") for kind in kinds)
    if _digits(argument, scope, bounded=False) <= most:
        return ()
    return tuple(column for column in columns if scope.column(column).bounds is not None)


def _digits(tree: exp.Expr, scope: Scope, *, bounded: bool) -> int:
    """Decimal digits, those behind the point included, of the largest value ``tree`` can have.

    ``bounded``: columns keep to their declared bounds.
    """
    return sum(_places(tree, scope, bounded=bounded))


def _places(tree: exp.Expr, scope: Scope, *, bounded: bool) -> tuple[int, int]:
    """Digits before the point and behind it: a sum needs the most of either."""
    if isinstance(tree, exp.Column):
        kind = _declared(tree, scope)
        parts = decimal_parts(kind)
        whole, behind = (DIGITS[kind], 0) if parts is None else (parts[0] - parts[1], parts[1])
        bounds = scope.column(tree).bounds if bounded else None
        return whole if bounds is None else len(str(ceil(max(map(abs, bounds))))), behind
    if isinstance(tree, exp.Literal):
        before, _, after = tree.name.partition(".")
        return len(before), len(after)
    if isinstance(tree, exp.DataType):
        return 0, 0
    inner = [_places(part, scope, bounded=bounded) for part in tree.iter_expressions()]
    places = [list(one) for one in zip(*inner, strict=True)] or [[0], [0]]
    if isinstance(tree, exp.Mul):
        return sum(places[0]), sum(places[1])
    return max(places[0]) + isinstance(tree, exp.Add | exp.Sub), max(places[1])


def _cannot_fail(term: exp.Expr, scope: Scope) -> bool:
    """Plain comparisons, left as they are so that the engine can use them to skip rows."""
    if isinstance(term, exp.Paren | exp.Not):
        return _cannot_fail(term.this, scope)
    if isinstance(term, exp.And | exp.Or):
        return _cannot_fail(term.this, scope) and _cannot_fail(term.expression, scope)
    if isinstance(term, exp.Is):
        return isinstance(term.this, exp.Column)
    if not isinstance(term, _COMPARED):
        return False
    kinds = {_kind(node, scope) for node in term.iter_expressions()}
    return len(kinds) == 1 and "" not in kinds


def _kind(node: exp.Expr, scope: Scope) -> str:
    """``number``, ``text`` or a type that compares with itself; empty: not plain."""
    if isinstance(node, exp.Literal):
        return "text" if node.is_string else "number" if node.name.isdecimal() else ""
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):
        return known_type(node.to.sql("duckdb")) or ""
    if not isinstance(node, exp.Column):
        return ""
    kind = known_type(scope.column(node).type) or ""
    if kind in FLOATS or (kind in INTEGERS and "HUGE" not in kind):
        return "number"
    return "text" if kind == "VARCHAR" else kind
