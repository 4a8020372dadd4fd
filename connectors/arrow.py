"""Arrow IPC: files (Feather 2) and streams; tables in memory are spooled to a file first.

Rule to keep: what is served or imported is a file that can be scanned twice, never a one-shot
reader that the first scan uses up.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from podsql.connectors.files import check_files, find_files
from podsql.connectors.source import Finding, SourceColumn, read_schema

SUFFIXES: Final = (".arrow", ".feather", ".ipc", ".arrows")
_MAGIC: Final = b"ARROW1"
_STREAM: Final = b"\xff\xff\xff\xff"
_NAME: Final = "arrow_source"


@dataclass(frozen=True, slots=True)
class ArrowSource:
    """One table in one or more IPC files, or in one IPC stream."""

    paths: tuple[Path, ...]
    stream: bool
    kind: str = "arrow"

    @property
    def in_place(self) -> str | None:
        """Files can be scanned where they lie; a stream cannot."""
        return None if self.stream else "ipc"

    def check(self) -> tuple[Finding, ...]:
        """What is wrong without parsing the content."""
        return check_files(self.paths, _STREAM if self.stream else _MAGIC)

    def schema(self) -> tuple[SourceColumn, ...]:
        """Columns and their DuckDB types."""
        return read_schema(self)

    def attach(self, con: duckdb.DuckDBPyConnection, as_text: tuple[str, ...] = ()) -> str:
        """Register the files; the name to put behind FROM."""
        if self.stream:
            # Mapped, so that a stream larger than memory can be imported.
            readers = [pa.ipc.open_stream(pa.memory_map(str(path))) for path in self.paths]
            con.register(_NAME, pa.Table.from_batches(b for r in readers for b in r))
        else:
            import pyarrow.dataset  # slow to load, and only for files that are served in place

            con.register(_NAME, pyarrow.dataset.dataset(list(map(str, self.paths)), format="ipc"))
        return _NAME


def open_arrow(path: str | Path, table: str | None) -> ArrowSource:
    """The source of ``path`` (a file, a folder or a pattern)."""
    paths = find_files(path, SUFFIXES)
    with paths[0].open("rb") as file:
        return ArrowSource(paths, stream=file.read(4) == _STREAM)


def spool_table(table: pa.Table, path: Path) -> Path:
    """Write a table in memory to an IPC file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=131_072)
    return path
