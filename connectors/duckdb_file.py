"""A table or view inside a DuckDB file, opened read-only. A file that a writer holds is refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from podsql.connectors.files import check_files, find_files
from podsql.connectors.source import Finding, SourceColumn, quoted, read_schema, text_literal
from podsql.errors import error

SUFFIXES: Final = (".duckdb", ".ddb", ".db")
_ALIAS: Final = "attached_source"


@dataclass(frozen=True, slots=True)
class DuckDBSource:
    """One table of one file."""

    file: Path
    table: str | None
    kind: str = "duckdb"
    in_place: str | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file and its write-ahead log, if it has one."""
        log = self.file.with_name(self.file.name + ".wal")
        return (self.file, log) if log.exists() else (self.file,)

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""
        findings = list(check_files((self.file,)))
        if not findings:
            with self.file.open("rb") as file:
                if file.read(12)[8:] != b"DUCK":
                    findings.append(Finding("error", f"{self.file.name!r} is not a DuckDB file"))
        return tuple(findings)

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""
        return read_schema(self)

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """Attach the file; the qualified name of the table."""
        con.execute(f"DETACH DATABASE IF EXISTS {_ALIAS}")
        con.execute(f"ATTACH {text_literal(str(self.file))} AS {_ALIAS} (READ_ONLY)")
        found = con.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_catalog = ? ORDER BY ALL",
            [_ALIAS],
        ).fetchall()
        schema, name = self._choose([(str(a), str(b)) for a, b in found])
        return f"{_ALIAS}.{quoted(schema)}.{quoted(name)}"

    def _choose(self, found: list[tuple[str, str]]) -> tuple[str, str]:
        if self.table is None:
            if len(found) == 1:
                return found[0]
            raise error(
                "SOURCE",
                f"{self.file.name!r} holds {len(found)} tables",
                hint="choose one with source_table = …",
            )
        schema, _, name = self.table.rpartition(".")
        wanted = ((schema or "main").lower(), name.lower())
        for candidate in found:
            if (candidate[0].lower(), candidate[1].lower()) == wanted:
                return candidate
        raise error("SOURCE", f"{self.file.name!r} has no table {self.table!r}")


def open_duckdb(path: str | Path, table: str | None) -> DuckDBSource:
    """The source of ``table`` (default: the only one) in the file ``path``."""
    return DuckDBSource(find_files(path, SUFFIXES)[0], table)
