"""What waits for one peer: control before bulk, bounded in bytes, dropped past its time.

Rule to keep: at most ``window`` bytes are on the hop unacknowledged; the rest waits here, where it
can be counted, not in libzmq, where it cannot.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from podsql.relay.frames import HEADER_BYTES


class Body(Protocol):
    """Bytes, or a zmq frame that is passed on without copying."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to a peer. ``expires`` is monotonic seconds."""

    header: bytes
    body: Body
    expires: float

    @property
    def size(self) -> int:
        """Bytes on the hop."""
        return HEADER_BYTES + len(self.body)


@dataclass(slots=True)
class Queue:
    """Parcels for one connection."""

    window: int
    control: deque[Parcel] = field(default_factory=deque)
    bulk: deque[Parcel] = field(default_factory=deque)
    waiting: int = 0
    """Bytes queued here."""
    sent: int = 0
    """Bytes handed to the socket on this connection."""
    acked: int = 0

    def put(self, parcel: Parcel, *, bulk: bool) -> None:
        """Queue a parcel."""
        (self.bulk if bulk else self.control).append(parcel)
        self.waiting += parcel.size

    def next(self, now: float) -> Parcel | None:
        """The next parcel that may go; expired ones are dropped on the way."""
        for line in (self.control, self.bulk):
            while line:
                parcel = line[0]
                if parcel.expires <= now:
                    line.popleft()
                    self.waiting -= parcel.size
                    continue
                # Control may overdraw the window a little: it is what opens it again.
                room = self.window if line is self.bulk else 2 * self.window
                if self.sent - self.acked + parcel.size > room and self.sent > self.acked:
                    return None
                return parcel
        return None

    def took(self, parcel: Parcel) -> None:
        """The socket took what ``next`` showed."""
        line = self.control if self.control and self.control[0] is parcel else self.bulk
        line.popleft()
        self.waiting -= parcel.size
        self.sent += parcel.size

    def clear(self) -> int:
        """Throw away what waits; how many bytes that were."""
        thrown, self.waiting = self.waiting, 0
        self.control.clear()
        self.bulk.clear()
        return thrown

    def acknowledge(self, count: int) -> None:
        """The peer has taken ``count`` bytes off this connection; a larger claim is clamped."""
        self.acked = max(self.acked, min(count, self.sent))
