"""What the pod asks the importing process for, and what that answers. Plain data.

Rule to keep: an answer holds names, types, counts and hashes; never a value.
"""

from typing import Literal

import msgspec

from podsql.engine.job import Dataset
from podsql.planner.fragment import Field


class TableSource(msgspec.Struct, frozen=True, kw_only=True):
    """A table to import: where it is and what the custodian declared about it."""

    name: str
    """``schema.table``."""
    path: str
    format: str | None = None
    source_table: str | None = None
    kind: Literal["federated", "reference"] = "federated"
    mode: Literal["snapshot", "in_place"] = "snapshot"
    columns: dict[str, str] = {}
    """Column -> declared DuckDB type."""
    null_values: dict[str, str] = {}
    privacy_unit: str | None = None
    local_keys: tuple[str, ...] = ()
    opt_out: tuple[str, ...] = ()
    """Privacy units whose rows are left out, as text."""


class ViewSource(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset computed in SQL from the others when the snapshot is built."""

    name: str
    sql: str
    kind: Literal["federated", "reference"] = "federated"
    privacy_unit: str | None = None
    local_keys: tuple[str, ...] = ()


class Note(msgspec.Struct, frozen=True, array_like=True):
    """Something the custodian should know about a table; names and counts only."""

    table: str
    text: str
    hint: str = ""


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the importer reads from its standard input."""

    tables: tuple[TableSource, ...]
    views: tuple[ViewSource, ...]
    folder: str
    memory_mb: int
    threads: int
    cpu_seconds: int


class ImportedTable(msgspec.Struct, frozen=True, array_like=True):
    """One finished table."""

    name: str
    columns: tuple[Field, ...]
    rows: int
    content_hash: str


class ImportReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the importer writes to its standard output."""

    tables: tuple[ImportedTable, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    notes: tuple[Note, ...] = ()
    version: str = ""
    layers: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    hint: str = ""
