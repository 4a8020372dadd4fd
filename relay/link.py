"""A peer's relation to its relay: greeting, heartbeat, the hop's byte count.

HELLO until WELCOME comes; then a PING every 25 s ± 20 %, and after three without any frame from the
relay in between the connection counts as dead. Every MiB received is acknowledged, so the relay can
bound what is on its way to this peer. Rule to keep: nothing the relay says here changes more than
when and where to connect.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error
from podsql.relay.events import Effect, Send, Stalled, Welcomed
from podsql.relay.frames import MAJOR, Header, Kind
from podsql.relay.greeting import Hello, encode, read_welcome

ACK_BYTES: Final = 1 << 20
_COUNT: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Seconds between pings (spread by ± ``spread``), and how many may go unanswered."""

    every: float = 25.0
    spread: float = 0.2
    misses: int = 3
    hello: float = 5.0


class Link:
    """State of one connection after another."""

    def __init__(
        self,
        *,
        heartbeat: Heartbeat,
        role: str,
        emit: Callable[[Effect], None],
        chance: Callable[[], float],
    ) -> None:
        self.online = False
        self.due: float | None = None
        self._beat = heartbeat
        self._role = role
        self._emit = emit
        self._chance = chance
        self._unanswered = 0
        self._connected = False
        self._received = 0
        self._acked = 0

    def connected(self, now: float) -> None:
        """A fresh connection: greet."""
        self._connected = True
        self.online = False
        self._unanswered = 0
        self._received = self._acked = 0
        self._hello(now)

    def disconnected(self) -> None:
        """The connection is gone."""
        self._connected = self.online = False
        self.due = None

    def received(self, size: int) -> None:
        """A frame of ``size`` bytes (header and body) was taken off the connection."""
        self._unanswered = 0
        self._received += size
        if self._received - self._acked >= ACK_BYTES:
            self._acked = self._received
            self._frame(Kind.ACK, _COUNT.pack(self._received))

    def welcome(self, body: bytes, now: float) -> bool:
        """WELCOME came: whether it is the first of this connection."""
        try:
            version = read_welcome(body).manifest_version
        except Error:
            return False
        fresh = self._connected and not self.online
        if fresh:
            self.online = True
            self._wait(now)
            self._emit(Welcomed(version))
        return fresh

    def tick(self, now: float) -> None:
        """``due`` has come."""
        if self.due is None or now < self.due or not self._connected:
            return
        if self._unanswered >= self._beat.misses:
            self.disconnected()
            self._emit(Stalled())
            return
        self._unanswered += 1
        if self.online:
            self._frame(Kind.PING)
            self._wait(now)
        else:
            self._hello(now)

    def _hello(self, now: float) -> None:
        self._frame(Kind.HELLO, encode(Hello(version=MAJOR, role_hint=self._role, received=0)))
        self.due = now + self._beat.hello

    def _wait(self, now: float) -> None:
        spread = self._beat.spread * (2 * self._chance() - 1)
        self.due = now + self._beat.every * (1 + spread)

    def _frame(self, kind: Kind, body: bytes = b"") -> None:
        self._emit(Send(Header(kind=kind).encode(), body))
