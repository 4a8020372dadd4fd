"""The peer: sessions, calls and streams through a relay that may lose, repeat, reorder or invent.

``handle(event, now)`` takes what happened and returns what to do; ``next_chunk`` is pulled when the
connection can take bulk; ``deadline`` says when to tick. Invariant: every ``Ask`` ends in exactly one
``Replied`` by its deadline, every ``Asked`` id is asked once, every ``Read`` ends in a final ``Chunk``
after all before it, or in ``Broke``. Rule to keep: what did not authenticate in a session (NACK,
UNKNOWN, GONE, DRAIN) is a hint: it may cause a retry or a handshake, never change anything else.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from podsql.errors import Error, error
from podsql.relay import events as ev
from podsql.relay.answering import Answering
from podsql.relay.asking import Asking
from podsql.relay.bulk import Bulk, Patience
from podsql.relay.channels import Channel
from podsql.relay.dialing import Dialing
from podsql.relay.frames import HEADER_BYTES, NOBODY, Header, Kind, Nack, address_of, decode
from podsql.relay.keys import PeerKeys
from podsql.relay.link import Heartbeat, Link
from podsql.relay.outbox import INVITEE, Due, Outbox, refusal
from podsql.relay.records import Record, Step
from podsql.relay.records import decode as decode_record

_CALL: Final = int(Record.CALL)
_REPLY: Final = int(Record.REPLY)
_REFUSED: Final = int(Record.REFUSED)
_NOTE: Final = int(Record.NOTE)
_SEND: Final = int(Kind.SEND)
_DATA: Final = int(Step.DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Everything about time that a test or an operator may want otherwise."""

    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    patience: Patience = field(default_factory=Patience)


class Peer:
    """One peer's protocol state; ``curve_public`` when its mailbox is not its own (an invitee's)."""

    def __init__(
        self,
        *,
        keys: PeerKeys,
        curve_public: bytes | None = None,
        timing: Timing = Timing(),
        entropy: Callable[[int], bytes] = os.urandom,
        chance: Callable[[], float] = random.SystemRandom().random,
    ) -> None:
        self.out = Outbox(address_of(curve_public or keys.curve_public))
        self._link = Link(heartbeat=timing.heartbeat, role="", emit=self.out.emit, chance=chance)
        self._bulk = Bulk(patience=timing.patience, emit=self.out.emit, tell=self._stream_record)
        self._asking = Asking(self.out, chance=chance)
        self._answering = Answering(self.out)
        self._dialing = self._asking.dialing = Dialing(
            self.out,
            static=keys.noise,
            entropy=entropy,
            wanted=self._wanted,
            established=self._established,
            lost=self._asking.lost,
        )
        self.out.refresh = self._dialing.refresh
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ev.Arrived: self._arrived,
            ev.Ask: self._asking.ask,
            ev.Answer: self._answering.answer,
            ev.Decline: self._answering.decline,
            ev.Ticked: self._tick,
            ev.Tell: self._asking.tell,
            ev.Connected: self._connected,
            ev.Disconnected: self._disconnected,
            ev.Enrolled: self._enrolled,
            ev.Lapsed: self._lapsed,
            ev.Fetch: self._fetch,
            ev.Publish: self._publish,
            ev.Offer: self._offer,
            ev.Changed: self._changed,
            ev.Read: self._read,
            ev.Consumed: self._consumed,
            ev.Leave: self._leave,
        }

    @property
    def address(self) -> bytes:
        """Where this peer is reached."""
        return self.out.address

    @property
    def half_open(self) -> int:
        """Handshakes that others began and did not finish."""
        return self._dialing.half_open

    def handle(self, event: ev.Event, now: float) -> list[ev.Effect]:
        """Take an event; what to do about it, in order."""
        self._handlers[type(event)](event, now)
        return self.out.take()

    def next_chunk(self, now: float) -> ev.Send | None:
        """The next bulk frame, if credit allows one and the relay is there."""
        return self._bulk.next_chunk(now) if self.out.online else None

    def deadline(self) -> float | None:
        """When to tick next."""
        return self.out.deadline()

    # -- the relay -----------------------------------------------------------------------------

    def _connected(self, event: ev.Connected, now: float) -> None:
        self.out.online = False
        self._link.connected(now)
        self._link_timer()

    def _disconnected(self, event: ev.Disconnected, now: float) -> None:
        self.out.online = False
        self._link.disconnected()

    def _link_timer(self) -> None:
        if self._link.due is not None:
            self.out.at(self._link.due, Due.LINK)

    def _fetch(self, event: ev.Fetch, now: float) -> None:
        self.out.frame(Header(kind=Kind.FETCH))

    def _publish(self, event: ev.Publish, now: float) -> None:
        # The answer to the FETCH tells whether the relay took it, whatever it says to PUBLISH.
        self.out.frame(Header(kind=Kind.PUBLISH), event.manifest)
        self.out.frame(Header(kind=Kind.FETCH))

    def _tick(self, event: ev.Ticked, now: float) -> None:
        while (found := self.out.due(now)) is not None:
            due, key = found
            if due is Due.CALL:
                self._asking.due(key, now)
            elif due is Due.PEER:
                self._asking.retry(key, now)
            elif due is Due.ATTEMPT:
                self._dialing.due(key, now)
            elif due is Due.READER:
                again = self._bulk.look(key, now)
                if again is not None:
                    self.out.at(max(again, now + 0.01), Due.READER, key)
            elif due is Due.SENDER:
                self._bulk.wake(key)
            elif self._link.due is not None and self._link.due <= now:
                self._link.tick(now)
                self.out.online = self._link.online
                self._link_timer()

    # -- frames --------------------------------------------------------------------------------

    def _arrived(self, event: ev.Arrived, now: float) -> None:
        header, body = event.header, event.body
        self._link.received(len(header) + len(body))
        if len(header) != HEADER_BYTES:
            self.out.dropped += 1
        elif header[4] == _SEND:
            self._control(header, body, now)
        else:
            try:
                self._other(decode(header), body, now)
            except Error:
                self.out.dropped += 1

    def _other(self, head: Header, body: bytes, now: float) -> None:
        if head.kind is Kind.STREAM:
            if head.dst == self.address:
                self._bulk.arrived(head, body, now)
        elif head.kind is Kind.WELCOME:
            if self._link.welcome(body, now):
                self.out.online = True
                self._link_timer()
                self._dialing.welcomed(now)
                self._asking.welcomed(now)
                self._bulk.resume_all(None, now)
        elif head.kind is Kind.MANIFEST:
            self.out.emit(ev.Fetched(body))
        elif head.kind is Kind.NACK:
            self._nack(head, now)
        elif head.kind is Kind.GONE and head.src == head.dst == self.address:
            self.out.emit(ev.Replaced())

    def _control(self, header: bytes, body: bytes, now: float) -> None:
        key = header[24:56]
        step = body[0] if body else 0
        found = self.out.channels.get(key)
        if step == _DATA:
            if found is not None:
                self._data(found, header, body, now)
            else:
                self._dialing.stray(key, now)
        elif step == Step.HS1:
            self._dialing.hs1(key, body[1:], now)
        elif step == Step.HS2:
            self._dialing.hs2(key, body[1:], now)
        elif step == Step.HS3:
            self._dialing.hs3(key, body[1:], now)
        elif step == Step.UNKNOWN and found is not None:
            self._dialing.doubt(found, now)
        else:
            self.out.dropped += 1

    def _data(self, found: Channel, header: bytes, body: bytes, now: float) -> None:
        try:
            if header[:60] != found.seen or found.session.expired(now):
                raise error("SESSION", "the frame does not belong to the session")
            kind, ident, inner = decode_record(found.session.open(body[1:], found.seen))
            found.hs3 = None
            found.doubted = False
            if kind == _CALL:
                self._answering.arrived(found, ident, inner, now)
            elif kind == _REPLY:
                self._asking.replied(found.peer, ident, inner)
            elif kind == _REFUSED:
                self._asking.replied(found.peer, ident, refusal(inner))
            elif kind == _NOTE:
                self.out.emit(ev.Asked(found.card, None, inner, found.session.handshake_hash))
            else:
                self._bulk.record(found.peer, kind, inner, now)
        except Error:
            self.out.dropped += 1

    def _nack(self, head: Header, now: float) -> None:
        try:
            code = Nack(head.seq)
        except ValueError:
            return
        if code is Nack.REFUSED and head.flow == NOBODY:
            self.out.emit(ev.PublishRefused())
            return
        for key in self._bulk.keys_of(head.flow):
            again = self._bulk.bounced(
                key, offline=code is Nack.OFFLINE, retry=head.ttl / 1000, now=now
            )
            if again is not None:
                self.out.at(again, Due.SENDER, key)
        peer = self._dialing.towards(head.flow)
        if peer is not None:
            again = self._asking.bounced(peer, code, now)
            for key in self._bulk.hurry(peer, again):
                self.out.at(again, Due.READER, key)

    # -- sessions ------------------------------------------------------------------------------

    def _wanted(self, peer: bytes) -> bool:
        return (
            self._asking.wants(peer)
            or self._bulk.reads_from(peer)
            or any(True for _ in self.out.channels.of(peer))
        )

    def _established(self, new: Channel, doubted: set[bytes], now: float) -> None:
        self._asking.established(new, doubted, now)
        self._bulk.resume_all(new.peer, now)

    def _stream_record(self, peer: bytes, kind: Record, body: bytes, now: float) -> bool:
        if self.out.record(peer, kind, 0, body, now):
            return True
        card = self.out.card(peer)
        if card is not None:
            self._dialing.open(card, now)
        return False

    def _enrolled(self, event: ev.Enrolled, now: float) -> None:
        out = self.out
        out.manifest = event.manifest
        own = event.manifest.by_address(out.address)
        out.role = own.role if own is not None else INVITEE
        gone: set[bytes] = set()
        for each in out.channels:
            card = out.card(each.peer)
            if card is not None and card.noise == each.card.noise:
                each.card = card
            elif each.card.role != INVITEE:
                # An invitee's own admission ends its invite: its session must carry the answer.
                gone.add(each.peer)
        self._part(gone, now)

    def _lapsed(self, event: ev.Lapsed, now: float) -> None:
        self.out.manifest = None
        self._part({each.peer for each in self.out.channels}, now)

    def _part(self, gone: set[bytes], now: float) -> None:
        self.out.channels.drop(gone)
        for peer in gone:
            self._bulk.drop_peer(peer)
            self._answering.forget(peer)
        self._asking.enrolled(now)
        self._dialing.enrolled(gone, now)

    # -- streams -------------------------------------------------------------------------------

    def _offer(self, event: ev.Offer, now: float) -> None:
        self._bulk.offer(event.to.address + event.source.stream, event.source)

    def _changed(self, event: ev.Changed, now: float) -> None:
        self._bulk.changed(event.to + event.stream, now)

    def _read(self, event: ev.Read, now: float) -> None:
        key = event.frm.address + event.stream
        self.out.at(self._bulk.read(key, now), Due.READER, key)

    def _consumed(self, event: ev.Consumed, now: float) -> None:
        self._bulk.consumed(event.frm + event.stream, event.count, now)

    def _leave(self, event: ev.Leave, now: float) -> None:
        self._bulk.leave(event.frm + event.stream)
