"""Parquet files; several are one table, columns matched by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from podsql.connectors.files import check_files, find_files
from podsql.connectors.source import Finding, SourceColumn, path_list, read_schema

SUFFIXES: Final = (".parquet", ".pq")


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """One table in one or more files."""

    paths: tuple[Path, ...]
    kind: str = "parquet"
    in_place: str | None = "parquet"

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""
        return check_files(self.paths, b"PAR1")

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""
        return read_schema(self)

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """The text to put behind FROM."""
        return f"read_parquet({path_list(self.paths)}, union_by_name=true)"


def open_parquet(path: str | Path, table: str | None) -> ParquetSource:
    """The source of ``path`` (a file, a folder or a pattern)."""
    return ParquetSource(find_files(path, SUFFIXES))
