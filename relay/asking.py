"""The calling side: calls until their reply or deadline, notes while they are fresh.

A call goes out in the best session, again after a growing wait, after a reconnect and after the
relay said that it could not pass something on. Rule to keep: each call ends exactly once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from podsql.errors import Error, error
from podsql.relay import events as ev
from podsql.relay.calls import Outstanding
from podsql.relay.channels import Channel
from podsql.relay.dialing import Dialing
from podsql.relay.frames import Nack
from podsql.relay.outbox import Due, Outbox
from podsql.relay.records import Record

NOTES: Final = 256
NOTE_SECONDS: Final = 10.0
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 5.0
_CALL: Final = int(Record.CALL)


@dataclass(slots=True)
class _Towards:
    """Business with one other peer."""

    waiting: dict[int, Outstanding] = field(default_factory=dict)
    notes: deque[tuple[float, bytes]] = field(default_factory=deque)
    backoff: float = BACKOFF_FIRST
    retry_at: float = float("-inf")


class Asking:
    """Calls and notes of one peer."""

    def __init__(self, outbox: Outbox, *, chance: Callable[[], float]) -> None:
        self._out = outbox
        self._chance = chance
        self._calls: dict[int, Outstanding] = {}
        self._towards: dict[bytes, _Towards] = {}
        self.dialing: Dialing

    def wants(self, peer: bytes) -> bool:
        """Whether something waits to be said to a peer."""
        towards = self._towards.get(peer)
        return towards is not None and bool(towards.waiting or towards.notes)

    def ask(self, event: ev.Ask, now: float) -> None:
        """Begin a call."""
        ident, peer = event.ident, event.to.address
        call = Outstanding(ident=ident, to=peer, body=event.body, deadline=event.deadline, due=now)
        self._calls[ident] = call
        self._with(peer).waiting[ident] = call
        fault = self._out.stranger(event.to) or self._dispatch(call, now)
        if fault is not None:
            self._finish(call, fault)
        elif ident in self._calls:
            self._arm(call, now)

    def tell(self, event: ev.Tell, now: float) -> None:
        """Send a note, or keep it for a short while until there is a session."""
        peer = event.to.address
        if self._out.record(peer, Record.NOTE, 0, event.body, now):
            return
        if self._out.stranger(event.to) is not None:
            return
        notes = self._with(peer).notes
        notes.append((now + NOTE_SECONDS, event.body))
        if len(notes) > NOTES:
            notes.popleft()
        if self.dialing.open(event.to, now) is not None:
            notes.clear()

    def replied(self, peer: bytes, ident: int, outcome: bytes | Error) -> None:
        """A reply arrived in a session with ``peer``."""
        call = self._calls.get(ident)
        # Nobody answers for somebody else.
        if call is not None and call.to == peer:
            self._towards[peer].backoff = BACKOFF_FIRST
            self._finish(call, outcome)

    def due(self, ident: int, now: float) -> None:
        """A timer of a call."""
        call = self._calls.get(ident)
        if call is None:
            return
        if now >= call.deadline:
            self._finish(call, _late(call))
            return
        if now >= call.due:
            self._dispatch(call, now)
        if ident in self._calls:
            self._arm(call, now)

    def welcomed(self, now: float) -> None:
        """The relay is (again) there: all that is unanswered goes out again."""
        for call in list(self._calls.values()):
            self._dispatch(call, now)

    def established(self, new: Channel, doubted: set[bytes], now: float) -> None:
        """There is a new session: what waited for one, or went out in a doubted one, goes now."""
        towards = self._towards.get(new.peer)
        if towards is None:
            return
        while towards.notes:
            expires, body = towards.notes.popleft()
            if now < expires:
                self._out.record(new.peer, Record.NOTE, 0, body, now)
        for call in list(towards.waiting.values()):
            if call.flow is None or call.flow in doubted:
                self._dispatch(call, now)

    def lost(self, peer: bytes, flow: bytes, now: float) -> None:
        """What went out in a session did not arrive."""
        towards = self._towards.get(peer)
        for call in list(towards.waiting.values()) if towards else ():
            if call.flow == flow:
                self._dispatch(call, now)

    def bounced(self, peer: bytes, code: Nack, now: float) -> float:
        """The relay did not pass something on (a hint): when to try again, ever more patiently."""
        towards = self._with(peer)
        for call in towards.waiting.values():
            call.hint = code.name
        if towards.retry_at <= now:
            towards.retry_at = now + towards.backoff * (0.75 + self._chance() / 2)
            towards.backoff = min(towards.backoff * 2, BACKOFF_LAST)
            self._out.at(towards.retry_at, Due.PEER, peer)
        return towards.retry_at

    def retry(self, peer: bytes, now: float) -> None:
        """A backoff is over."""
        towards = self._towards.get(peer)
        if towards is not None and towards.waiting:
            self.dialing.again(peer, now)
            for call in list(towards.waiting.values()):
                self._dispatch(call, now)

    def enrolled(self, now: float) -> None:
        """A new manifest: calls to those who left end now."""
        for call in list(self._calls.values()):
            if self._out.card(call.to) is None:
                self._finish(call, error("REVOKED", "the peer is no longer in the manifest"))

    def _with(self, peer: bytes) -> _Towards:
        towards = self._towards.get(peer)
        if towards is None:
            towards = self._towards[peer] = _Towards()
        return towards

    def _dispatch(self, call: Outstanding, now: float) -> Error | None:
        """Send a call in the best session, or see to it that there will be one."""
        out = self._out
        best = out.channels.best(call.to, now)
        if best is None:
            card = out.card(call.to)
            return self.dialing.open(card, now) if card is not None else None
        if not out.online:
            return None
        try:
            body = call.body
            if not isinstance(body, bytes):
                body = body(best.session.handshake_hash)
            out.seal(best, _CALL, call.ident, body, now)
        except Error as fault:
            self._finish(call, fault)
            return None
        call.sent(best.flow, now)
        return None

    def _arm(self, call: Outstanding, now: float) -> None:
        when = call.due if call.due > now else now + call.wait
        self._out.at(min(when, call.deadline), Due.CALL, call.ident)

    def _finish(self, call: Outstanding, outcome: bytes | Error) -> None:
        if self._calls.pop(call.ident, None) is not None:
            self._towards[call.to].waiting.pop(call.ident, None)
            self._out.emit(ev.Replied(call.ident, outcome))


def _late(call: Outstanding) -> Error:
    if call.hint == Nack.OFFLINE.name:
        return error("POD_LOST", "the peer is not connected to the relay")
    if call.hint == Nack.REVOKED.name:
        return error("REVOKED", "the relay says that a key is revoked")
    return error("TIMEOUT", "the peer did not answer in time")
