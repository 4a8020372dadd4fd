"""Handshakes under way: those this peer began, and the half-open ones it was asked for.

Each message is safe to send again: a repeated HS1 gets the same HS2, a repeated HS2 the same HS3.
What anyone may send without proof (HS1) costs a bounded place here and changes nothing else.
Rule to keep: at most 64 half-open, at most 4 of them a peer, none older than 10 seconds.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error
from podsql.relay.session import Initiator, Responder, Session, prologue

HALF_OPEN: Final = 64
HALF_OPEN_A_PEER: Final = 4
HALF_OPEN_SECONDS: Final = 10.0
FIRST_RESEND: Final = 1.0
LAST_RESEND: Final = 15.0


@dataclass(slots=True)
class Attempt:
    """A handshake this peer began and has no HS2 for."""

    peer: bytes
    flow: bytes
    initiator: Initiator
    hs1: bytes
    due: float
    wait: float = FIRST_RESEND

    def sent(self, now: float) -> None:
        """HS1 went out: when to send it again."""
        self.due = now + self.wait
        self.wait = min(self.wait * 2, LAST_RESEND)


@dataclass(slots=True)
class HalfOpen:
    """A handshake somebody began with this peer, answered with HS2."""

    peer: bytes
    responder: Responder
    hs1: bytes
    hs2: bytes
    born: float


class Handshakes:
    """Both tables. Keys are the other's address and the flow it chose: 32 bytes."""

    def __init__(self, *, static: bytes, address: bytes, random: Callable[[int], bytes]) -> None:
        self._static = static
        self._address = address
        self._random = random
        self._attempts: dict[bytes, Attempt] = {}
        self._half: OrderedDict[bytes, HalfOpen] = OrderedDict()

    def begin(self, peer: bytes, noise: bytes, now: float) -> Attempt | None:
        """Begin a handshake; None if one with that peer is under way."""
        if peer in self._attempts:
            return None
        initiator = Initiator(
            prologue=prologue(self._address, peer),
            static=self._static,
            remote_static=noise,
            ephemeral=self._random(32),
        )
        attempt = Attempt(
            peer=peer,
            flow=self._random(16),
            initiator=initiator,
            hs1=initiator.start(),
            due=now,
        )
        self._attempts[peer] = attempt
        return attempt

    def attempt(self, peer: bytes) -> Attempt | None:
        """The handshake under way with a peer."""
        return self._attempts.get(peer)

    def attempts(self) -> tuple[Attempt, ...]:
        """All that wait for HS2."""
        return tuple(self._attempts.values())

    def peer_of(self, flow: bytes) -> bytes | None:
        """Whom the handshake under way in a flow leads to."""
        return next((each.peer for each in self._attempts.values() if each.flow == flow), None)

    def abandon(self, peer: bytes) -> None:
        """Give up a handshake."""
        self._attempts.pop(peer, None)

    def answered(self, peer: bytes, flow: bytes, hs2: bytes) -> tuple[bytes, Session] | None:
        """Take HS2: HS3 and the session; None (and the attempt is over) if it is not genuine."""
        attempt = self._attempts.get(peer)
        if attempt is None or attempt.flow != flow:
            return None
        del self._attempts[peer]
        try:
            hs3, _, session = attempt.initiator.finish(hs2, b"")
        except Error:
            return None
        return hs3, session

    def asked(self, key: bytes, hs1: bytes, now: float) -> bytes | None:
        """Take HS1: HS2 to send, or None if it is refused."""
        known = self._half.get(key)
        if known is not None:
            return known.hs2 if known.hs1 == hs1 else None
        self._age(now)
        peer = key[:16]
        own = [other for other, half in self._half.items() if half.peer == peer]
        if len(own) >= HALF_OPEN_A_PEER:
            del self._half[own[0]]
        elif len(self._half) >= HALF_OPEN:
            return None
        responder = Responder(
            prologue=prologue(peer, self._address),
            static=self._static,
            ephemeral=self._random(32),
        )
        try:
            hs2 = responder.answer(hs1, b"")
        except Error:
            return None
        self._half[key] = HalfOpen(peer=peer, responder=responder, hs1=hs1, hs2=hs2, born=now)
        return hs2

    def pending(self, key: bytes) -> bytes | None:
        """HS2 of a half-open handshake, to be sent again to a peer that is ahead of it."""
        half = self._half.get(key)
        return half.hs2 if half else None

    def finished(self, key: bytes, hs3: bytes, now: float) -> Session | None:
        """Take HS3: the session, or None (and the half-open one is gone) if it is not genuine."""
        self._age(now)
        half = self._half.pop(key, None)
        if half is None:
            return None
        try:
            _, session = half.responder.finish(hs3)
        except Error:
            return None
        return session

    def __len__(self) -> int:
        """Half-open handshakes."""
        return len(self._half)

    def _age(self, now: float) -> None:
        while self._half:
            key, oldest = next(iter(self._half.items()))
            if now - oldest.born < HALF_OPEN_SECONDS:
                return
            del self._half[key]
