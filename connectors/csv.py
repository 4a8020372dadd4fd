"""Delimited text. Types are guessed over the whole file, except where the custodian declared one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from podsql.connectors.files import check_files, find_files
from podsql.connectors.source import Finding, SourceColumn, path_list, read_schema, text_literal

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".gz")


@dataclass(frozen=True, slots=True)
class CsvSource:
    """One table in one or more files."""

    paths: tuple[Path, ...]
    kind: str = "csv"
    in_place: str | None = None

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""
        return check_files(self.paths)

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""
        return read_schema(self)

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """The text to put behind FROM."""
        # A value that only looks like a number ('01234') must reach a declared cast as it stands.
        types = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in as_text)
        options = f", types={{{types}}}" if types else ""
        return f"read_csv({path_list(self.paths)}, sample_size=-1, union_by_name=true{options})"


def open_csv(path: str | Path, table: str | None) -> CsvSource:
    """The source of ``path`` (a file, a folder or a pattern)."""
    return CsvSource(find_files(path, SUFFIXES))
