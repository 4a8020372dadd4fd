"""From what DuckDB, Arrow and the interpreter raise to podsql's codes.

Rule to keep: only the *category* of an engine error is read, never passed on: engine texts quote
row values, paths and literals (attack 65).
"""

from typing import Final

import duckdb
import pyarrow as pa

INTERRUPTED: Final = "INTERRUPTED"
"""Between engine and pool only; the pool knows whether it was the deadline or a cancel."""

_CLASSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (duckdb.OutOfMemoryException, "OUT_OF_MEMORY"),
    (MemoryError, "OUT_OF_MEMORY"),
    (pa.ArrowMemoryError, "OUT_OF_MEMORY"),
    (duckdb.InterruptException, INTERRUPTED),
    (duckdb.OutOfRangeException, "OVERFLOW"),
    (duckdb.ConversionException, "DATA"),
    (duckdb.InvalidInputException, "DATA"),
    (duckdb.DataError, "DATA"),
)
_PREFIXES: Final = (
    ("Out of Memory Error", "OUT_OF_MEMORY"),
    ("INTERRUPT Error", INTERRUPTED),
    ("Out of Range Error", "OVERFLOW"),
    ("Conversion Error", "DATA"),
    ("Invalid Input Error", "DATA"),
)

MESSAGES: Final = {
    "OUT_OF_MEMORY": "the statement needs more memory than this pod allows",
    "OVERFLOW": "a value left the range of its type",
    "DATA": "a value does not fit what the statement does with it",
    "TIMEOUT": "the statement did not end before its deadline",
    "CANCELLED": "the statement was cancelled",
    "RESULT_TOO_BIG": "the result is larger than this pod allows",
    "BUSY": "too many statements are waiting at this pod",
    "POD_FAILED": "the engine could not run the statement",
}


def code_of(fault: BaseException) -> str:
    """The code of an engine error."""
    for kind, code in _CLASSES:
        if isinstance(fault, kind):
            return code
    # Errors in the middle of a stream cross Arrow's C interface and keep their category in
    # front of the text only.
    text = str(fault)
    for prefix, code in _PREFIXES:
        if prefix in text[:64]:
            return code
    return "POD_FAILED"


def message_of(code: str) -> str:
    """Our own words for a code."""
    return MESSAGES.get(code, MESSAGES["POD_FAILED"])
