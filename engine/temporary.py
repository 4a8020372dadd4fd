"""Temporary tables: answers that a connection keeps, in a locked DuckDB of the analyst's own.

They hold released data only, and no pod ever sees them. Rule to keep: what is said of an answer
(its pods, its release, what was withheld) stays with the table that was made from it.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced

import duckdb
import pyarrow as pa

from podsql.engine.merge import Lane, fault_of
from podsql.errors import Error, error
from podsql.planner.fragment import Field
from podsql.planner.own_names import SCRATCH
from podsql.planner.syntax import binding_error, nearest
from podsql.planner.wire_types import known_type, wire_type

_ARRIVED = "arrived"
_WRONG = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.InvalidInputException,
)
"""The statement is at fault, not a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is said of the answer that a table was made from."""

    pods: tuple[str, ...] = ()
    release: str = "exact"
    withheld: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A temporary table; ``fields`` have DuckDB types."""

    name: str
    fields: tuple[Field, ...]
    rows: int
    origin: Origin


class Temporary:
    """The temporary tables of one connection. Threads may share it; statements take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, Table] = {}
        self._opened: Lane | None = None

    @property
    def tables(self) -> Mapping[str, Table]:
        """By lower-case name, in the order they were made."""
        with self._lock:
            return dict(self._tables)

    def create(
        self,
        name: str,
        fields: Sequence[Field],
        answer: pa.Table,
        origin: Origin,
        *,
        replace: bool,
    ) -> None:
        """Keep ``answer`` (wire form) as a table of ``fields``; CONFLICT if there is one."""
        arrived = answer.rename_columns([f"c{place}" for place in range(len(fields))])
        columns = ", ".join(_typed(place, field) for place, field in enumerate(fields))
        with self._lock:
            if name.lower() in self._tables and not replace:
                raise self.taken(name)
            connection = self._connection()
            connection.register(_ARRIVED, arrived)
            try:
                connection.execute(
                    f"CREATE OR REPLACE TABLE {_quoted(name)} AS SELECT {columns} FROM {_ARRIVED}"
                )
                made = connection.sql(f"SELECT * FROM {_quoted(name)}")
            except duckdb.Error as fault:
                raise fault_of(fault) from None
            finally:
                connection.unregister(_ARRIVED)
            self._tables.pop(name.lower(), None)
            self._tables[name.lower()] = Table(
                name=name, fields=_fields(made), rows=answer.num_rows, origin=origin
            )

    def make(self, name: str, columns: str, *, replace: bool, if_absent: bool) -> None:
        """An empty table of ``columns`` (``(name type, …)``); CONFLICT if there is one.

        ``if_absent``: one that is there stays.
        """
        with self._lock:
            if name.lower() in self._tables and not replace:
                if if_absent:
                    return
                raise self.taken(name)
            verb = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE"
            self._execute(f"{verb} {_quoted(name)} {columns}", ())
            self._tables.pop(name.lower(), None)
            made = self._connection().sql(f"SELECT * FROM {_quoted(name)}")
            self._tables[name.lower()] = Table(
                name=name, fields=_fields(made), rows=0, origin=Origin()
            )

    def change(
        self,
        name: str,
        verb: str,
        rest: str,
        parameters: Sequence[object],
        origin: Origin,
        *,
        seconds: float,
        ticket: object,
    ) -> int:
        """``verb name rest``, as INSERT, UPDATE or DELETE; how many rows it changed.

        ``origin``: what is said of the table from now on. DATA for a value that does not fit.
        """
        with self._lock:
            table = self._tables.get(name.lower())
            if table is None:
                raise self.unknown(name)
            with self._lane().until(time.monotonic() + seconds, ticket):
                changed = self._execute(f"{verb} {_quoted(table.name)} {rest}", parameters)
            counted = self._connection().sql(f"SELECT count(*) FROM {_quoted(table.name)}")
            rows = int(counted.fetchall()[0][0])
            self._tables[name.lower()] = replaced(table, rows=rows, origin=origin)
            return changed

    def _execute(self, sql: str, parameters: Sequence[object]) -> int:
        """Run what has no rows to show: how many it changed."""
        try:
            found = self._connection().execute(sql, list(parameters)).fetchall()
        except duckdb.InterruptException:
            raise
        except duckdb.ConstraintException:
            raise error("DATA", "a value breaks a constraint of the table") from None
        except (duckdb.ParserException, duckdb.SyntaxException):
            raise error("SYNTAX", "DuckDB cannot read this statement") from None
        except _WRONG as fault:
            known = {table.name: table.fields for table in self._tables.values()}
            raise binding_error(fault, known) from None
        except duckdb.Error as fault:
            raise fault_of(fault) from None
        return int(found[0][0]) if found else 0

    def drop(self, name: str) -> bool:
        """Drop a table; False if there is none."""
        with self._lock:
            found = self._tables.pop(name.lower(), None)
            if found is not None:
                self._connection().execute(f"DROP TABLE {_quoted(found.name)}")
            return found is not None

    def run(
        self,
        sql: str,
        parameters: Sequence[object],
        *,
        seconds: float,
        ticket: object,
    ) -> tuple[tuple[Field, ...], pa.Table]:
        """The answer of a SELECT over temporary tables, in wire form, and its DuckDB types.

        TIMEOUT after ``seconds``; CANCELLED by ``stop`` with the same ``ticket``.
        """
        with self._lock:
            relation = self._bind(sql, parameters)
            fields = _fields(relation)
            outputs = ", ".join(_wire(place, field) for place, field in enumerate(fields))
            try:
                with self._lane().until(time.monotonic() + seconds, ticket):
                    return fields, relation.project(outputs).to_arrow_table()
            except duckdb.Error as fault:
                raise fault_of(fault) from None

    def stop(self, ticket: object) -> None:
        """End the statement of ``ticket`` if it is running; from any thread."""
        if self._opened is not None:
            self._opened.stop(ticket)

    def describe(self, sql: str, parameters: Sequence[object]) -> tuple[Field, ...]:
        """Names and DuckDB types of the answer; nothing runs."""
        with self._lock:
            return _fields(self._bind(sql, parameters))

    def close(self) -> None:
        """Drop everything."""
        with self._lock:
            self._tables.clear()
            if self._opened is not None:
                self._opened.connection.close()
                self._opened = None

    def taken(self, name: str) -> Error:
        """What is said when ``name`` is already there."""
        return error(
            "CONFLICT",
            f"there is a temporary table {name!r} already",
            hint="CREATE OR REPLACE TEMP TABLE, or DROP TABLE first",
        )

    def unknown(self, name: str) -> Error:
        """What is said when there is no ``name``."""
        known = [table.name for table in self._tables.values()]
        hint = nearest(name, known) or "none was created in this connection"
        return error("UNKNOWN_TABLE", f"no temporary table {name!r}", hint=hint)

    def _lane(self) -> Lane:
        if self._opened is None:
            self._opened = Lane(f"ATTACH ':memory:' AS {SCRATCH}", f"USE {SCRATCH}")
        return self._opened

    def _connection(self) -> duckdb.DuckDBPyConnection:
        return self._lane().connection

    def _bind(self, sql: str, parameters: Sequence[object]) -> duckdb.DuckDBPyRelation:
        try:
            return self._connection().sql(sql, params=list(parameters))
        except duckdb.Error as fault:
            known = {table.name: table.fields for table in self._tables.values()}
            raise binding_error(fault, known) from None


def _fields(relation: duckdb.DuckDBPyRelation) -> tuple[Field, ...]:
    kinds = zip(relation.columns, relation.types, strict=True)
    return tuple(Field(name, str(kind)) for name, kind in kinds)


def _typed(place: int, field: Field) -> str:
    """An arrived column under its name and, where the wire has another type, its own."""
    known = known_type(field.type)
    cast = known not in (None, "NULL") and wire_type(field.type) != known
    text = f"CAST(c{place} AS {known})" if cast else f"c{place}"
    return f"{text} AS {_quoted(field.name)}"


def _wire(place: int, field: Field) -> str:
    """An output in wire form; a nested one, which never left a pod, as it is."""
    known = known_type(field.type)
    text = f"#{place + 1}"
    if known not in (None, "HUGEINT") and wire_type(field.type) != known:
        text = f"CAST({text} AS {wire_type(field.type)})"
    return f"{text} AS {_quoted(field.name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
