"""Both parsers: sqlglot's tree, and DuckDB's word on it. The only planner file that imports duckdb.

A text is accepted only if DuckDB reads the original and the regenerated SQL as equal trees.
Rule to keep: the connections here hold empty tables and are locked before they see any text of an
analyst; nothing here ever reads a row.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import duckdb
import msgspec
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from podsql.errors import Error, error
from podsql.planner.agreement import first_difference, normalise
from podsql.planner.fragment import Field
from podsql.planner.settings import PINNED_SETTINGS
from podsql.planner.wire_types import known_type

_LOCK: Final = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET threads = 1",
    "SET lock_configuration = true",
)
MAX_TEXT: Final = 1 << 20
# Its warnings quote pieces of statements, in the log of whoever runs us.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
_TREES: Final = 512


class _Binder:
    """A locked DuckDB with empty tables; one statement at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._tables: dict[str, tuple[Field, ...]] = {}
        self._trees: OrderedDict[str, Any] = OrderedDict()

    def run(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        if self._connection is None:
            self._connection = duckdb.connect()
            for statement in (*PINNED_SETTINGS, *_LOCK):
                self._connection.execute(statement)
        return self._connection.execute(sql, list(parameters)).fetchall()

    def serialise(self, sql: str) -> Any:
        known = self._trees.get(sql)
        if known is None:
            ((text,),) = self.run("SELECT json_serialize_sql(?)", [sql])
            known = self._trees[sql] = msgspec.json.decode(text)
            if len(self._trees) > _TREES:
                self._trees.popitem(last=False)
        return known

    def declare(self, name: str, fields: tuple[Field, ...]) -> None:
        if self._tables.get(name) == fields:
            return
        schema, table = name.split(".", 1)
        self.run(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)}")
        columns = ", ".join(
            f"{_quoted(f.name)} {known_type(f.type)}" for f in fields if known_type(f.type)
        )
        self.run(f"CREATE OR REPLACE TABLE {_quoted(schema)}.{_quoted(table)} ({columns})")
        self._tables[name] = fields


_BINDER: Final = _Binder()


def parse(sql: str) -> exp.Expression:
    """The tree of one SELECT that both parsers read alike.

    SYNTAX (with the position), MULTI_STATEMENT, STATEMENT or PARSER_DISAGREES.
    """
    _require_serialisable(sql)
    try:
        trees = sqlglot.parse(sql, read="duckdb")
    except (
        SqlglotError,
        RecursionError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
    ):
        # sqlglot answers some malformed texts with these instead of its own errors.
        raise _disagreement("the statement as a whole") from None
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, exp.Expression):
        raise _disagreement("the statement as a whole")
    agree(sql, tree.sql(dialect="duckdb", comments=False))
    return tree


def agree(original: str, regenerated: str) -> None:
    """PARSER_DISAGREES unless DuckDB reads both texts as the same statement."""
    a, b = serialised(original), serialised(regenerated)
    where = first_difference(a, b)
    if where is not None:
        raise _disagreement(where)


def serialised(sql: str) -> Any:
    """DuckDB's normalised tree of ``sql``; SYNTAX if it has none."""
    _require_serialisable(sql)
    with _BINDER.lock:
        return normalise(_BINDER.serialise(sql))


def describe(sql: str, schemas: Mapping[str, Sequence[Field]]) -> tuple[Field, ...]:
    """Names and types of the answer of ``sql`` over empty tables of ``schemas``."""
    with _BINDER.lock:
        for name, fields in schemas.items():
            _BINDER.declare(name, tuple(fields))
        try:
            rows = _BINDER.run(f"DESCRIBE {sql}")
        except duckdb.Error as fault:
            raise binding_error(fault, schemas) from None
    return tuple(Field(str(row[0]), str(row[1])) for row in rows)


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint that names the nearest of ``known``, or all of a few."""
    folded = {k.lower(): k for k in known}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    listed = ", ".join(sorted(known)[:8])
    return f"known: {listed}" if listed else ""


def _require_serialisable(sql: str) -> None:
    if len(sql) > MAX_TEXT or "\x00" in sql:
        raise error("SYNTAX", "the statement is too long, or holds a null byte")
    with _BINDER.lock:
        try:
            found = _BINDER.serialise(sql)
        except duckdb.Error:
            raise error("SYNTAX", "the statement cannot be parsed") from None
    if not found["error"]:
        if len(found["statements"]) != 1:
            raise error(
                "MULTI_STATEMENT",
                f"{len(found['statements'])} statements in one text",
                hint="send them one by one",
            )
        return
    if found.get("error_type") == "parser":
        raise _syntax_error(sql, found.get("position"))
    raise error(
        "STATEMENT",
        "only SELECT statements can be run over the federation",
        hint="data and views are declared by each pod's custodian",
    )


def _syntax_error(sql: str, position: object) -> Error:
    if position is None:
        return error("SYNTAX", "syntax error: the statement is not complete or is empty")
    offset = int(str(position))
    before = sql.encode()[:offset].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return error(
        "SYNTAX",
        f"syntax error at line {line}, column {column}",
        hint="the statement cannot be read from there on",
    )


def _disagreement(where: str) -> Error:
    return error(
        "PARSER_DISAGREES",
        f"two parsers read the statement differently, first at {where}",
        hint="write this part in a plainer form",
    )


_MISFIT: Final = ("PARAMETERS", "the parameters do not fit the question marks of the statement")
_BINDER_CODES: Final = (
    ("count mismatch", *_MISFIT),
    ("Values were not provided", *_MISFIT),
    ("Unable to transform python value", *_MISFIT),
    ("Referenced column", "UNKNOWN_COLUMN", "a column is not found in the tables of FROM"),
    ("Referenced table", "UNKNOWN_TABLE", "a column names a table that is not in FROM"),
    ("Table with name", "UNKNOWN_TABLE", "a table is not found"),
    (
        "must appear in the GROUP BY",
        "BINDING",
        "a selected column is neither grouped nor aggregated",
    ),
    ("No function matches", "BINDING", "a function does not take arguments of these types"),
    ("does not exist", "BINDING", "a function does not exist"),
    ("Cannot mix", "BINDING", "values of different types are mixed"),
    ("Cannot compare", "BINDING", "values of different types are compared"),
    ("aggregate", "BINDING", "an aggregate stands where none can"),
    ("Ambiguous", "BINDING", "a column name is ambiguous"),
    ("WINDOW", "BINDING", "a window function stands where none can"),
)


def binding_error(fault: duckdb.Error, schemas: Mapping[str, Sequence[Field]]) -> Error:
    """What DuckDB's binder found wrong with a statement over tables of ``schemas``.

    DuckDB quotes literals and values in its messages, so ours are our own.
    """
    text = str(fault)
    for mark, code, message in _BINDER_CODES:
        if mark.lower() in text.lower():
            hint = ""
            if code == "UNKNOWN_COLUMN":
                names = sorted({f.name for fields in schemas.values() for f in fields})
                hint = f"known: {', '.join(names[:12])}"
            return error(code, message, hint=hint)
    return error("BINDING", "the statement does not fit the types of its columns")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
