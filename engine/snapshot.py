"""A pod's data frozen into one read-only DuckDB file, built by a process that may die of it.

Rule to keep: a pod parses no byte of a source file itself. ``build_snapshot`` starts the importer
(``podsql.engine.importer``), which restricts itself to the sources and one folder, and moves the
finished file into place in one step, so a snapshot is there whole or not at all.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from podsql.engine.import_request import (
    ImportReply,
    ImportRequest,
    Note,
    TableSource,
    ViewSource,
)
from podsql.engine.importer import BUILT_NAME, answer
from podsql.engine.job import Dataset
from podsql.engine.sandbox import ENVIRONMENT
from podsql.errors import error
from podsql.planner.fragment import Field

__all__ = ["Note", "Snapshot", "TableSource", "ViewSource", "build_snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A pod's data at one moment. ``version`` is a hash of every table's content."""

    path: Path
    version: str
    schemas: Mapping[str, tuple[Field, ...]]
    hashes: Mapping[str, str]
    """Content hash by table; of equal rows it is equal in every pod, in whatever order they lie."""
    rows: Mapping[str, int]
    datasets: tuple[Dataset, ...]
    notes: tuple[Note, ...]
    layers: tuple[str, ...]
    """Sandbox layers that held while the sources were parsed."""


def build_snapshot(
    tables: Sequence[TableSource],
    views: Sequence[ViewSource],
    directory: Path,
    *,
    memory_mb: int = 2048,
    threads: int = 2,
    seconds: float = 3600.0,
    isolated: bool = True,
) -> Snapshot:
    """Import ``tables``, compute ``views``; SOURCE says which table or column is wrong (blocking).

    ``isolated=False`` imports in this process: for trials over one's own data, never for a pod.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=".building-", dir=directory))
    request = ImportRequest(
        tables=tuple(tables),
        views=tuple(views),
        folder=str(folder),
        memory_mb=memory_mb,
        threads=threads,
        cpu_seconds=int(seconds * threads) + 10,
    )
    try:
        reply = _import(request, seconds) if isolated else answer(request, isolated=False)
        if reply.code:
            raise error(reply.code, reply.message, hint=reply.hint)
        path = directory / f"{reply.version}.duckdb"
        built = folder / BUILT_NAME
        os.chmod(built, 0o400)
        os.replace(built, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Snapshot(
        path=path,
        version=reply.version,
        schemas={table.name: table.columns for table in reply.tables},
        hashes={table.name: table.content_hash for table in reply.tables},
        rows={table.name: table.rows for table in reply.tables},
        datasets=reply.datasets,
        notes=reply.notes,
        layers=reply.layers,
    )


def _import(request: ImportRequest, seconds: float) -> ImportReply:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "podsql.engine.importer"],
            input=msgspec.msgpack.encode(request),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**ENVIRONMENT, "HOME": request.folder},
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise error(
            "SOURCE", "the import took too long", hint="import fewer or smaller tables"
        ) from None
    try:
        return msgspec.msgpack.decode(done.stdout, type=ImportReply)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error(
            "SOURCE",
            "the import ended without an answer",
            hint="a source file is damaged or hostile, or needs more memory than the limit",
        ) from None
