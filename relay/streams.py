"""Bulk streams: what a sender keeps, what it may send, and how a reader asks for it.

A stream is a numbered list of sealed chunks, the last marked final. The sender keeps every chunk
until it is closed, so the reader can resume at any index after a relay restart, a lost frame or a
silence. Reading is go-back-n: only the next index is taken, a gap makes the reader ask again.
Rule to keep: a sink sees every chunk once and in order, or an error; never a short stream.
"""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from podsql.errors import Error, error

RAM_BYTES: Final = 64 << 20
FIRST_WINDOW: Final = 4
LAST_WINDOW: Final = 64
SILENCE_SECONDS: Final = 2.0
GAP_SECONDS: Final = 0.25
SILENCE_LIMIT: Final = 15.0
PATIENCE_SECONDS: Final = 60.0
"""A sender that says nothing at all for this long is lost."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StreamSink(Protocol):
    """Where chunks arrive, on the I/O thread: in order, once each, then final or ``failed``."""

    def chunk(self, index: int, sealed: bytes, final: bool) -> None:
        """Take the next chunk."""

    def failed(self, fault: Error) -> None:
        """No further chunk will come."""


class StreamSource:
    """The sealed chunks of one stream: the first 64 MiB in memory, the rest in a spool file.

    The spool has mode 0600 and no name, so it is gone when closed, also after a crash; it holds
    ciphertext only. Used from the I/O thread.
    """

    def __init__(
        self, stream: bytes, *, folder: Path | None = None, memory: int = RAM_BYTES
    ) -> None:
        self.stream = stream
        self.finished = False
        self.closed = False
        self.fault: Error | None = None
        self.bytes = 0
        self.served = 0
        """One past the highest chunk handed out."""
        self.on_change: Callable[[], None] | None = None
        self._folder = folder
        self._memory = memory
        self._chunks: list[bytes] = []
        self._places: list[tuple[int, int]] = []
        self._spool: int | None = None
        self._spooled = 0

    def __len__(self) -> int:
        return len(self._chunks) + len(self._places)

    def append(self, sealed: bytes, final: bool) -> None:
        """Add the next chunk; DISK_FULL when the spool cannot grow (the stream then fails)."""
        if self.finished or self.closed:
            raise error("INTERNAL", "chunk appended to a stream that has ended")
        if not self._places and self.bytes + len(sealed) <= self._memory:
            self._chunks.append(sealed)
        else:
            self._places.append(self._write(sealed))
        self.bytes += len(sealed)
        self.finished = final
        self._changed()

    def fail(self, fault: Error) -> None:
        """End the stream with an error that its reader will get."""
        if not self.closed and self.fault is None:
            self.fault = fault
            self.finished = True
            self._changed()

    def chunk(self, index: int) -> tuple[bytes, bool] | None:
        """Chunk ``index`` and whether it is final; None while it is not there."""
        kept = len(self._chunks)
        if self.closed or index >= len(self):
            return None
        sealed = self._chunks[index] if index < kept else self._read(*self._places[index - kept])
        self.served = max(self.served, index + 1)
        return sealed, self.finished and self.fault is None and index == len(self) - 1

    def close(self) -> None:
        """Forget all chunks; a reader that comes back gets EXPIRED_RESULT."""
        if not self.closed:
            self.closed = True
            self._chunks.clear()
            self._places.clear()
            if self._spool is not None:
                os.close(self._spool)
                self._spool = None
            self._changed()

    def _write(self, sealed: bytes) -> tuple[int, int]:
        try:
            if self._spool is None:
                # Unlinked at once, mode 0600: nobody else can open it, no crash leaves it behind.
                with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                    self._spool = os.dup(file.fileno())
            view = memoryview(sealed)
            start = at = self._spooled
            while view:
                written = os.pwrite(self._spool, view, at)
                view, at = view[written:], at + written
        except OSError as failure:
            fault = error("DISK_FULL", "the spool of a result cannot grow")
            if failure.errno not in _FULL:
                fault = error("DISK_FULL", f"the spool of a result fails ({failure.strerror})")
            self.fail(fault)
            raise fault from None
        self._spooled = at
        return start, len(sealed)

    def _read(self, start: int, size: int) -> bytes:
        assert self._spool is not None
        parts: list[bytes] = []
        while size:
            part = os.pread(self._spool, size, start)
            if not part:
                raise error("INTERNAL", "the spool of a result was cut short")
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


class Sending:
    """Sender's side towards one reader: which chunk goes next and how far credit reaches."""

    def __init__(self, source: StreamSource) -> None:
        self.source = source
        self.next = 0
        self.until = 0
        self.paused_until = 0.0
        self.told_broken = False

    def credit(self, until: int) -> None:
        """The reader allows chunks below ``until``; never takes credit back."""
        self.until = max(self.until, min(until, self.next + 2 * LAST_WINDOW))

    def resume(self, index: int, until: int) -> None:
        """The reader misses everything from ``index`` on."""
        self.next = index
        self.until = min(until, index + 2 * LAST_WINDOW)
        self.told_broken = False

    def bounced(self, now: float, pause: float) -> None:
        """The relay did not take a chunk (a hint): send none for a moment."""
        self.paused_until = max(self.paused_until, now + pause)

    def ready(self, now: float) -> bool:
        """Whether a chunk can go now."""
        return self.next < self.until and self.next < len(self.source) and now >= self.paused_until


class Receiving:
    """Reader's side of one stream: order, duplicates, credit, silence. Pure; time is handed in."""

    def __init__(
        self,
        now: float,
        *,
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.next = 0
        self.done = False
        self._consumed = 0
        self._granted = 0
        self._window = FIRST_WINDOW
        self._steady = LAST_WINDOW
        self._grown_at = 0
        self._gap_at = -1
        self._gap_told = now
        self._first_silence = silence
        self._silence = silence
        self._patience = patience
        self._heard = now
        self._due = now

    @property
    def until(self) -> int:
        """Chunks below this index may be sent."""
        return self._granted

    @property
    def due(self) -> float:
        """When to look after the stream next."""
        return self._due

    def open(self, now: float) -> tuple[int, int]:
        """Index and credit to (re)ask for: at the start, after a reconnect, a gap, a silence."""
        self._granted = max(self._granted, self._consumed + self._window)
        self._due = now + self._silence
        return self.next, self._granted

    def take(self, index: int, now: float) -> bool:
        """Whether the chunk is the one to hand on. Anything else is a duplicate or past a gap."""
        self._heard = now
        if self.done or index != self.next or index >= self._granted:
            return False
        self.next += 1
        self._silence = self._first_silence
        self._due = now + self._silence
        return True

    def gap(self, index: int, now: float) -> bool:
        """Whether chunk ``index`` shows a new hole that must be asked for (rarely: what follows
        a hole was mostly on its way already)."""
        if self.done or index <= self.next:
            return False
        if self._gap_at == self.next and now - self._gap_told < GAP_SECONDS:
            return False
        self._gap_at, self._gap_told = self.next, now
        # Frames were lost: congestion, as far as anyone can tell. Halve, then grow by one a window.
        self._window = self._steady = max(FIRST_WINDOW, self._window // 2)
        self._grown_at = self.next
        return True

    def consumed(self, count: int) -> bool:
        """The consumer took ``count`` chunks: whether new credit is due (half a window)."""
        self._consumed = min(self.next, self._consumed + count)
        if self._consumed - self._grown_at >= self._window:
            self._grown_at = self._consumed
            grown = self._window * 2 if self._window < self._steady else self._window + 1
            self._window = min(grown, LAST_WINDOW)
        return not self.done and (
            self._consumed + self._window - self._granted >= max(1, self._window // 2)
        )

    def grant(self) -> int:
        """Raise the credit; the new limit."""
        self._granted = max(self._granted, self._consumed + self._window)
        return self._granted

    def alive(self, now: float) -> None:
        """The sender says that it has nothing yet."""
        self._heard = now

    def hurry(self, when: float) -> None:
        """Ask again at ``when`` instead of after a silence."""
        self._due = min(self._due, when)

    def silent(self, now: float) -> bool:
        """Whether to ask again now (twice as patient each time); False when credit is used up."""
        if self.done or now < self._due:
            return False
        if self.next >= self._granted:
            # The consumer is the slow one: nothing is owed to us.
            self._heard = now
            self._due = now + self._silence
            return False
        self._silence = min(self._silence * 2, SILENCE_LIMIT)
        return True

    def lost(self, now: float) -> bool:
        """Whether the sender has been mute for too long."""
        return not self.done and now - self._heard >= self._patience
