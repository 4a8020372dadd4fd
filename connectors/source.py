"""What a data source must be able to do. Rule to keep: a source reads and never writes, and says
what is wrong in names and counts, never in values.

``check`` looks at names, sizes and first bytes only. ``schema`` and ``attach`` parse the file and
so belong in a process that may die of it (the engine's importer).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import duckdb

from podsql.errors import error


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column as the source has it: name and DuckDB type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the custodian should know about a source."""

    level: Literal["error", "warning"]
    text: str
    hint: str = ""


class Source(Protocol):
    """A table in somebody's format."""

    @property
    def kind(self) -> str:
        """Name of the connector."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is read: what the sandbox of the reader must let through."""

    @property
    def in_place(self) -> str | None:
        """Format in which the engine can scan the files themselves, None if it must import."""

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """Make the table readable on ``con`` once; the text to put behind FROM.

        ``as_text`` names columns with a declared type: formats without types deliver them as
        text, so that a cast decides and no guess comes first.
        """


def read_schema(source: Source) -> tuple[SourceColumn, ...]:
    """Columns of ``source`` as DuckDB sees them; SOURCE if it cannot be read."""
    con = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    try:
        found = con.execute(f"DESCRIBE SELECT * FROM {source.attach(con)}").fetchall()
    except (duckdb.Error, OSError, ValueError):
        raise unreadable(source) from None
    finally:
        con.close()
    return tuple(SourceColumn(str(row[0]), str(row[1])) for row in found)


def unreadable(source: Source) -> Exception:
    """The SOURCE error of a file that is not what its kind says."""
    name = source.paths[0].name if source.paths else source.kind
    return error(
        "SOURCE",
        f"{name!r} cannot be read as {source.kind}",
        hint="check the format, or name it with format = …",
    )


def text_literal(text: str) -> str:
    """``text`` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """``name`` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def path_list(paths: tuple[Path, ...]) -> str:
    """``paths`` as a SQL list. DuckDB would read wildcards in them: brackets are escaped."""
    return "[" + ", ".join(text_literal(_no_wildcards(str(path))) for path in paths) + "]"


def _no_wildcards(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)
