"""Opening sessions: who may, who is it, what if messages get lost, twice or from nowhere.

Rule to keep: a session exists only after a whole handshake with the static key of the manifest's
card, between roles that the session table allows; all that precedes it is cheap and forgettable.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from podsql.errors import Error, error
from podsql.relay.cards import Card, may_open
from podsql.relay.channels import Channel, channel
from podsql.relay.frames import Header, Kind
from podsql.relay.handshakes import Handshakes
from podsql.relay.outbox import INVITEE, Due, Outbox
from podsql.relay.records import Step
from podsql.relay.session import Session

STRANGERS: Final = 16
FETCH_SECONDS: Final = 1.0
HINT_FIRST: Final = 1.0
HINT_LAST: Final = 60.0
UNKNOWN_SECONDS: Final = 0.01


@dataclass(slots=True)
class _Hints:
    """How often to believe that a peer forgot a session."""

    wait: float = HINT_FIRST
    until: float = float("-inf")


class Dialing:
    """Handshakes of one peer. ``wanted(peer)``: whether there is still something to say to it."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        static: bytes,
        entropy: Callable[[int], bytes],
        wanted: Callable[[bytes], bool],
        established: Callable[[Channel, set[bytes], float], None],
        lost: Callable[[bytes, bytes, float], None],
    ) -> None:
        self._out = outbox
        self._shakes = Handshakes(static=static, address=outbox.address, random=entropy)
        self._wanted = wanted
        self._established = established
        self._lost = lost
        self._hints: dict[bytes, _Hints] = {}
        self._strangers: OrderedDict[bytes, bytes] = OrderedDict()
        self._fetch_at = float("-inf")
        self._unknown_at = float("-inf")

    @property
    def half_open(self) -> int:
        """Handshakes that others began and did not finish."""
        return len(self._shakes)

    def open(self, card: Card, now: float) -> Error | None:
        """Begin a handshake unless one is under way; why not, if not allowed."""
        out = self._out
        if not may_open(out.role, card.role):
            return error("ROLE", f"{out.role} may not open a session with {card.role}")
        peer = card.address
        if out.online and self._shakes.begin(peer, card.noise, now) is not None:
            self._send(peer, now)
        return None

    def refresh(self, found: Channel, now: float) -> None:
        """A session is worn out: another one, if this side may open it."""
        if may_open(self._out.role, found.card.role):
            self.open(found.card, now)

    def again(self, peer: bytes, now: float) -> None:
        """Send HS1 again if a handshake is under way."""
        if self._shakes.attempt(peer) is not None:
            self._send(peer, now)

    def due(self, peer: bytes, now: float) -> None:
        """A timer of an attempt."""
        attempt = self._shakes.attempt(peer)
        if attempt is not None and attempt.due <= now:
            self._send(peer, now)

    def towards(self, flow: bytes) -> bytes | None:
        """Whom a session or a handshake under way leads to."""
        found = self._out.channels.peer_of(flow)
        return found if found is not None else self._shakes.peer_of(flow)

    def welcomed(self, now: float) -> None:
        """The relay is (again) there: what was under way may be lost."""
        for attempt in self._shakes.attempts():
            self._send(attempt.peer, now)
        for each in self._out.channels:
            if each.hs3 is not None:
                self._out.step(each.peer, each.flow, Step.HS3, each.hs3)

    def enrolled(self, gone: set[bytes], now: float) -> None:
        """A new manifest: forget who left, try again whom it now names."""
        for peer in gone:
            self._shakes.abandon(peer)
        strangers, self._strangers = self._strangers, OrderedDict()
        for key, hs1 in strangers.items():
            if self._out.card(key[:16]) is not None:
                self.hs1(key, hs1, now)

    def hs1(self, key: bytes, hs1: bytes, now: float) -> None:
        """Somebody wants a session."""
        out = self._out
        card = out.card(key[:16])
        if card is None:
            self._unnamed(key, hs1, now)
            return
        if not may_open(card.role, out.role) or out.channels.get(key) is not None:
            out.dropped += 1
            return
        hs2 = self._shakes.asked(key, hs1, now)
        if hs2 is None:
            out.dropped += 1
            return
        out.step(key[:16], key[16:], Step.HS2, hs2)

    def hs2(self, key: bytes, hs2: bytes, now: float) -> None:
        """An answer to HS1, or the sign that HS3 did not arrive."""
        out, peer, flow = self._out, key[:16], key[16:]
        known = out.channels.get(key)
        if known is not None:
            if known.hs3 is not None:
                # What was sent behind HS3 was lost with it.
                out.step(peer, flow, Step.HS3, known.hs3)
                self._lost(peer, flow, now)
            return
        card = out.card(peer)
        done = self._shakes.answered(peer, flow, hs2) if card is not None else None
        if card is None or done is None or done[1].remote_static != card.noise:
            out.dropped += 1
            return
        hs3, session = done
        out.step(peer, flow, Step.HS3, hs3)
        self._add(card, key, session, hs3, now)

    def hs3(self, key: bytes, hs3: bytes, now: float) -> None:
        """The proof of who began."""
        out = self._out
        if out.channels.get(key) is not None:
            return
        card = out.card(key[:16])
        session = self._shakes.finished(key, hs3, now)
        if card is None or session is None or not may_open(card.role, out.role):
            out.dropped += 1
            return
        if card.role == INVITEE:
            # Its static key is in no manifest yet; its invite's mailbox key let it this far.
            card = replace(card, noise=session.remote_static)
        if session.remote_static != card.noise:
            out.dropped += 1
            return
        self._add(card, key, session, None, now)

    def stray(self, key: bytes, now: float) -> None:
        """Data of a session not known here: half-open, or from before a restart."""
        out = self._out
        hs2 = self._shakes.pending(key)
        if hs2 is not None:
            out.step(key[:16], key[16:], Step.HS2, hs2)
        elif now >= self._unknown_at and out.card(key[:16]) is not None:
            self._unknown_at = now + UNKNOWN_SECONDS
            out.step(key[:16], key[16:], Step.UNKNOWN)

    def doubt(self, found: Channel, now: float) -> None:
        """The other side says it does not know this session: shake hands, at a bounded rate."""
        hints = self._hints.setdefault(found.peer, _Hints())
        if now < hints.until:
            return
        calm = now - hints.until > HINT_LAST
        hints.wait = HINT_FIRST if calm else min(hints.wait * 2, HINT_LAST)
        hints.until = now + hints.wait
        found.doubted = True
        self.open(found.card, now)

    def _send(self, peer: bytes, now: float) -> None:
        attempt = self._shakes.attempt(peer)
        if attempt is None:
            return
        if not self._wanted(peer):
            self._shakes.abandon(peer)
            return
        self._out.step(peer, attempt.flow, Step.HS1, attempt.hs1)
        attempt.sent(now)
        self._out.at(attempt.due, Due.ATTEMPT, peer)

    def _add(self, card: Card, key: bytes, session: Session, hs3: bytes | None, now: float) -> None:
        out, peer = self._out, key[:16]
        session.expired(now)
        doubted = {each.flow for each in out.channels.of(peer) if each.doubted}
        new = channel(me=out.address, card=card, peer=peer, flow=key[16:], session=session, hs3=hs3)
        out.channels.add(new)
        self._established(new, doubted, now)

    def _unnamed(self, key: bytes, hs1: bytes, now: float) -> None:
        """Somebody the manifest here does not name: perhaps a newer one does."""
        self._out.dropped += 1
        self._strangers[key] = hs1
        if len(self._strangers) > STRANGERS:
            self._strangers.popitem(last=False)
        if now >= self._fetch_at:
            self._fetch_at = now + FETCH_SECONDS
            self._out.frame(Header(kind=Kind.FETCH))
