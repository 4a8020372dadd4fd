"""PEP 249's type objects and constructors.

The ``type_code`` of a column is the DuckDB name of its type, as text (``DECIMAL(10,2)``), and a type
object equals every name of its kind: ``description[0][1] == podsql.NUMBER``. Rule to keep: a type
object equals itself and names, nothing else.
"""

import datetime as dt
import time
from collections.abc import Iterable
from typing import Final

Date: Final = dt.date
Time: Final = dt.time
Timestamp: Final = dt.datetime


class TypeObject:
    """Equal to the type names of its kind; parameters, as in ``DECIMAL(10,2)``, do not matter."""

    def __init__(self, name: str, types: Iterable[str]) -> None:
        self._name = name
        self._types = frozenset(types)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other.partition("(")[0].strip().upper() in self._types
        return self is other

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"podsql.{self._name}"


STRING: Final = TypeObject("STRING", ("VARCHAR", "ENUM", "UUID", "BIT"))
BINARY: Final = TypeObject("BINARY", ("BLOB",))
NUMBER: Final = TypeObject(
    "NUMBER",
    (
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
    ),
)
DATETIME: Final = TypeObject(
    "DATETIME",
    (
        "DATE",
        "TIME",
        "TIME WITH TIME ZONE",
        "TIMESTAMP",
        "TIMESTAMP_S",
        "TIMESTAMP_MS",
        "TIMESTAMP_NS",
        "TIMESTAMP WITH TIME ZONE",
        "INTERVAL",
    ),
)
ROWID: Final = TypeObject("ROWID", ())
"""No column is one: rows of a federation have no identity."""


def DateFromTicks(ticks: float) -> dt.date:
    """The local day of ``ticks`` seconds since 1970."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> dt.time:
    """The local time of day of ``ticks`` seconds since 1970."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> dt.datetime:
    """The local date and time of ``ticks`` seconds since 1970."""
    return Timestamp(*time.localtime(ticks)[:6])


def Binary(value: "bytes | bytearray | memoryview") -> bytes:
    """A BLOB parameter."""
    return bytes(value)
