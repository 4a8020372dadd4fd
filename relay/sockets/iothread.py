"""The one thread of an endpoint that owns its sockets: poll, timers, descriptors, posted work.

Other threads only ever ``post``; a wake-up is written only while the loop sleeps in its poll. Rule to
keep: nothing blocks in here, and whatever a callback raises is logged and does not stop the loop.
"""

import heapq
import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import zmq

_LOG: Final = logging.getLogger("podsql.relay")
_NEVER_MS: Final = 60_000

Work = Callable[[], None]


class _Bell:
    """Wakes the poll: an eventfd where there is one, else a socket pair."""

    def __init__(self) -> None:
        # A ring after the close would write into whatever has the number by then.
        self._lock = threading.Lock()
        self._closed = False
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self.fd = self._pair[0].fileno()

    def ring(self) -> None:
        with self._lock:
            if self._closed:
                return
            if self._pair is None:
                os.eventfd_write(self.fd, 1)
                return
            try:
                self._pair[1].send(b"\0")
            except BlockingIOError:
                # Full of earlier rings: the loop will wake anyway.
                return

    def hush(self) -> None:
        try:
            if self._pair is None:
                os.eventfd_read(self.fd)
            else:
                self._pair[0].recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._pair is None:
                os.close(self.fd)
            else:
                for end in self._pair:
                    end.close()


class IoThread:
    """Poll loop. ``idle`` runs before each sleep and says when it wants to run again."""

    def __init__(self, *, name: str, idle: Callable[[], float | None]) -> None:
        self._idle = idle
        self._poller = zmq.Poller()
        self._ready: dict[Any, Callable[[int], None]] = {}
        self._posted: deque[Work] = deque()
        self._timers: list[tuple[float, int, Work]] = []
        self._timer_count = 0
        self._bell = _Bell()
        self._sleeping = False
        self._stopping = False
        self._ident = -1
        self._last_words: Work = _nothing
        self._thread = threading.Thread(target=self._run, name=f"podsql-{name}", daemon=True)
        self._poller.register(self._bell.fd, zmq.POLLIN)
        self._ready[self._bell.fd] = lambda _: self._bell.hush()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, last_words: Work) -> None:
        """Stop the loop; ``last_words`` run on it at the very end. Waits unless called on it."""
        self._last_words = last_words
        self._stopping = True
        if not self._thread.ident:
            last_words()
            self._bell.close()
            return
        self.post(_nothing)
        if not self.here():
            self._thread.join()

    def here(self) -> bool:
        """Whether the caller is on the I/O thread."""
        return threading.get_ident() == self._ident

    def post(self, work: Work) -> None:
        """Run ``work`` on the I/O thread, soon."""
        self._posted.append(work)
        if self._sleeping:
            self._sleeping = False
            self._bell.ring()

    def later(self, seconds: float, work: Work) -> None:
        """Run ``work`` on the I/O thread after ``seconds``."""
        when = time.monotonic() + seconds
        if self.here():
            self._schedule(when, work)
        else:
            self.post(lambda: self._schedule(when, work))

    def watch(self, what: Any, flags: int, ready: Callable[[int], None]) -> None:
        """Call ``ready`` when a descriptor or zmq socket is (I/O thread only)."""
        self._ready[what] = ready
        self._poller.register(what, flags)

    def unwatch(self, what: Any) -> None:
        """Stop watching (I/O thread only)."""
        if self._ready.pop(what, None) is not None:
            self._poller.unregister(what)

    def _schedule(self, when: float, work: Work) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, work))

    def _run(self) -> None:
        self._ident = threading.get_ident()
        while not self._stopping:
            wake = self._round()
            # Order matters: who posts after this line sees that the loop sleeps and rings.
            self._sleeping = True
            if self._posted or self._stopping:
                wait = 0
            elif wake is None:
                wait = _NEVER_MS
            else:
                wait = max(0, math.ceil((wake - time.monotonic()) * 1000))
            ready = self._poller.poll(wait)
            self._sleeping = False
            for what, flags in ready:
                callback = self._ready.get(what)
                if callback is not None:
                    self._guard(callback, flags)
        while self._posted:
            self._guard(self._posted.popleft())
        self._guard(self._last_words)
        self._bell.close()

    def _round(self) -> float | None:
        posted = self._posted
        for _ in range(len(posted)):
            self._guard(posted.popleft())
        timers = self._timers
        if timers:
            now = time.monotonic()
            while timers and timers[0][0] <= now:
                self._guard(heapq.heappop(timers)[2])
        wake: float | None = None
        try:
            wake = self._idle()
        except Exception:  # noqa: BLE001 - top of the I/O thread: one bad event must not end it
            _LOG.exception("the endpoint's idle step failed")
        if timers and (wake is None or timers[0][0] < wake):
            wake = timers[0][0]
        return wake

    def _guard(self, work: Callable[..., None], *arguments: int) -> None:
        try:
            work(*arguments)
        except Exception:  # noqa: BLE001 - top of the I/O thread: one bad event must not end it
            _LOG.exception("a callback on the I/O thread failed")


def _nothing() -> None:
    return
