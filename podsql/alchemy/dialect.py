"""The dialect: SQLAlchemy's DefaultDialect with DuckDB's spelling and reflection by the catalog.

Rule to keep: nothing here asks a pod for rows. Connecting, pinging and rolling back are local;
reflection reads the signed offers (``SHOW TABLES``, ``DESCRIBE``), which costs no budget.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from sqlalchemy.engine import Connection, reflection
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import (
    ConnectArgsType,
    DBAPIConnection,
    IsolationLevel,
    ReflectedColumn,
    ReflectedPrimaryKeyConstraint,
)
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchTableError
from sqlalchemy.sql.compiler import IdentifierPreparer, SQLCompiler

from podsql import errors
from podsql.alchemy.types import PodsqlTypeCompiler, alchemy_type
from podsql.alchemy.words import RESERVED

SCHEMA = "main"
"""The schema of tables that a custodian declares without one."""
SCRATCH = "scratch"
LOST = frozenset({"CLOSED", "RELAY_UNREACHABLE", "REPLACED", "REVOKED"})
"""Codes after which a connection is of no more use."""
_OPTIONS: Mapping[str, Callable[[str], object]] = {
    "project": str,
    "purpose": str,
    "timeout": float,
}


class PodsqlCompiler(SQLCompiler):
    """LIMIT and OFFSET as DuckDB reads them."""

    def limit_clause(self, select: Any, **kw: Any) -> str:
        """Either may stand alone."""
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text


class PodsqlPreparer(IdentifierPreparer):
    """Names that DuckDB reads only in quotes."""

    reserved_words = RESERVED


class PodsqlDialect(DefaultDialect):
    """``podsql:///path/federation.toml?project=…&purpose=…&timeout=…``; ``podsql://`` finds the file."""

    name = "podsql"
    driver = "podsql"
    default_paramstyle = "qmark"
    statement_compiler = PodsqlCompiler
    preparer = PodsqlPreparer
    type_compiler_cls = PodsqlTypeCompiler
    max_identifier_length = 255
    supports_statement_cache = True
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_uuid = True
    supports_default_values = True
    supports_empty_insert = False
    supports_multivalues_insert = True
    supports_sequences = False
    supports_alter = False
    supports_comments = False
    postfetch_lastrowid = False
    insert_returning = False
    update_returning = False
    delete_returning = False
    div_is_floordiv = False
    default_schema_name = SCHEMA

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """The driver."""
        return import_module("podsql")

    def create_connect_args(self, url: URL) -> ConnectArgsType:
        """The path is the database; no secret has a place in a URL (``PODSQL_PASSPHRASE`` is read)."""
        if url.host or url.username or url.password or url.port:
            raise ArgumentError("podsql:///path/to/federation.toml has a path and no host or user")
        options: dict[str, object] = {}
        for name, text in url.query.items():
            if name not in _OPTIONS or not isinstance(text, str):
                raise ArgumentError(f"podsql URLs know project, purpose and timeout, not {name!r}")
            options[name] = _OPTIONS[name](text)
        return ([url.database] if url.database else [], options)

    # -- a connection ----------------------------------------------------------------------------

    def initialize(self, connection: Connection) -> None:
        """Nothing to ask anybody."""
        self.default_isolation_level = "AUTOCOMMIT"
        self.server_version_info = tuple(
            int(part) for part in self.import_dbapi().__version__.split(".")
        )

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        """Whether it is open; no pod is asked."""
        dbapi_connection.commit()
        return True

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        """Whether a new connection is needed."""
        return isinstance(e, errors.Error) and e.code in LOST

    def get_isolation_level_values(self, dbapi_conn: DBAPIConnection) -> list[IsolationLevel]:
        """There are no transactions."""
        return ["AUTOCOMMIT"]

    def get_isolation_level(self, dbapi_connection: DBAPIConnection) -> IsolationLevel:
        """Always."""
        return "AUTOCOMMIT"

    def set_isolation_level(self, dbapi_connection: DBAPIConnection, level: IsolationLevel) -> None:
        """AUTOCOMMIT is what it is already; others are refused before they come here."""

    def get_default_isolation_level(self, dbapi_conn: DBAPIConnection) -> IsolationLevel:
        """Always."""
        return "AUTOCOMMIT"

    # -- what there is ---------------------------------------------------------------------------

    @reflection.cache
    def _tables(self, connection: Connection, **kw: Any) -> list[tuple[str | None, str, str]]:
        """Schema (None: the connection's own), name and kind of every table."""
        found: list[tuple[str | None, str, str]] = []
        for row in connection.exec_driver_sql("SHOW TABLES"):
            schema, _, name = str(row[0]).rpartition(".")
            found.append((schema or None, name or str(row[0]), str(row[1])))
        return found

    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        """Of the pods' tables, and ``scratch``."""
        return [*sorted({s for s, _, _ in self._tables(connection, **kw) if s}), SCRATCH]

    def get_table_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """Federated and reference tables; with ``scratch`` the connection's own."""
        wanted = None if schema == SCRATCH else schema or SCHEMA
        return [name for own, name, _ in self._tables(connection, **kw) if own == wanted]

    def get_temp_table_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """The connection's own."""
        return self.get_table_names(connection, SCRATCH, **kw)

    def get_view_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """None: a custodian's view is offered as the table that it looks like."""
        return []

    def get_temp_view_names(
        self, connection: Connection, schema: str | None = None, **kw: Any
    ) -> list[str]:
        """None."""
        return []

    def has_table(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> bool:
        """Whether it is offered, or the connection's own."""
        names = {name.lower() for name in self.get_table_names(connection, schema, **kw)}
        return table_name.lower() in names

    @reflection.cache
    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedColumn]:
        """Names, types and whether NULL may occur; NoSuchTableError."""
        try:
            rows = connection.exec_driver_sql(f"DESCRIBE {self._named(table_name, schema)}").all()
        except DBAPIError as fault:
            if isinstance(fault.orig, errors.Error) and fault.orig.code == "UNKNOWN_TABLE":
                raise NoSuchTableError(table_name) from None
            raise
        return [
            {
                "name": row[0],
                "type": alchemy_type(row[1]),
                "nullable": bool(row[2]),
                "default": None,
            }
            for row in rows
        ]

    def _named(self, table: str, schema: str | None) -> str:
        quote = self.identifier_preparer.quote_identifier
        return f"{quote(schema or SCHEMA)}.{quote(table)}"

    def get_pk_constraint(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> ReflectedPrimaryKeyConstraint:
        """None is known: a local key says that its values are in one pod only, not that they differ."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """None is declared."""
        return []

    def get_indexes(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """None can be seen."""
        return []

    def get_unique_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """None is declared."""
        return []

    def get_check_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[Any]:
        """None is declared."""
        return []

    def get_table_comment(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> Any:
        """None is kept."""
        return {"text": None}
