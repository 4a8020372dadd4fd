"""The narrowest type that holds every pod's type of a column without loss.

Rule to keep: lossless or None. BIGINT and DOUBLE have no common type here, whatever SQL would do.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

from podsql.planner.wire_types import decimal_parts, is_enum

_SIGNED: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED: Final = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_DIGITS: Final = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
}
_FIT_FLOAT: Final = frozenset({"TINYINT", "SMALLINT", "UTINYINT", "USMALLINT"})
_FIT_DOUBLE: Final = _FIT_FLOAT | {"INTEGER", "UINTEGER", "FLOAT"}
_TIMESTAMPS: Final = ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP")


def widen(types: Sequence[str]) -> str | None:
    """The common type of canonical ``types`` (at least one), or None."""
    first, *rest = types
    found: str | None = first
    return reduce(lambda kept, other: kept and widen_pair(kept, other), rest, found)


def widen_pair(a: str, b: str) -> str | None:
    """The common type of two canonical types, or None."""
    if a == b or b == "NULL":
        return a
    if a == "NULL":
        return b
    for one, other in ((a, b), (b, a)):
        if is_enum(one) and (is_enum(other) or other == "VARCHAR"):
            return "VARCHAR"
        if other == "DOUBLE" and one in _FIT_DOUBLE:
            return "DOUBLE"
        if other == "FLOAT" and one in _FIT_FLOAT:
            return "FLOAT"
    if a in _TIMESTAMPS and b in _TIMESTAMPS:
        return max(a, b, key=_TIMESTAMPS.index)
    return _integers(a, b) or _decimals(a, b)


def _integers(a: str, b: str) -> str | None:
    for family in (_SIGNED, _UNSIGNED):
        if a in family and b in family:
            return max(a, b, key=family.index)
    if a in _UNSIGNED and b in _SIGNED:
        a, b = b, a
    if a in _SIGNED and b in _UNSIGNED:
        needed = _UNSIGNED.index(b) + 1
        return _SIGNED[max(_SIGNED.index(a), needed)] if needed < len(_SIGNED) else None
    return None


def _decimals(a: str, b: str) -> str | None:
    parts = [decimal_parts(t) or ((_DIGITS[t], 0) if t in _DIGITS else None) for t in (a, b)]
    if parts[0] is None or parts[1] is None:
        return None
    scale = max(parts[0][1], parts[1][1])
    width = max(parts[0][0] - parts[0][1], parts[1][0] - parts[1][1]) + scale
    return f"DECIMAL({width},{scale})" if width <= 38 else None
