"""The importing process: ``python -m podsql.engine.importer``. Request on stdin, reply on stdout.

Rule to keep: it finds the files, gives up everything but those and its folder, and only then
parses. What it says about a failure is made of names and counts (cast errors quote values).
"""

import importlib
import os
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import pyarrow as pa

from podsql.connectors.registry import open_source
from podsql.connectors.source import Source, quoted, unreadable
from podsql.engine.columns import (
    cast_failures,
    check_declared,
    content_hash,
    projection,
    relation_name,
)
from podsql.engine.import_request import (
    ImportedTable,
    ImportReply,
    ImportRequest,
    Note,
    TableSource,
    ViewSource,
)
from podsql.engine.job import Dataset
from podsql.engine.lock import NO_SURPRISES
from podsql.engine.no_pandas import leave_pandas_out
from podsql.engine.sandbox import restrict
from podsql.errors import Error, error
from podsql.planner.fragment import Field
from podsql.planner.local_keys import key_column
from podsql.planner.settings import PINNED_SETTINGS

BUILT_NAME: Final = "built.duckdb"


class Importer:
    """Builds one snapshot file in ``folder``."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self.tables: list[ImportedTable] = []
        self.datasets: list[Dataset] = []
        self.notes: list[Note] = []

    def table(self, table: TableSource, source: Source) -> None:
        """Import one table, or prepare it to be served in place."""
        for finding in source.check():
            if finding.level == "error":
                raise error("SOURCE", f"table {table.name!r}: {finding.text}", hint=finding.hint)
            self.notes.append(Note(table.name, finding.text, finding.hint))
        self._schema(table.name)
        target = relation_name(table.name)
        if table.mode == "in_place":
            self._in_place(table, source, target)
            return
        origin, select = self._select(table, source)
        try:
            self._con.execute(f"CREATE TABLE {target} AS {self._without_opted_out(table, select)}")
        except (duckdb.ConversionException, duckdb.OutOfRangeException):
            origin, _ = self._select(table, source)
            raise cast_failures(self._con, table.name, origin, table.columns) from None
        self._finish(table)

    def view(self, view: ViewSource) -> None:
        """Compute one view and keep its rows."""
        statements = self._con.extract_statements(view.sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise error("SOURCE", f"view {view.name!r} is not one SELECT")
        self._schema(view.name)
        self._con.execute(
            f"CREATE TABLE {relation_name(view.name)} AS {view.sql.rstrip().rstrip(';')}"
        )
        self._finish(view)

    def _schema(self, name: str) -> None:
        schema = name.split(".")[0]
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")

    def _select(self, table: TableSource, source: Source) -> tuple[str, str]:
        try:
            origin = source.attach(self._con, tuple(table.columns))
            found = self._describe(origin)
        except duckdb.BinderException:
            # A reader refuses declared columns that the file lacks before we can compare names.
            found = self._describe(source.attach(self._con))
            check_declared(table, [name for name, _ in found])
            raise
        except (duckdb.IOException, duckdb.InvalidInputException, pa.ArrowException, OSError):
            raise unreadable(source) from None
        check_declared(table, [name for name, _ in found])
        return origin, f"SELECT {projection(table, found)} FROM {origin}"

    def _without_opted_out(self, table: TableSource, select: str) -> str:
        """``select`` without the rows of units that opted out: they never enter the snapshot."""
        if not table.opt_out or table.privacy_unit is None:
            return select
        unit = table.privacy_unit.lower()
        kinds = {name.lower(): kind for name, kind in self._describe(f"({select})")}
        if unit not in kinds:
            raise error("SOURCE", f"table {table.name!r} has no column {table.privacy_unit!r}")
        listed = pa.table({"place": range(1, len(table.opt_out) + 1), "unit": list(table.opt_out)})
        self._con.register("opted_out", listed)
        wrong = self._con.execute(
            f"SELECT min(place) FROM opted_out WHERE TRY_CAST(unit AS {kinds[unit]}) IS NULL"
        ).fetchone()
        if wrong and wrong[0] is not None:
            raise error(
                "SOURCE",
                f"table {table.name!r}: entry {wrong[0]} of its opt-out list is no {kinds[unit]}",
                hint=f"one value of {table.privacy_unit} a line",
            )
        return (
            f"SELECT * FROM ({select}) AS origin WHERE NOT coalesce(origin.{quoted(unit)} IN"
            f" (SELECT CAST(unit AS {kinds[unit]}) FROM opted_out), false)"
        )

    def _in_place(self, table: TableSource, source: Source, target: str) -> None:
        """A view over a name that the engine registers: files are opened there, not here."""
        if source.in_place is None:
            raise error(
                "SOURCE",
                f"table {table.name!r}: {source.kind} cannot be served in place",
                hint='use mode = "snapshot"',
            )
        # An opaque name: what a custodian calls a table never becomes one of ours.
        name = "place_" + blake2b(table.name.encode(), digest_size=12).hexdigest()
        import pyarrow.dataset  # the process has it loaded before it restricts itself

        dataset = Dataset(name, source.in_place, tuple(map(str, source.paths)))
        self._con.register(
            name, pyarrow.dataset.dataset(list(dataset.paths), format=dataset.format)
        )
        found = self._describe(name)
        check_declared(table, [column for column, _ in found])
        self._con.execute(f"CREATE VIEW {target} AS SELECT {projection(table, found)} FROM {name}")
        self.datasets.append(dataset)
        self._finish(table)

    def _finish(self, table: TableSource | ViewSource) -> None:
        target = relation_name(table.name)
        columns = tuple(Field(name, kind) for name, kind in self._describe(target))
        names = {column.name.lower() for column in columns}
        keys = [key_column(written) for written in table.local_keys]
        for key in (*keys, *([table.privacy_unit] if table.privacy_unit else [])):
            if key.lower() not in names:
                raise error("SOURCE", f"table {table.name!r} has no column {key!r}")
        rows, digest = content_hash(self._con, target, [column.name for column in columns])
        self.tables.append(ImportedTable(table.name, columns, rows, digest))
        if not rows:
            self.notes.append(Note(table.name, "the table is empty"))
        if table.privacy_unit:
            self._count_nulls(table.name, table.privacy_unit, rows)

    def _count_nulls(self, name: str, key: str, rows: int) -> None:
        sql = f"SELECT count(*) - count({quoted(key)}) FROM {relation_name(name)}"
        found = self._con.execute(sql).fetchone()
        if found and found[0]:
            text = f"{found[0]} of {rows} rows have no {key}"
            self.notes.append(Note(name, text, "rows without a privacy unit count for nobody"))

    def _describe(self, relation: str) -> list[tuple[str, str]]:
        rows = self._con.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        return [(str(row[0]), str(row[1])) for row in rows]


def build(request: ImportRequest, *, isolated: bool) -> ImportReply:
    """Restrict this process if it is one of its own, then import."""
    sources = [
        open_source(table.path, format=table.format, table=table.source_table)
        for table in request.tables
    ]
    folder = Path(request.folder)
    layers = _restrict(request, sources) if isolated else ()
    con = duckdb.connect(str(folder / BUILT_NAME))
    try:
        for setting in (*NO_SURPRISES, *PINNED_SETTINGS, *_room(request)):
            con.execute(setting)
        importer = Importer(con)
        for table, source in zip(request.tables, sources, strict=True):
            with _naming(f"table {table.name!r}"):
                importer.table(table, source)
        _compute_views(importer, request.views)
        con.execute("DETACH DATABASE IF EXISTS attached_source")
        con.execute("CHECKPOINT")
    finally:
        con.close()
    return ImportReply(
        tables=tuple(importer.tables),
        datasets=tuple(importer.datasets),
        notes=tuple(importer.notes),
        version=_version(importer.tables),
        layers=layers,
    )


def _restrict(request: ImportRequest, sources: Sequence[Source]) -> tuple[str, ...]:
    files = (path for source in sources for path in source.paths)
    return restrict(
        readable=[*files, Path(sys.prefix), Path(sys.base_prefix)],
        writable=[Path(request.folder)],
        memory_mb=request.memory_mb,
        cpu_seconds=request.cpu_seconds,
    ).held


def _room(request: ImportRequest) -> tuple[str, ...]:
    """Unlike a statement, an import may spill: into the one folder it may write."""
    spill = str(Path(request.folder) / "spill").replace("'", "''")
    return (
        f"SET threads={request.threads}",
        f"SET memory_limit='{request.memory_mb}MB'",
        f"SET temp_directory='{spill}'",
    )


def _compute_views(importer: Importer, views: Sequence[ViewSource]) -> None:
    """Views may read each other in any order: one that lacks another waits for it."""
    waiting = list(views)
    while waiting:
        late = []
        for view in waiting:
            try:
                with _naming(f"view {view.name!r}"):
                    importer.view(view)
            except _MissingRelation:
                late.append(view)
        if len(late) == len(waiting):
            raise error(
                "SOURCE",
                f"view {late[0].name!r} reads a table that is not there",
                hint="names are schema.table, as in pod.toml",
            )
        waiting = late


class _MissingRelation(Exception):
    """A view names a relation that does not exist (yet)."""


class _naming:
    """Turns what the engine raises into SOURCE, DISK_FULL or OUT_OF_MEMORY about ``what``."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        what = self._what
        match fault:
            case duckdb.OutOfMemoryException() | MemoryError() | pa.ArrowMemoryError():
                raise error("OUT_OF_MEMORY", f"{what} needs more memory than the import may use")
            case duckdb.CatalogException():
                raise _MissingRelation(what) from None
            case duckdb.IOException() if "No space left" in str(fault):
                raise error("DISK_FULL", f"no room on disk to import {what}") from None
            case duckdb.ParserException():
                raise error("SOURCE", f"{what}: the SQL is not valid") from None
            case duckdb.BinderException():
                raise error(
                    "SOURCE", f"{what}: a column or type is unknown or does not fit"
                ) from None
            case duckdb.Error() | pa.ArrowException() | OSError():
                raise error("SOURCE", f"{what} cannot be imported") from None


def _version(tables: Sequence[ImportedTable]) -> str:
    digest = blake2b(digest_size=16)
    digest.update(msgspec.msgpack.encode(sorted(tables, key=lambda table: table.name)))
    return digest.hexdigest()


def answer(request: ImportRequest, *, isolated: bool) -> ImportReply:
    """Import; a failure becomes a reply too."""
    try:
        return build(request, isolated=isolated)
    except Error as fault:
        return ImportReply(code=fault.code, message=fault.message, hint=fault.hint)
    except _MissingRelation as fault:
        return ImportReply(code="SOURCE", message=f"{fault}: a type of a column is unknown")


def main() -> None:
    """One request, one reply."""
    leave_pandas_out()
    importlib.import_module("pyarrow.dataset")  # once restricted, nothing can be loaded
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=ImportRequest)
    # The reply's descriptor is ours alone: nothing a library prints can get between.
    out = os.dup(1)
    os.dup2(2, 1)
    reply = answer(request, isolated=True)
    with os.fdopen(out, "wb") as file:
        file.write(msgspec.msgpack.encode(reply))


if __name__ == "__main__":
    main()
