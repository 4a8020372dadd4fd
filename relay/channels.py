"""Established sessions, by who the other is and which flow they travel in.

Several may stand beside each other with one peer (both opened at once, or a new one replaced an
old); all are read, the newest is written. Rule to keep: a session belongs to the card whose static
key it proved; when the manifest drops the card, it is gone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from podsql.relay.cards import Card
from podsql.relay.frames import Header, Kind, bound
from podsql.relay.session import Session

A_PEER: Final = 4
"""Sessions kept with one peer; the oldest goes first."""


@dataclass(slots=True)
class Channel:
    """A session as it travels: constant headers, so that the hot path packs none."""

    card: Card
    peer: bytes
    flow: bytes
    session: Session
    wire: bytes
    ad: bytes
    seen: bytes
    """First 60 bytes of every header that may arrive in it."""
    hs3: bytes | None = None
    """Kept by the initiator until the other side has shown that it has it."""
    doubted: bool = False
    """The other side seems not to know it: a hint, so it is only not preferred any more."""


def channel(
    *, me: bytes, card: Card, peer: bytes, flow: bytes, session: Session, hs3: bytes | None
) -> Channel:
    """A channel of a session between ``me`` and ``peer``."""
    return Channel(
        card=card,
        peer=peer,
        flow=flow,
        session=session,
        wire=Header(kind=Kind.SEND, dst=peer, flow=flow).encode(),
        ad=bound(Header(kind=Kind.SEND, dst=peer, src=me, flow=flow)),
        seen=bound(Header(kind=Kind.SEND, dst=me, src=peer, flow=flow)),
        hs3=hs3,
    )


class Channels:
    """The table."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Channel] = {}
        self._by_flow: dict[bytes, bytes] = {}
        self._by_peer: dict[bytes, list[Channel]] = {}
        self.get: Callable[[bytes], Channel | None] = self._by_key.get

    def add(self, new: Channel) -> None:
        """Take a new session; it is preferred from now on."""
        mine = self._by_peer.setdefault(new.peer, [])
        mine.append(new)
        self._by_key[new.peer + new.flow] = new
        self._by_flow[new.flow] = new.peer
        while len(mine) > A_PEER:
            self._forget(mine.pop(0))

    def best(self, peer: bytes, now: float) -> Channel | None:
        """The session to write in: the newest that is not doubted, else the newest."""
        mine = self._by_peer.get(peer)
        if not mine:
            return None
        newest = mine[-1]
        if newest.doubted or newest.session.expired(now):
            for old in [each for each in mine if each.session.expired(now)]:
                mine.remove(old)
                self._forget(old)
            if not mine:
                return None
            newest = next((each for each in reversed(mine) if not each.doubted), mine[-1])
        return newest

    def of(self, peer: bytes) -> tuple[Channel, ...]:
        """All sessions with a peer."""
        return tuple(self._by_peer.get(peer, ()))

    def peer_of(self, flow: bytes) -> bytes | None:
        """Whom the session in a flow is with."""
        return self._by_flow.get(flow)

    def drop(self, peers: set[bytes]) -> None:
        """Forget every session with these peers."""
        for peer in peers:
            for each in self._by_peer.pop(peer, ()):
                self._forget(each)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._by_key.values()))

    def _forget(self, old: Channel) -> None:
        self._by_key.pop(old.peer + old.flow, None)
        self._by_flow.pop(old.flow, None)
