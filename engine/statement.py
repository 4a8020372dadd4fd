"""One statement from SQL to Arrow pieces, the same in a process and in a thread.

Rule to keep: memory is bounded by one record batch and one piece, whatever the result's size, and
rows that fail the guard never leave this function.
"""

from collections.abc import Callable
from typing import Final

import duckdb
import pyarrow as pa

from podsql.engine.limits import PIECE_BYTES
from podsql.engine.pipe import Run
from podsql.errors import error

GUARD: Final = "_ok"
_BATCH_ROWS: Final = 65_536


class PieceWriter:
    """A file for Arrow's stream writer that hands on pieces of ``PIECE_BYTES``."""

    closed = False

    def __init__(self, emit: Callable[[bytes], None], max_bytes: int) -> None:
        self._emit = emit
        self._left = max_bytes
        self._parts: list[bytes] = []
        self._held = 0

    def write(self, data: bytes) -> int:
        """Take what Arrow wrote."""
        size = len(data)
        self._left -= size
        if self._left < 0:
            raise error("RESULT_TOO_BIG", "the result is larger than this pod allows")
        if self._held + size < PIECE_BYTES:
            self._parts.append(data)
            self._held += size
            return size
        view = memoryview(data)
        at = PIECE_BYTES - self._held
        self._emit(b"".join((*self._parts, view[:at])))
        while size - at >= PIECE_BYTES:
            self._emit(bytes(view[at : at + PIECE_BYTES]))
            at += PIECE_BYTES
        self._parts = [bytes(view[at:])]
        self._held = size - at
        return size

    def rest(self) -> bytes:
        """What no full piece has taken yet."""
        return b"".join(self._parts)

    def flush(self) -> None:
        """Arrow calls it; pieces are cut by size alone."""

    def close(self) -> None:
        """Arrow calls it; the pipe stays open."""


def run_statement(
    con: duckdb.DuckDBPyConnection,
    run: Run,
    *,
    started: Callable[[bytes], None],
    piece: Callable[[bytes], None],
) -> tuple[int, int]:
    """Run the one SELECT in ``run``; returns rows sent and rows withheld."""
    statements = con.extract_statements(run.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise error("POD_FAILED", "the engine runs exactly one SELECT")
    registered = []
    try:
        for name, stream in run.inputs:
            con.register(name, pa.ipc.open_stream(stream).read_all())
            registered.append(name)
        reader = con.sql(statements[0]).to_arrow_reader(_BATCH_ROWS)
        if run.work:
            from podsql.engine.training.local_round import local_round

            reader = local_round(con, reader, run.work)
        return _send(reader, run, started, piece)
    finally:
        con.abort()
        for name in registered:
            con.unregister(name)


def _send(
    reader: pa.RecordBatchReader,
    run: Run,
    started: Callable[[bytes], None],
    piece: Callable[[bytes], None],
) -> tuple[int, int]:
    schema = reader.schema
    if run.guard:
        last = schema.field(len(schema) - 1)
        if last.name != GUARD or last.type != pa.bool_() or len(schema) < 2:
            raise error("POD_FAILED", "a guarded statement has no guard column")
        schema = schema.remove(len(schema) - 1)
    started(schema.serialize().to_pybytes())
    sink = PieceWriter(piece, run.max_bytes)
    rows = withheld = 0
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in reader:
            kept = _released(batch, schema) if run.guard else batch
            withheld += batch.num_rows - kept.num_rows
            rows += kept.num_rows
            if rows > run.max_rows:
                raise error("RESULT_TOO_BIG", "the result has more rows than this pod allows")
            if kept.num_rows:
                writer.write_batch(kept)
    piece(sink.rest())
    return rows, withheld


def _released(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows whose guard is true, without the guard."""
    guard = batch.column(batch.num_columns - 1)
    kept = batch if guard.true_count == len(guard) else batch.filter(guard)
    return pa.RecordBatch.from_arrays(kept.columns[:-1], schema=schema)
