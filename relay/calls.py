"""Calls: what a peer still waits for, and what it has already answered.

A caller sends a call again until its reply or its deadline comes; the one who serves it keeps recent
ids, so a call that arrives twice is served once and answered with the kept reply. Ids are a caller's
random epoch (upper 32 bits) and a counter; an id that fell out of the cache is refused, not served.
Rule to keep: no id is served twice.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

ENTRIES: Final = 1024
BYTES: Final = 16 << 20
EPOCHS: Final = 4
FIRST_RESEND: Final = 2.0
LAST_RESEND: Final = 15.0

Body = bytes | Callable[[bytes], bytes]
"""A call's body, or how to make it for the session (handshake hash) it travels in."""


@dataclass(slots=True)
class Outstanding:
    """A call without a reply yet."""

    ident: int
    to: bytes
    body: Body
    deadline: float
    due: float
    wait: float = FIRST_RESEND
    flow: bytes | None = None
    """Session it was last sent in."""
    hint: str = ""
    """Last reason the relay gave for not passing it on; only colours the final error."""

    def sent(self, flow: bytes, now: float) -> None:
        """It went out: when to send it again."""
        self.flow = flow
        self.due = min(now + self.wait, self.deadline)
        self.wait = min(self.wait * 2, LAST_RESEND)


class Verdict(Enum):
    """What to do with an arriving call."""

    SERVE = 1
    WORKING = 2
    ANSWERED = 3
    FORGOTTEN = 4
    FULL = 5


class Served:
    """Recent call ids of one peer and their replies, bounded in number and bytes."""

    def __init__(self, *, entries: int = ENTRIES, limit: int = BYTES) -> None:
        self._entries = entries
        self._limit = limit
        self._answers: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._working: set[int] = set()
        self._floors: OrderedDict[int, int] = OrderedDict()
        self._bytes = 0

    def admit(self, ident: int) -> Verdict:
        """Judge a call id; SERVE at most once an id."""
        if ident in self._answers:
            return Verdict.ANSWERED
        if ident in self._working:
            return Verdict.WORKING
        epoch = ident >> 32
        if ident <= self._floors.get(epoch, -1):
            return Verdict.FORGOTTEN
        if len(self._working) >= self._entries:
            return Verdict.FULL
        if epoch not in self._floors:
            if len(self._floors) >= EPOCHS:
                self._floors.popitem(last=False)
            self._floors[epoch] = (epoch << 32) - 1
        self._working.add(ident)
        return Verdict.SERVE

    def answer(self, ident: int, kind: int, body: bytes) -> bool:
        """Keep the reply; False if the call was answered before or never admitted."""
        if ident not in self._working:
            return False
        self._working.discard(ident)
        self._answers[ident] = kind, body
        self._bytes += len(body)
        while len(self._answers) > self._entries or self._bytes > self._limit:
            oldest, (_, dropped) = self._answers.popitem(last=False)
            self._bytes -= len(dropped)
            epoch = oldest >> 32
            if epoch in self._floors:
                self._floors[epoch] = max(self._floors[epoch], oldest)
        return True

    def amend(self, ident: int, kind: int, body: bytes) -> None:
        """Put another reply in place of a kept one that cannot be sent."""
        if ident in self._answers:
            self._bytes += len(body) - len(self._answers[ident][1])
            self._answers[ident] = kind, body

    def reply(self, ident: int) -> tuple[int, bytes]:
        """Kind and body of the kept reply."""
        return self._answers[ident]
