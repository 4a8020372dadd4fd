"""JSON: an array of objects or one object a line. Types are guessed over the whole file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from podsql.connectors.files import check_files, find_files
from podsql.connectors.source import Finding, SourceColumn, path_list, read_schema

SUFFIXES: Final = (".json", ".ndjson", ".jsonl")


@dataclass(frozen=True, slots=True)
class JsonSource:
    """One table in one or more files."""

    paths: tuple[Path, ...]
    kind: str = "json"
    in_place: str | None = None

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""
        return check_files(self.paths)

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""
        return read_schema(self)

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """The text to put behind FROM."""
        return f"read_json({path_list(self.paths)}, sample_size=-1, union_by_name=true)"


def open_json(path: str | Path, table: str | None) -> JsonSource:
    """The source of ``path`` (a file, a folder or a pattern)."""
    return JsonSource(find_files(path, SUFFIXES))
