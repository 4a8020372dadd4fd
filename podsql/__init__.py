"""podsql: exact SQL over tables whose rows never leave their custodians.

``podsql.connect("federation.toml")`` opens a DB-API 2.0 connection; ``podsql.local(...)`` starts a
whole federation in this process. Rule to keep: importing this module loads no duckdb, pyarrow,
zmq, torch or pandas; the front doors are resolved on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from podsql.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    PolicyError,
    ProgrammingError,
    Warning,
)

if TYPE_CHECKING:
    from podsql.cursor import Cursor
    from podsql.driver import Connection, connect
    from podsql.local_federation import local
    from podsql.type_objects import (
        BINARY,
        DATETIME,
        NUMBER,
        ROWID,
        STRING,
        Binary,
        Date,
        DateFromTicks,
        Time,
        TimeFromTicks,
        Timestamp,
        TimestampFromTicks,
    )

__version__: Final = "0.1.0"
apilevel: Final = "2.0"
threadsafety: Final = 2
paramstyle: Final = "qmark"

_LAZY: Final = {
    "connect": "podsql.driver",
    "Connection": "podsql.driver",
    "Cursor": "podsql.cursor",
    "local": "podsql.local_federation",
    "load_ipython_extension": "podsql.notebook",
    **dict.fromkeys(
        (
            "BINARY",
            "DATETIME",
            "NUMBER",
            "ROWID",
            "STRING",
            "Binary",
            "Date",
            "DateFromTicks",
            "Time",
            "TimeFromTicks",
            "Timestamp",
            "TimestampFromTicks",
        ),
        "podsql.type_objects",
    ),
}

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "PolicyError",
    "ProgrammingError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "__version__",
    "apilevel",
    "connect",
    "local",
    "paramstyle",
    "threadsafety",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'podsql' has no attribute {name!r}")
