"""A request's result at the pod: small ones whole, large ones as sealed chunks kept for resume.

Feed the engine's Arrow IPC bytes to ``Output.add``; after ``finish`` the result can be sent any
number of times, always the same bytes. Nothing here runs a query, so nothing is run twice.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from podsql.errors import error
from podsql.message import Signed
from podsql.messages import Accepted, Result, StreamTicket
from podsql.relay.frames import CHUNK_BYTES
from podsql.relay.sealing import ChunkSealer, new_stream
from podsql.relay.streams import StreamSource

INLINE_BYTES = 256 * 1024
"""A result up to this size travels inside its reply."""

STREAM_MEMORY = 16 << 20
"""Sealed bytes of a stream that stay in memory; the rest goes to the spool."""


@dataclass(kw_only=True)
class Output:
    """The bytes of one result. ``on_stream`` is called once, when it turns out to be large."""

    request_id: bytes
    spool: Path
    on_stream: Callable[[], None]
    source: StreamSource | None = None
    ticket: StreamTicket | None = None
    evidence: Signed | None = None
    total: int = 0
    _pending: bytearray = field(default_factory=bytearray)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _sealer: ChunkSealer | None = None
    _chunks: int = 0

    def add(self, data: bytes) -> None:
        """More Arrow IPC bytes from the engine."""
        self.total += len(data)
        self._digest.update(data)
        self._pending += data
        if self._sealer is None and len(self._pending) > INLINE_BYTES:
            self._begin_stream()
        if self._sealer is not None:
            while len(self._pending) > CHUNK_BYTES:
                self._seal(bytes(self._pending[:CHUNK_BYTES]), final=False)
                del self._pending[:CHUNK_BYTES]

    def finish(self) -> None:
        """The engine is done; the last chunk is marked final."""
        if self._sealer is not None:
            self._seal(bytes(self._pending), final=True)
            self._pending.clear()

    def _begin_stream(self) -> None:
        stream, key = new_stream()
        self._sealer = ChunkSealer(stream, key)
        self.ticket = StreamTicket(stream=stream, key=key)
        self.source = StreamSource(stream, folder=self.spool, memory=STREAM_MEMORY)
        self.on_stream()

    def _seal(self, data: bytes, *, final: bool) -> None:
        assert self._sealer is not None
        assert self.source is not None
        self.source.append(self._sealer.seal(self._chunks, data, final), final)
        self._chunks += 1

    def take(self) -> bytes:
        """What was added so far, which does not leave by this way; RESULT_TOO_BIG of a large one."""
        if self._sealer is not None:
            raise error("RESULT_TOO_BIG", "a result of this size cannot go into a sum")
        taken = bytes(self._pending)
        self._pending.clear()
        self.total, self._digest = 0, hashlib.sha256()
        return taken

    @property
    def chunks(self) -> int:
        """Sealed chunks so far; 0 for an inline result."""
        return self._chunks

    @property
    def sha256(self) -> bytes:
        """Of every byte added."""
        return self._digest.digest()

    def reply(self, *, attached: bool) -> Result | Accepted | None:
        """What to tell the analyst now; None while a small result is still being made."""
        if self.ticket is not None:
            return Accepted(request_id=self.request_id, ticket=self.ticket, attached=attached)
        if self.evidence is not None:
            return Result(
                request_id=self.request_id, arrow=bytes(self._pending), evidence=self.evidence
            )
        return None

    def close(self) -> None:
        """Drop the bytes."""
        if self.source is not None:
            self.source.close()
        self._pending.clear()
