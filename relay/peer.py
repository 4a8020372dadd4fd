"""The peer: sessions, calls and streams through a relay that may lose, repeat, reorder or invent.

``handle(event, now)`` takes what happened and returns what to do; ``next_chunk`` is pulled when the
connection can take bulk; ``deadline`` says when to tick. Invariant: every ``Ask`` ends in exactly one
``Replied`` by its deadline, every ``Asked`` id is asked once, every ``Read`` ends in a final ``Chunk``
after all before it, or in ``Broke``. Rule to keep: what did not authenticate in a session (NACK,
UNKNOWN, GONE, DRAIN) is a hint: it may cause a retry or a handshake, never change anything else.
"""

import heapq
import os
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgspec

from podsql.errors import Error, error
from podsql.messages import Failed, decode_as
from podsql.messages import encode as encode_message
from podsql.relay import events as ev
from podsql.relay.bulk import Bulk, Patience
from podsql.relay.calls import Outstanding, Served, Verdict
from podsql.relay.cards import Card, may_open
from podsql.relay.channels import Channel, Channels, channel
from podsql.relay.frames import Header, Kind, Nack, address_of, decode
from podsql.relay.handshakes import Handshakes
from podsql.relay.keys import PeerKeys
from podsql.relay.link import Heartbeat, Link
from podsql.relay.manifest import Manifest
from podsql.relay.records import Record, Step
from podsql.relay.records import decode as decode_record
from podsql.relay.records import encode as encode_record
from podsql.relay.session import Session

NOTES: Final = 256
NOTE_SECONDS: Final = 10.0
STRANGERS: Final = 16
FETCH_SECONDS: Final = 1.0
HINT_FIRST: Final = 1.0
HINT_LAST: Final = 60.0
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 5.0
INVITEE: Final = "invitee"

_CALL: Final = int(Record.CALL)
_REPLY: Final = int(Record.REPLY)
_SEND: Final = int(Kind.SEND)
_STREAM: Final = int(Kind.STREAM)
_DATA: Final = int(Step.DATA)
_DATA_BYTE: Final = bytes((Step.DATA,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Everything about time that a test or an operator may want otherwise."""

    heartbeat: Heartbeat = Heartbeat()
    patience: Patience = Patience()


class _Due(Enum):
    LINK = 0
    CALL = 1
    ATTEMPT = 2
    READER = 3
    SENDER = 4
    PEER = 5


@dataclass(slots=True)
class _Towards:
    """What this peer remembers about its business with another."""

    waiting: dict[int, Outstanding] = field(default_factory=dict)
    notes: deque[tuple[float, bytes]] = field(default_factory=deque)
    hint_wait: float = HINT_FIRST
    hint_at: float = 0.0
    backoff: float = BACKOFF_FIRST
    retry_at: float = 0.0


class Peer:
    """One peer's protocol state. ``epoch`` is 32 random bits, new in every process."""

    def __init__(
        self,
        *,
        keys: PeerKeys,
        curve_public: bytes | None = None,
        epoch: int,
        timing: Timing = Timing(),
        entropy: Callable[[int], bytes] = os.urandom,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.address = address_of(curve_public or keys.curve_public)
        self.role = INVITEE
        self.dropped = 0
        """Frames that did not authenticate or fit nowhere."""
        self._effects: list[ev.Effect] = []
        self._manifest: Manifest | None = None
        self._link = Link(heartbeat=timing.heartbeat, role="", emit=self._emit, chance=chance)
        self._shakes = Handshakes(static=keys.noise, address=self.address, random=entropy)
        self._channels = Channels()
        self._bulk = Bulk(patience=timing.patience, emit=self._emit, tell=self._stream_record)
        self._calls: dict[int, Outstanding] = {}
        self._towards: dict[bytes, _Towards] = {}
        self._served: dict[bytes, Served] = {}
        self._chance = chance
        self._epoch = epoch
        self._timers: list[tuple[float, int, _Due, Any]] = []
        self._timer_count = 0
        self._unknown_at = 0.0
        self._fetch_at = 0.0
        self._strangers: OrderedDict[bytes, bytes] = OrderedDict()
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ev.Arrived: self._arrived,
            ev.Ask: self._ask,
            ev.Answer: self._answer,
            ev.Decline: self._decline,
            ev.Ticked: self._tick,
            ev.Tell: self._tell,
            ev.Connected: self._connected,
            ev.Disconnected: self._disconnected,
            ev.Enrolled: self._enrolled,
            ev.Fetch: self._fetch,
            ev.Publish: self._publish,
            ev.Offer: self._offer,
            ev.Changed: self._changed,
            ev.Read: self._read,
            ev.Consumed: self._consumed,
            ev.Leave: self._leave,
        }

    def handle(self, event: ev.Event, now: float) -> list[ev.Effect]:
        """Take an event; what to do about it, in order."""
        self._handlers[type(event)](event, now)
        effects = self._effects
        if effects:
            self._effects = []
        return effects

    def next_chunk(self, now: float) -> ev.Send | None:
        """The next bulk frame, if credit allows one and the relay is there."""
        return self._bulk.next_chunk(now) if self._link.online else None

    def deadline(self) -> float | None:
        """When to tick next."""
        return self._timers[0][0] if self._timers else None

    # -- towards the relay ---------------------------------------------------------------------

    def _emit(self, effect: ev.Effect) -> None:
        self._effects.append(effect)

    def _frame(self, header: Header, body: bytes) -> None:
        if self._link.online:
            self._effects.append(ev.Send(header.encode(), body))

    def _step(self, peer: bytes, flow: bytes, step: Step, body: bytes = b"") -> None:
        self._frame(Header(kind=Kind.SEND, dst=peer, flow=flow), bytes((step,)) + body)

    def _at(self, when: float, due: _Due, key: Any = None) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, due, key))

    def _link_timer(self) -> None:
        if self._link.due is not None:
            self._at(self._link.due, _Due.LINK)

    def _connected(self, event: ev.Connected, now: float) -> None:
        self._link.connected(now)
        self._link_timer()

    def _disconnected(self, event: ev.Disconnected, now: float) -> None:
        self._link.disconnected()

    def _fetch(self, event: ev.Fetch, now: float) -> None:
        self._frame(Header(kind=Kind.FETCH), b"")

    def _publish(self, event: ev.Publish, now: float) -> None:
        # The relay's answer to the FETCH tells whether it took it, whatever it says to PUBLISH.
        self._frame(Header(kind=Kind.PUBLISH), event.manifest)
        self._frame(Header(kind=Kind.FETCH), b"")

    def _welcomed(self, now: float) -> None:
        """Whatever was on its way may be lost: say it again."""
        for attempt in self._shakes.attempts():
            self._shake(attempt.peer, now)
        for each in self._channels:
            if each.hs3 is not None:
                self._step(each.peer, each.flow, Step.HS3, each.hs3)
        for call in list(self._calls.values()):
            self._dispatch(call, now)
        self._bulk.resume_all(None, now)

    def _tick(self, event: ev.Ticked, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            _, _, due, key = heapq.heappop(timers)
            if due is _Due.CALL:
                self._call_due(key, now)
            elif due is _Due.LINK:
                if self._link.due is not None and self._link.due <= now:
                    self._link.tick(now)
                    self._link_timer()
            elif due is _Due.ATTEMPT:
                attempt = self._shakes.attempt(key)
                if attempt is not None and attempt.due <= now:
                    self._shake(key, now)
            elif due is _Due.READER:
                again = self._bulk.look(key, now)
                if again is not None:
                    self._at(max(again, now + 0.01), _Due.READER, key)
            elif due is _Due.SENDER:
                self._bulk.wake(key)
            elif due is _Due.PEER:
                self._retry(key, now)

    # -- frames --------------------------------------------------------------------------------

    def _arrived(self, event: ev.Arrived, now: float) -> None:
        header, body = event.header, event.body
        self._link.received(len(header) + len(body))
        if len(header) != 64:
            self.dropped += 1
            return
        kind = header[4]
        if kind == _SEND:
            self._control(header, body, now)
            return
        try:
            head = decode(header)
        except Error:
            self.dropped += 1
            return
        if kind == _STREAM:
            if head.dst == self.address:
                self._bulk.arrived(head, body, now)
        elif kind == Kind.WELCOME:
            if self._link.welcome(body, now):
                self._link_timer()
                self._welcomed(now)
        elif kind == Kind.MANIFEST:
            self._emit(ev.Fetched(body))
        elif kind == Kind.NACK:
            self._nack(head, body, now)

    def _control(self, header: bytes, body: bytes, now: float) -> None:
        key = header[24:56]
        step = body[0] if body else 0
        if step == _DATA:
            found = self._channels.get(key)
            if found is not None:
                self._data(found, header, body, now)
            else:
                self._stranger(key, now)
        elif step == Step.HS1:
            self._hs1(key, body[1:], now)
        elif step == Step.HS2:
            self._hs2(key, body[1:], now)
        elif step == Step.HS3:
            self._hs3(key, body[1:], now)
        elif step == Step.UNKNOWN:
            found = self._channels.get(key)
            if found is not None:
                self._doubt(found, now)
        else:
            self.dropped += 1

    def _data(self, found: Channel, header: bytes, body: bytes, now: float) -> None:
        try:
            if header[:60] != found.seen or found.session.expired(now):
                raise error("SESSION", "frame does not belong to the session")
            plain = found.session.open(body[1:], found.seen)
            kind, ident, inner = decode_record(plain)
        except Error:
            self.dropped += 1
            return
        found.hs3 = None
        found.doubted = False
        if kind == _CALL:
            self._call(found, ident, inner, now)
        elif kind == _REPLY or kind == Record.REFUSED:
            call = self._calls.get(ident)
            if call is not None and call.to == found.peer:
                self._finish(call, inner if kind == _REPLY else _refusal(inner))
        elif kind == Record.NOTE:
            self._emit(ev.Asked(found.card, None, inner, found.session.handshake_hash))
        else:
            try:
                self._bulk.record(found.peer, kind, inner, now)
            except Error:
                self.dropped += 1

    def _stranger(self, key: bytes, now: float) -> None:
        """Data of a session that is not known here: half-open, or from before a restart."""
        hs2 = self._shakes.pending(key)
        if hs2 is not None:
            self._step(key[:16], key[16:], Step.HS2, hs2)
        elif now >= self._unknown_at and self._card(key[:16]) is not None:
            self._unknown_at = now + 0.01
            self._step(key[:16], key[16:], Step.UNKNOWN)

    def _nack(self, head: Header, body: bytes, now: float) -> None:
        try:
            code = Nack(head.seq)
        except ValueError:
            return
        if code is Nack.REFUSED and head.flow == bytes(16):
            self._emit(ev.PublishRefused())
            return
        for key in self._bulk.keys_of(head.flow):
            again = self._bulk.bounced(key, None, offline=code is Nack.OFFLINE, now=now)
            if again is not None:
                self._at(again, _Due.SENDER, key)
        for peer, towards in self._towards.items():
            if towards.waiting and self._travels(peer, head.flow):
                for call in towards.waiting.values():
                    call.hint = code.name
                if towards.retry_at <= now:
                    towards.retry_at = now + towards.backoff * (0.75 + self._chance() / 2)
                    towards.backoff = min(towards.backoff * 2, BACKOFF_LAST)
                    self._at(towards.retry_at, _Due.PEER, peer)

    def _travels(self, peer: bytes, flow: bytes) -> bool:
        attempt = self._shakes.attempt(peer)
        return (attempt is not None and attempt.flow == flow) or (
            self._channels.get(peer + flow) is not None
        )

    def _retry(self, peer: bytes, now: float) -> None:
        """A backoff after NACKs is over: everything unanswered goes out again."""
        towards = self._towards.get(peer)
        if towards is None or not towards.waiting:
            return
        if self._shakes.attempt(peer) is not None:
            self._shake(peer, now)
        for call in list(towards.waiting.values()):
            self._dispatch(call, now)

    # -- handshakes ----------------------------------------------------------------------------

    def _card(self, address: bytes) -> Card | None:
        """Who lives at an address, by the manifest; an open invite's holder counts as invitee."""
        manifest = self._manifest
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

    def _open(self, card: Card, now: float) -> Error | None:
        """Begin a handshake unless one is under way; why not, if not allowed."""
        peer = card.address
        if not may_open(self.role, card.role):
            return error("ROLE", f"{self.role} may not open a session with {card.role}")
        if self._shakes.attempt(peer) is None and self._link.online:
            self._shakes.begin(peer, card.noise, now)
            self._shake(peer, now)
        return None

    def _shake(self, peer: bytes, now: float) -> None:
        attempt = self._shakes.attempt(peer)
        if attempt is None:
            return
        towards = self._towards.get(peer)
        if towards is None or not (towards.waiting or towards.notes):
            if self._channels.best(peer, now) is None and not self._bulk.reads_from(peer):
                self._shakes.abandon(peer)
                return
        self._step(peer, attempt.flow, Step.HS1, attempt.hs1)
        attempt.sent(now)
        self._at(attempt.due, _Due.ATTEMPT, peer)

    def _hs1(self, key: bytes, hs1: bytes, now: float) -> None:
        card = self._card(key[:16])
        if card is None:
            self._unknown(key, hs1, now)
            return
        if not may_open(card.role, self.role) or self._channels.get(key):
            self.dropped += 1
            return
        hs2 = self._shakes.asked(key, hs1, now)
        if hs2 is None:
            self.dropped += 1
            return
        self._step(key[:16], key[16:], Step.HS2, hs2)

    def _unknown(self, key: bytes, hs1: bytes, now: float) -> None:
        """Somebody the manifest here does not name: perhaps a newer one does. Ask, then try again."""
        self.dropped += 1
        self._strangers[key] = hs1
        if len(self._strangers) > STRANGERS:
            self._strangers.popitem(last=False)
        if now >= self._fetch_at:
            self._fetch_at = now + FETCH_SECONDS
            self._frame(Header(kind=Kind.FETCH), b"")

    def _hs2(self, key: bytes, hs2: bytes, now: float) -> None:
        peer, flow = key[:16], key[16:]
        known = self._channels.get(key)
        if known is not None:
            # It did not get HS3; what was sent behind it was lost too.
            if known.hs3 is not None:
                self._step(peer, flow, Step.HS3, known.hs3)
                self._resend(peer, lambda call: call.flow == flow, now)
            return
        card = self._card(peer)
        done = self._shakes.answered(peer, flow, hs2) if card is not None else None
        if card is None or done is None:
            self.dropped += 1
            return
        hs3, session = done
        if session.remote_static != card.noise:
            self.dropped += 1
            return
        self._step(peer, flow, Step.HS3, hs3)
        self._established(card, peer, flow, session, hs3, now)

    def _hs3(self, key: bytes, hs3: bytes, now: float) -> None:
        if self._channels.get(key) is not None:
            return
        card = self._card(key[:16])
        session = self._shakes.finished(key, hs3, now)
        if card is None or session is None or not may_open(card.role, self.role):
            self.dropped += 1
            return
        if card.role == INVITEE:
            # The manifest knows no session key of an invitee; this session proved one.
            card = msgspec.structs.replace(card, noise=session.remote_static)
        elif session.remote_static != card.noise:
            self.dropped += 1
            return
        self._established(card, key[:16], key[16:], session, None, now)

    def _established(
        self,
        card: Card,
        peer: bytes,
        flow: bytes,
        session: Session,
        hs3: bytes | None,
        now: float,
    ) -> None:
        session.expired(now)
        doubted = {each.flow for each in self._channels if each.peer == peer and each.doubted}
        self._channels.add(
            channel(me=self.address, card=card, peer=peer, flow=flow, session=session, hs3=hs3)
        )
        towards = self._towards.get(peer)
        if towards is not None:
            while towards.notes:
                expires, body = towards.notes.popleft()
                if now < expires:
                    self._record(peer, Record.NOTE, 0, body, now)
        self._resend(peer, lambda call: call.flow is None or call.flow in doubted, now)
        self._bulk.resume_all(peer, now)

    def _doubt(self, found: Channel, now: float) -> None:
        """The other side says it does not know this session: shake hands, at a bounded rate."""
        towards = self._towards.setdefault(found.peer, _Towards())
        if now < towards.hint_at:
            return
        calm = now - towards.hint_at > HINT_LAST
        towards.hint_wait = HINT_FIRST if calm else min(towards.hint_wait * 2, HINT_LAST)
        towards.hint_at = now + towards.hint_wait
        found.doubted = True
        self._open(found.card, now)

    # -- records -------------------------------------------------------------------------------

    def _record(self, peer: bytes, kind: int, ident: int, body: bytes, now: float) -> bool:
        """Seal a record to a peer and send it: False when there is no session to carry it."""
        best = self._channels.best(peer, now)
        if best is None or not self._link.online:
            return False
        if best.session.exhausted(now) and may_open(self.role, best.card.role):
            self._open(best.card, now)
        self._seal(best, kind, ident, body)
        return True

    def _seal(self, best: Channel, kind: int, ident: int, body: bytes) -> None:
        sealed = best.session.seal(encode_record(kind, ident, body), best.ad)
        self._effects.append(ev.Send(best.wire, _DATA_BYTE + sealed))

    def _stream_record(self, peer: bytes, kind: Record, body: bytes, now: float) -> bool:
        if self._record(peer, kind, 0, body, now):
            return True
        card = self._card(peer)
        if card is not None and may_open(self.role, card.role):
            self._towards.setdefault(peer, _Towards())
            self._open(card, now)
        return False

    # -- calls out -----------------------------------------------------------------------------

    def _ask(self, event: ev.Ask, now: float) -> None:
        peer = event.to.address
        call = Outstanding(
            ident=event.ident, to=peer, body=event.body, deadline=event.deadline, due=now
        )
        self._calls[event.ident] = call
        self._towards.setdefault(peer, _Towards()).waiting[event.ident] = call
        fault = self._known(event.to)
        if fault is None:
            fault = self._dispatch(call, now)
        if fault is not None and event.ident in self._calls:
            self._finish(call, fault)
            return
        self._at(call.due if call.due > now else min(now + call.wait, call.deadline), _Due.CALL, event.ident)

    def _known(self, card: Card) -> Error | None:
        manifest = self._manifest
        member = manifest.by_address(card.address) if manifest else None
        if member is not None and member.noise == card.noise:
            return None
        if manifest is not None and card.identity in manifest.revoked:
            return error("REVOKED", f"{card.name!r} is revoked")
        return error("UNKNOWN_PEER", f"{card.name!r} is not in the manifest")

    def _dispatch(self, call: Outstanding, now: float) -> Error | None:
        """Send a call in the best session, or see to it that there will be one."""
        if call.deadline <= now:
            return None
        best = self._channels.best(call.to, now)
        if best is None:
            card = self._card(call.to)
            return self._open(card, now) if card else None
        if not self._link.online:
            return None
        if best.session.exhausted(now):
            self._open(best.card, now)
        body = call.body
        try:
            if not isinstance(body, bytes):
                body = body(best.session.handshake_hash)
            self._seal(best, _CALL, call.ident, body)
        except Error as fault:
            self._finish(call, fault)
            return None
        call.sent(best.flow, now)
        return None

    def _resend(self, peer: bytes, which: Callable[[Outstanding], bool], now: float) -> None:
        towards = self._towards.get(peer)
        if towards is not None:
            for call in [call for call in towards.waiting.values() if which(call)]:
                self._dispatch(call, now)

    def _call_due(self, ident: int, now: float) -> None:
        call = self._calls.get(ident)
        if call is None:
            return
        if now >= call.deadline:
            self._finish(call, _late(call))
            return
        if now >= call.due:
            self._dispatch(call, now)
        when = call.due if call.due > now else now + call.wait
        self._at(min(when, call.deadline), _Due.CALL, ident)

    def _finish(self, call: Outstanding, outcome: bytes | Error) -> None:
        if self._calls.pop(call.ident, None) is None:
            return
        towards = self._towards[call.to]
        towards.waiting.pop(call.ident, None)
        if isinstance(outcome, bytes):
            towards.backoff = BACKOFF_FIRST
        self._effects.append(ev.Replied(call.ident, outcome))

    def _tell(self, event: ev.Tell, now: float) -> None:
        peer = event.to.address
        if self._record(peer, Record.NOTE, 0, event.body, now):
            return
        towards = self._towards.setdefault(peer, _Towards())
        towards.notes.append((now + NOTE_SECONDS, event.body))
        if len(towards.notes) > NOTES:
            towards.notes.popleft()
        if self._known(event.to) is not None or self._open(event.to, now) is not None:
            towards.notes.clear()

    # -- calls in ------------------------------------------------------------------------------

    def _call(self, found: Channel, ident: int, body: bytes, now: float) -> None:
        served = self._served.get(found.peer)
        if served is None:
            served = self._served[found.peer] = Served()
        verdict = served.admit(ident)
        if verdict is Verdict.SERVE:
            self._emit(ev.Asked(found.card, ident, body, found.session.handshake_hash))
        elif verdict is Verdict.ANSWERED:
            self._record(found.peer, *_record_of(ident, served.reply(ident)), now)
        elif verdict is Verdict.FORGOTTEN:
            fault = error("REPLAY", "the call was answered long ago")
            self._record(found.peer, Record.REFUSED, ident, _refuse(fault), now)
        elif verdict is Verdict.FULL:
            fault = error("BUSY", "too many calls at once")
            self._record(found.peer, Record.REFUSED, ident, _refuse(fault), now)

    def _answer(self, event: ev.Answer, now: float) -> None:
        self._respond(event.peer, event.ident, _REPLY, event.body, now)

    def _decline(self, event: ev.Decline, now: float) -> None:
        self._respond(event.peer, event.ident, Record.REFUSED, _refuse(event.fault), now)

    def _respond(self, peer: bytes, ident: int, kind: int, body: bytes, now: float) -> None:
        served = self._served.get(peer)
        if served is None or not served.answer(ident, kind, body):
            return
        try:
            self._record(peer, kind, ident, body, now)
        except Error as fault:
            served.amend(ident, Record.REFUSED, _refuse(fault))
            self._record(peer, Record.REFUSED, ident, _refuse(fault), now)

    # -- streams -------------------------------------------------------------------------------

    def _offer(self, event: ev.Offer, now: float) -> None:
        self._bulk.offer(event.to.address + event.source.stream, event.source)

    def _changed(self, event: ev.Changed, now: float) -> None:
        self._bulk.changed(event.to + event.stream, now)

    def _read(self, event: ev.Read, now: float) -> None:
        key = event.frm.address + event.stream
        self._at(self._bulk.read(key, now), _Due.READER, key)

    def _consumed(self, event: ev.Consumed, now: float) -> None:
        self._bulk.consumed(event.frm + event.stream, event.count, now)

    def _leave(self, event: ev.Leave, now: float) -> None:
        self._bulk.leave(event.frm + event.stream)

    # -- membership ----------------------------------------------------------------------------

    def _enrolled(self, event: ev.Enrolled, now: float) -> None:
        self._manifest = event.manifest
        own = event.manifest.by_address(self.address)
        self.role = own.role if own is not None else INVITEE
        gone: set[bytes] = set()
        for each in self._channels:
            card = self._card(each.peer)
            if card is not None and card.noise == each.card.noise:
                each.card = card
            elif each.card.role != INVITEE:
                # An invitee's own admission ends its invite: its session must carry the answer.
                gone.add(each.peer)
        self._channels.drop(lambda each: each.peer in gone)
        for peer in gone:
            self._shakes.abandon(peer)
            self._bulk.drop_peer(peer)
            self._served.pop(peer, None)
        for call in list(self._calls.values()):
            if self._card(call.to) is None:
                self._finish(call, error("REVOKED", "the peer is no longer in the manifest"))
        strangers, self._strangers = self._strangers, OrderedDict()
        for key, hs1 in strangers.items():
            if self._card(key[:16]) is not None:
                self._hs1(key, hs1, now)


def _record_of(ident: int, answer: tuple[int, bytes]) -> tuple[int, int, bytes]:
    return answer[0], ident, answer[1]


def _late(call: Outstanding) -> Error:
    if call.hint == Nack.OFFLINE.name:
        return error("POD_LOST", "the peer is not connected to the relay")
    if call.hint == Nack.REVOKED.name:
        return error("REVOKED", "the relay says that a key is revoked")
    return error("TIMEOUT", "the peer did not answer in time")


def _refuse(fault: Error) -> bytes:
    return encode_message(Failed(code=fault.code, message=fault.message, hint=fault.hint))


def _refusal(body: bytes) -> Error:
    try:
        failed = decode_as(Failed, body)
    except Error as fault:
        return fault
    return error(failed.code, failed.message, hint=failed.hint)
