"""Arrow results from a peer nobody trusts: bounded, typed and validated before anyone reads a value.

pyarrow and DuckDB follow forged offsets into a crash unless a batch is validated first, and tiny
messages can claim billions of rows. Rule to keep: no byte reaches pyarrow before
``arrow_layout`` has judged it, and no batch leaves before ``validate(full=True)``.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from podsql.relay.arrow_layout import (
    ALIGNMENT,
    SCHEMA,
    Claim,
    Shape,
    check_batch,
    read_claim,
    read_shapes,
    refuse,
)

MESSAGE_LIMIT: Final = 64 << 20
METADATA_LIMIT: Final = 4 << 20
_KEPT_BYTES: Final = 8192
"""A longer schema is judged anew each time, so that hostile ones cannot fill the memory."""
# Flatbuffers' own verifier reports as OSError, names that are not text as ValueError.
_REFUSALS: Final = (pa.ArrowException, OSError, ValueError)
_PREFIX_BYTES: Final = 8
_CONTINUATION: Final = b"\xff\xff\xff\xff"


def read_guarded(
    data: bytes, *, schema: pa.Schema | None, max_rows: int, max_bytes: int
) -> pa.Table:
    """Read a whole IPC stream; BAD_RESULT unless it is sound and within what was promised."""
    reader = GuardedReader(schema=schema, max_rows=max_rows, max_bytes=max_bytes)
    batches = list(reader.feed(data))
    reader.finish()
    return pa.Table.from_batches(batches, schema=reader.schema)


class GuardedReader:
    """Reads an IPC stream that arrives in pieces; holds at most one message of it.

    ``schema`` is the expected one, or the stream's own after its first message. A reader that
    refused once refuses for good.
    """

    def __init__(self, *, schema: pa.Schema | None, max_rows: int, max_bytes: int) -> None:
        self.schema = None if schema is None else schema.remove_metadata()
        self.rows = 0
        self._shapes: tuple[Shape, ...] | None = None
        self._rows_left, self._bytes_left = max_rows, max_bytes
        self._held = bytearray()
        self._wanted = _PREFIX_BYTES
        self._claim: Claim | None = None
        self._ended = False
        self._broken = False

    def feed(self, data: bytes) -> Iterator[pa.RecordBatch]:
        """Take the next bytes, all of them; return the batches that they complete."""
        if self._broken:
            raise refuse("an earlier part was refused")
        self._broken = True
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise refuse("more bytes than promised")
        # Read now, not when the caller iterates: a refusal belongs to the bytes that caused it.
        batches = list(self._read(memoryview(data)))
        self._broken = False
        return iter(batches)

    def finish(self) -> None:
        """Say that no more bytes come; BAD_RESULT unless the stream ended by its own mark."""
        if self._broken or not self._ended:
            raise refuse("the stream stops before its end")

    def _read(self, data: memoryview) -> Iterator[pa.RecordBatch]:
        while data:
            if self._ended:
                raise refuse("bytes after the end of the stream")
            missing = self._wanted - len(self._held)
            self._held += data[:missing]
            data = data[missing:]
            while len(self._held) == self._wanted and not self._ended:
                yield from self._advance()

    def _advance(self) -> Iterator[pa.RecordBatch]:
        """Take the part that is complete: prefix, metadata or body; say how much the next needs."""
        if self._wanted == _PREFIX_BYTES:
            self._take_prefix()
        elif self._claim is None:
            self._claim = self._take_metadata()
            self._wanted += self._claim.body
        else:
            # pyarrow keeps the bytearray; the next message gets its own.
            claim, message = self._claim, self._held
            self._claim, self._held, self._wanted = None, bytearray(), _PREFIX_BYTES
            if claim.kind == SCHEMA:
                self._take_schema(message)
            else:
                yield self._batch(message)

    def _take_prefix(self) -> None:
        size = int.from_bytes(self._held[4:], "little", signed=True)
        if self._held[:4] != _CONTINUATION or not 0 <= size <= METADATA_LIMIT:
            raise refuse("not an IPC stream")
        if size % ALIGNMENT:
            raise refuse("metadata that is not aligned")
        if size == 0:
            if self._shapes is None:
                raise refuse("no schema")
            self._ended = True
        self._wanted += size

    def _take_metadata(self) -> Claim:
        claim = read_claim(bytes(self._held[_PREFIX_BYTES:]))
        if not 0 <= claim.body <= MESSAGE_LIMIT - self._wanted:
            raise refuse("a message over 64 MiB")
        if (claim.kind == SCHEMA) != (self._shapes is None):
            raise refuse("messages out of order")
        if self._shapes is not None:
            rows = check_batch(claim.header, claim.body, self._shapes, self._rows_left)
            self._rows_left -= rows
            self.rows += rows
        elif claim.body:
            raise refuse("a schema with a body")
        return claim

    def _take_schema(self, message: bytearray) -> None:
        judge = _known_schema if len(message) <= _KEPT_BYTES else _judged_schema
        shapes, schema = judge(bytes(message))
        if self.schema is not None and not schema.equals(self.schema):
            raise refuse("another schema than promised")
        self._shapes, self.schema = shapes, schema

    def _batch(self, message: bytearray) -> pa.RecordBatch:
        try:
            batch = pa.ipc.read_record_batch(
                pa.ipc.read_message(pa.py_buffer(message)), self.schema
            )
            batch.validate(full=True)
        except _REFUSALS:
            raise refuse("a batch that does not validate") from None
        return batch


def _judged_schema(message: bytes) -> tuple[tuple[Shape, ...], pa.Schema]:
    """Layout and schema of a whole schema message; nothing but its bytes decides."""
    shapes = read_shapes(read_claim(message[_PREFIX_BYTES:]).header)
    try:
        return shapes, pa.ipc.read_schema(pa.py_buffer(message)).remove_metadata()
    except _REFUSALS:
        raise refuse("a schema that does not read") from None


_known_schema = lru_cache(maxsize=256)(_judged_schema)
"""Pods answer one question with one schema, each and every time."""
