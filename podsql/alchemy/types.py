"""SQLAlchemy's types for DuckDB's, and DuckDB's spelling of SQLAlchemy's."""

from typing import Any, Final

from sqlalchemy import types
from sqlalchemy.sql.compiler import GenericTypeCompiler
from sqlalchemy.types import TypeEngine

from podsql.planner.wire_types import decimal_parts, enum_values, is_enum, known_type

_TYPES: Final[dict[str, type[TypeEngine[Any]] | TypeEngine[Any]]] = {
    "BOOLEAN": types.BOOLEAN,
    "TINYINT": types.SMALLINT,
    "SMALLINT": types.SMALLINT,
    "INTEGER": types.INTEGER,
    "BIGINT": types.BIGINT,
    "HUGEINT": types.NUMERIC(38, 0, asdecimal=False),
    "UTINYINT": types.SMALLINT,
    "USMALLINT": types.INTEGER,
    "UINTEGER": types.BIGINT,
    "UBIGINT": types.NUMERIC(20, 0, asdecimal=False),
    "UHUGEINT": types.NUMERIC(39, 0, asdecimal=False),
    "FLOAT": types.REAL,
    "DOUBLE": types.DOUBLE,
    "VARCHAR": types.VARCHAR,
    "BIT": types.VARCHAR,
    "BLOB": types.BLOB,
    "UUID": types.UUID,
    "DATE": types.DATE,
    "TIME": types.TIME,
    "TIME WITH TIME ZONE": types.TIME(timezone=True),
    "TIMESTAMP": types.TIMESTAMP,
    "TIMESTAMP_S": types.TIMESTAMP,
    "TIMESTAMP_MS": types.TIMESTAMP,
    "TIMESTAMP_NS": types.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": types.TIMESTAMP(timezone=True),
    "INTERVAL": types.Interval,
}


def alchemy_type(duck_type: str) -> TypeEngine[Any]:
    """The type of a reflected column; of a nested one NullType, whose values pass as they are."""
    known = known_type(duck_type) or ""
    parts = decimal_parts(known)
    if parts is not None:
        return types.DECIMAL(*parts)
    if is_enum(known):
        return types.Enum(*enum_values(known), native_enum=False)
    found = _TYPES.get(known, types.NullType)
    return types.to_instance(found)


class PodsqlTypeCompiler(GenericTypeCompiler):
    """DuckDB's names of types: texts have no length, FLOAT has 32 bits there and is DOUBLE here."""

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        """64 bits, as Python's."""
        return "DOUBLE"

    def visit_DATETIME(self, type_: Any, **kw: Any) -> str:
        """DuckDB's name."""
        return "TIMESTAMP"

    def visit_TIMESTAMP(self, type_: Any, **kw: Any) -> str:
        """With or without a time zone."""
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"

    def visit_interval(self, type_: Any, **kw: Any) -> str:
        """Native."""
        return "INTERVAL"

    def visit_JSON(self, type_: Any, **kw: Any) -> str:
        """As text: no pod releases JSON as such."""
        return "VARCHAR"
