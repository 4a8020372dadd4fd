"""The streams of one peer: those it serves and those it reads, by the other's address and stream id.

Chunks to send are pulled one at a time (``next_chunk``) when the connection can take one, so no queue
of chunks grows here; streams take turns. Rule to keep: a stream record is obeyed only if it came in a
session with the peer the stream was offered to.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error, error
from podsql.messages import Failed, decode_as, encode
from podsql.relay.events import Broke, Chunk, Effect, Send
from podsql.relay.frames import Flag, Header, Kind
from podsql.relay.records import STREAM_BYTES, Record, read_window, window
from podsql.relay.streams import (
    PATIENCE_SECONDS,
    SILENCE_SECONDS,
    Receiving,
    Sending,
    StreamSource,
)

BOUNCE_SECONDS: Final = 0.02
BOUNCE_LIMIT: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds a reader waits before asking again, and before it gives up on a mute sender."""

    silence: float = SILENCE_SECONDS
    lost: float = PATIENCE_SECONDS


Tell = Callable[[bytes, Record, bytes, float], bool]
"""Seal a stream record to a peer: whether a session was there to carry it."""


class Bulk:
    """Both tables; keys are the other's address and the stream id: 32 bytes."""

    def __init__(self, *, patience: Patience, emit: Callable[[Effect], None], tell: Tell) -> None:
        self._patience = patience
        self._emit = emit
        self._tell = tell
        self._sending: dict[bytes, Sending] = {}
        self._reading: dict[bytes, Receiving] = {}
        self._turns: deque[bytes] = deque()
        self._queued: set[bytes] = set()

    # -- serving -------------------------------------------------------------------------------

    def offer(self, key: bytes, source: StreamSource) -> None:
        """Let a peer read ``source``."""
        self._sending[key] = Sending(source)

    def changed(self, key: bytes, now: float) -> None:
        """A source grew, failed or was closed."""
        sending = self._sending.get(key)
        if sending is None:
            return
        if sending.source.closed:
            del self._sending[key]
        elif sending.source.fault is not None:
            self._break(key, sending, now)
        else:
            self._queue(key)

    def next_chunk(self, now: float) -> Send | None:
        """The next chunk that credit allows, or None."""
        turns = self._turns
        for _ in range(len(turns)):
            key = turns.popleft()
            sending = self._sending.get(key)
            found = sending.source.chunk(sending.next) if sending and sending.ready(now) else None
            if sending is None or found is None:
                self._queued.discard(key)
                continue
            sealed, final = found
            header = Header(
                kind=Kind.STREAM,
                flags=Flag.BULK | Flag.FINAL if final else Flag.BULK,
                dst=key[:16],
                flow=key[16:],
                seq=sending.next,
            )
            sending.next += 1
            turns.append(key)
            return Send(header.encode(), sealed)
        return None

    def bounced(self, key: bytes, *, offline: bool, retry: float, now: float) -> float | None:
        """The relay did not pass a chunk on (a hint): when to go on, None if its reader must ask."""
        sending = self._sending.get(key)
        if sending is None:
            return None
        if offline:
            # Its reader asks again when it is back; until then nothing is sent into the void.
            sending.until = sending.next
            return None
        # Which chunk it was is not said: pause, and let the reader ask for what it misses.
        sending.bounced(now, min(max(retry, BOUNCE_SECONDS), BOUNCE_LIMIT))
        return sending.paused_until

    def keys_of(self, stream: bytes) -> list[bytes]:
        """Who a stream is offered to."""
        return [key for key in self._sending if key[16:] == stream]

    def wake(self, key: bytes) -> None:
        """A pause is over."""
        self._queue(key)

    # -- reading -------------------------------------------------------------------------------

    def read(self, key: bytes, now: float) -> float:
        """Begin to read; when to look after it."""
        reading = Receiving(now, silence=self._patience.silence, patience=self._patience.lost)
        self._reading[key] = reading
        self._resume(key, reading, now)
        return reading.due

    def reads_from(self, peer: bytes) -> bool:
        """Whether a stream of that peer is being read."""
        return any(key[:16] == peer for key in self._reading)

    def leave(self, key: bytes) -> None:
        """Stop reading."""
        self._reading.pop(key, None)

    def consumed(self, key: bytes, count: int, now: float) -> None:
        """The consumer took chunks: more credit, in half windows."""
        reading = self._reading.get(key)
        if reading is not None and reading.consumed(count):
            stream = key[16:]
            self._tell(key[:16], Record.CREDIT, window(stream, reading.next, reading.grant()), now)

    def arrived(self, header: Header, body: bytes, now: float) -> None:
        """A STREAM frame."""
        key = header.src + header.flow
        reading = self._reading.get(key)
        if reading is None:
            return
        if reading.take(header.seq, now):
            final = bool(header.flags & Flag.FINAL)
            if final:
                reading.done = True
                del self._reading[key]
            self._emit(Chunk(header.src, header.flow, header.seq, body, final))
        elif reading.gap(header.seq, now):
            self._resume(key, reading, now)

    def resume_all(self, peer: bytes | None, now: float) -> None:
        """After a reconnect or with a new session: ask every sender (or ``peer``) again."""
        for key, reading in list(self._reading.items()):
            if peer is None or key[:16] == peer:
                self._resume(key, reading, now)

    def look(self, key: bytes, now: float) -> float | None:
        """Look after a stream being read; when to do so again."""
        reading = self._reading.get(key)
        if reading is None:
            return None
        if reading.silent(now):
            if reading.lost(now):
                fault = error("POD_LOST", "the sender of a result fell silent")
                self._broke(key, fault)
                return None
            self._resume(key, reading, now)
        return reading.due

    def hurry(self, peer: bytes, when: float) -> list[bytes]:
        """What was asked of a sender did not reach it: the streams to ask for again at ``when``."""
        hurried = [key for key in self._reading if key[:16] == peer]
        for key in hurried:
            self._reading[key].hurry(when)
        return hurried

    def drop_peer(self, peer: bytes) -> None:
        """The peer is no longer a member."""
        for key in [key for key in self._sending if key[:16] == peer]:
            del self._sending[key]
        for key in [key for key in self._reading if key[:16] == peer]:
            self._broke(key, error("REVOKED", "the sender is no longer in the manifest"))

    # -- records -------------------------------------------------------------------------------

    def record(self, peer: bytes, kind: int, body: bytes, now: float) -> None:
        """A CREDIT, RESUME, WAIT or BROKEN from ``peer``, authenticated."""
        stream, index, until = read_window(body[: STREAM_BYTES + 8])
        key = peer + stream
        if kind == Record.WAIT or kind == Record.BROKEN:
            reading = self._reading.get(key)
            if reading is None:
                return
            if kind == Record.WAIT:
                reading.alive(now)
            else:
                self._broke(key, _read_fault(body[STREAM_BYTES + 8 :]))
            return
        sending = self._sending.get(key)
        if sending is None:
            fault = error("EXPIRED_RESULT", "the stream is not kept any more")
            self._tell(peer, Record.BROKEN, window(stream, 0, 0) + _fault(fault), now)
            return
        if kind == Record.CREDIT:
            sending.credit(until)
        else:
            sending.resume(index, until)
            if sending.next >= len(sending.source):
                self._tell(peer, Record.WAIT, window(stream, len(sending.source), 0), now)
        if sending.source.fault is not None:
            self._break(key, sending, now)
        else:
            self._queue(key)

    def _queue(self, key: bytes) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._turns.append(key)

    def _resume(self, key: bytes, reading: Receiving, now: float) -> None:
        index, until = reading.open(now)
        self._tell(key[:16], Record.RESUME, window(key[16:], index, until), now)

    def _break(self, key: bytes, sending: Sending, now: float) -> None:
        if sending.source.fault is not None and not sending.told_broken:
            body = window(key[16:], 0, 0) + _fault(sending.source.fault)
            sending.told_broken = self._tell(key[:16], Record.BROKEN, body, now)

    def _broke(self, key: bytes, fault: Error) -> None:
        self._reading.pop(key).done = True
        self._emit(Broke(key[:16], key[16:], fault))


def _fault(fault: Error) -> bytes:
    return encode(Failed(code=fault.code, message=fault.message, hint=fault.hint))


def _read_fault(body: bytes) -> Error:
    failed = decode_as(Failed, body)
    return error(failed.code, failed.message, hint=failed.hint)
