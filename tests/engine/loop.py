"""A small real I/O loop for driving a pool in tests: what an Endpoint's loop offers."""

import heapq
import itertools
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable


class Loop:
    """post, later, watch_fd, unwatch_fd; ``until`` runs it on the calling thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        self._selector.register(
            self._wake_read, selectors.EVENT_READ, lambda: os.read(self._wake_read, 65536)
        )
        self._lock = threading.Lock()

    def post(self, fn: Callable[[], None]) -> None:
        self._posted.append(fn)
        os.write(self._wake_write, b"x")

    def later(self, seconds: float, fn: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), fn))

    def watch_fd(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, on_readable)

    def unwatch_fd(self, fd: int) -> None:
        try:
            self._selector.unregister(fd)
        except KeyError:
            return

    def until(self, true: Callable[[], object], seconds: float = 30.0) -> None:
        """Run until ``true()``; AssertionError when it takes longer than ``seconds``."""
        deadline = time.monotonic() + seconds
        while not true():
            now = time.monotonic()
            assert now < deadline, "the condition did not come true"
            wait = min(deadline, self._timers[0][0] if self._timers else deadline) - now
            for key, _ in self._selector.select(max(0.0, wait)):
                key.data()
            while self._posted:
                self._posted.popleft()()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
