"""What the parts of a peer share: effects, timers, the members, sessions and how to write in them.

Rule to keep: everything that leaves a peer leaves through here, and nothing leaves while the relay has
not welcomed it.
"""

import heapq
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from podsql.errors import Error, error
from podsql.messages import Failed, decode_as
from podsql.messages import encode as encode_message
from podsql.relay.cards import Card
from podsql.relay.channels import Channel, Channels
from podsql.relay.events import Effect, Send
from podsql.relay.frames import Header, Kind, address_of
from podsql.relay.manifest import Manifest
from podsql.relay.records import Step
from podsql.relay.records import encode as encode_record

INVITEE: Final = "invitee"
_DATA: Final = bytes((Step.DATA,))


class Due(Enum):
    """What a timer is for."""

    LINK = 0
    CALL = 1
    ATTEMPT = 2
    READER = 3
    SENDER = 4
    PEER = 5


class Outbox:
    """Shared state of one peer at ``address``."""

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.role = INVITEE
        self.online = False
        self.dropped = 0
        """Frames that did not authenticate or fit nowhere."""
        self.effects: list[Effect] = []
        self.channels = Channels()
        self.manifest: Manifest | None = None
        self.refresh: Callable[[Channel, float], None] = _keep
        """What to do with a session that should be replaced."""
        self._timers: list[tuple[float, int, Due, Any]] = []
        self._timer_count = 0

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self.effects.append(effect)

    def take(self) -> list[Effect]:
        """The effects so far, which are then the caller's to do."""
        effects = self.effects
        if effects:
            self.effects = []
        return effects

    # -- timers --------------------------------------------------------------------------------

    def at(self, when: float, due: Due, key: Any = None) -> None:
        """Set a timer; timers are never unset, what they find may just be over."""
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, due, key))

    def deadline(self) -> float | None:
        """When the next timer is due."""
        return self._timers[0][0] if self._timers else None

    def due(self, now: float) -> tuple[Due, Any] | None:
        """The next timer that is due, taken off."""
        if self._timers and self._timers[0][0] <= now:
            _, _, due, key = heapq.heappop(self._timers)
            return due, key
        return None

    # -- frames and records --------------------------------------------------------------------

    def frame(self, header: Header, body: bytes = b"") -> None:
        """Send a frame, if the relay is there."""
        if self.online:
            self.effects.append(Send(header.encode(), body))

    def step(self, peer: bytes, flow: bytes, step: Step, body: bytes = b"") -> None:
        """Send a step of a session that is not sealed in it."""
        self.frame(Header(kind=Kind.SEND, dst=peer, flow=flow), bytes((step,)) + body)

    def record(self, peer: bytes, kind: int, ident: int, body: bytes, now: float) -> bool:
        """Seal a record to a peer and send it: False when there is no session to carry it."""
        best = self.channels.best(peer, now)
        if best is None or not self.online:
            return False
        self.seal(best, kind, ident, body, now)
        return True

    def seal(self, best: Channel, kind: int, ident: int, body: bytes, now: float) -> None:
        """Seal a record in a session and send it."""
        if best.session.exhausted(now):
            self.refresh(best, now)
        sealed = best.session.seal(encode_record(kind, ident, body), best.ad)
        self.effects.append(Send(best.wire, _DATA + sealed))

    # -- members -------------------------------------------------------------------------------

    def card(self, address: bytes) -> Card | None:
        """Who lives at an address, by the manifest; an open invite's holder counts as invitee."""
        manifest = self.manifest
        if manifest is None:
            return None
        card = manifest.by_address(address)
        if card is not None:
            return card
        for invite in manifest.invites:
            if address_of(invite.curve) == address:
                return Card(
                    name=invite.name,
                    role=INVITEE,
                    identity=bytes(32),
                    noise=bytes(32),
                    curve=invite.curve,
                    created=0,
                )
        return None

    def stranger(self, card: Card) -> Error | None:
        """Why a card is not to be called: None if it is the manifest's."""
        manifest = self.manifest
        if manifest is None:
            return error("MANIFEST", "there is no manifest in force", hint="has it expired?")
        member = manifest.by_address(card.address)
        if member is not None and member.noise == card.noise:
            return None
        if card.identity in manifest.revoked:
            return error("REVOKED", f"{card.name!r} is revoked")
        return error("UNKNOWN_PEER", f"{card.name!r} is not in the manifest")


def refuse(fault: Error) -> bytes:
    """Body of a REFUSED record."""
    return encode_message(Failed(code=fault.code, message=fault.message, hint=fault.hint))


def refusal(body: bytes) -> Error:
    """The error a REFUSED record stands for."""
    try:
        failed = decode_as(Failed, body)
    except Error as fault:
        return fault
    return error(failed.code, failed.message, hint=failed.hint)


def _keep(found: Channel, now: float) -> None:
    return
