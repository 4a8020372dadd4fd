"""Counts of keys that several pods share: this pod's keys, its secret, and what other pods hand on.

Everything runs on the endpoint's I/O thread but what costs time, which a few threads of its own do.
A count begins when the pod's own rules have let the count of its own keys pass; what other pods
send before that waits. Rule to keep: a pod multiplies points of another pod for a statement that
the analyst signed for both, alike, and for nothing else; each count has a secret of its own.
"""

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa

from podsql.engine.job import Chunk, Event, Finished, JobHandle, OnEvent
from podsql.engine.job import Failed as JobFailed
from podsql.engine.psi.keys import canonical_keys
from podsql.engine.psi.points import hide, multiply_points, new_secret, ordered, require_points
from podsql.engine.psi.ring import (
    PART_POINTS,
    Count,
    Effect,
    HandOn,
    Multiply,
    Order,
    Over,
    Ring,
    in_order,
    parts_of,
    released,
)
from podsql.errors import Error, error
from podsql.messages import (
    Done,
    Failed,
    PsiClaim,
    PsiHand,
    PsiPart,
    Signed,
    decode,
    decode_as,
    encode,
    points_hash,
    psi_session,
)
from podsql.pod.refusing import failed, refuse
from podsql.pod.releasing import Released, as_ipc
from podsql.pod.requests import Ticket
from podsql.policy.denial import Withheld
from podsql.policy.psi import PsiOrder
from podsql.relay.cards import Card
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign, verify
from podsql.relay.sockets.endpoint import Endpoint, Request

log = logging.getLogger("podsql.pod")

T = TypeVar("T")

WINDOW: Final = 8
"""Parts of one set that are being multiplied, or on their way to the next pod, at once."""
EARLY: Final = 64
"""Parts from one pod that wait for a count which has not begun here."""
EARLY_SECONDS: Final = 30.0
ENDED: Final = 1024

RunSql = Callable[[Ticket, str, int, OnEvent], JobHandle]
"""Runs a statement of the ticket's snapshot, with at most so many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A part of another pod's set, with its signatures checked."""

    request: Request
    claim: PsiClaim
    document: Signed
    part: PsiPart
    points: bytes


class Counting:
    """The counts a pod takes part in, by session."""

    def __init__(self, *, keys: PeerKeys, endpoint: Endpoint, run: RunSql) -> None:
        self.keys = keys
        self.endpoint = endpoint
        self.run = run
        self.workers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="psi")
        self._running: dict[bytes, OneCount] = {}
        self._early: OrderedDict[bytes, list[Arrival]] = OrderedDict()
        self._ended: OrderedDict[bytes, Error] = OrderedDict()

    def close(self) -> None:
        """Stop the threads."""
        self.workers.shutdown(wait=True, cancel_futures=True)

    def begin(
        self,
        ticket: Ticket,
        order: PsiOrder,
        finish: Callable[[Released], None],
        fail: Callable[[Error], None],
    ) -> None:
        """Take part in the count that ``ticket`` asks for; ends in one of the two calls."""
        session = psi_session(ticket.head)
        if order.pods != ticket.head.pods:
            raise error("BAD_MESSAGE", "the request and its fragment name other pods")
        if session in self._running or session in self._ended:
            raise error(
                "REPLAY", "this count has been begun before", hint="send the statement anew"
            )
        early = self._early.pop(session, [])
        found = OneCount(self, session, ticket, order, finish, fail, waiting=early)
        self._running[session] = found
        self.endpoint.later(max(0.0, ticket.deadline - time.monotonic()), found.late)
        found.draw()

    def end(self, ticket: Ticket, fault: Error) -> None:
        """The ticket is over, whatever its end: other pods that still wait for it are told."""
        session = psi_session(ticket.head)
        found = self._running.get(session)
        if found is not None:
            if found.ticket is not ticket:
                return
            del self._running[session]
            found.stop(fault)
        self._ended[session] = fault
        while len(self._ended) > ENDED:
            self._ended.popitem(last=False)
        for arrival in self._early.pop(session, ()):
            refuse(arrival.request, fault)

    def serve(self, request: Request, message: PsiHand) -> None:
        """Take a part that another pod hands on."""
        arrival = self._verified(request, message)
        session = arrival.part.session
        found = self._running.get(session)
        if found is not None:
            found.arrived(arrival)
        elif session in self._ended:
            refuse(request, self._ended[session])
        else:
            self._wait(arrival)

    def _wait(self, arrival: Arrival) -> None:
        """The count has not begun here: the analyst's request, or the pod's own rules, take longer."""
        peer, session = arrival.request.peer, arrival.part.session
        waiting = sum(
            one.request.peer.identity == peer.identity
            for listed in self._early.values()
            for one in listed
        )
        if waiting >= EARLY:
            raise _busy()
        self._early.setdefault(session, []).append(arrival)
        self.endpoint.later(EARLY_SECONDS, lambda: self._forget(session))

    def _forget(self, session: bytes) -> None:
        for arrival in self._early.pop(session, ()):
            refuse(arrival.request, error("POD_LOST", "the pod was not asked to take part in time"))

    def _verified(self, request: Request, message: PsiHand) -> Arrival:
        """Signed by the pod that sends it, for this pod and session; the claim by its own pod."""
        part = decode_as(PsiPart, verify(message.part, "psi-part", request.peer.identity))
        if part.to != self.keys.identity_public or part.handshake != request.handshake:
            raise error("REPLAY", "blinded keys were meant for another session")
        if part.points_hash != points_hash(message.points):
            raise error("SIGNATURE", "the blinded keys are not the ones that were signed")
        origin = self.card(part.origin)
        claim = decode_as(PsiClaim, verify(message.claim, "psi-claim", origin.identity))
        if claim.session != part.session or claim.pod != part.origin:
            raise error("BAD_MESSAGE", "a set of blinded keys belongs to another statement")
        return Arrival(
            request=request,
            claim=claim,
            document=message.claim,
            part=part,
            points=message.points,
        )

    def card(self, name: str) -> Card:
        """The pod of that name."""
        manifest = self.endpoint.store.current
        found = None if manifest is None else manifest.by_name(name)
        if found is None or found.role != "pod":
            raise error("UNKNOWN_PEER", "a statement names a pod that the federation does not have")
        return found


@dataclass(slots=True)
class _Sending:
    """A set on its way to the next pod: parts not sent yet, and how many are not answered."""

    origin: str
    to: Card
    claim: Signed
    parts: Iterator[tuple[int, bytes]]
    open: int = 0


@dataclass(slots=True)
class OneCount:
    """This pod's part in one count. Methods run on the I/O thread."""

    owner: Counting
    session: bytes
    ticket: Ticket
    order: PsiOrder
    finish: Callable[[Released], None]
    fail: Callable[[Error], None]
    waiting: list[Arrival]
    """What came before this pod's own keys were ready."""
    over: bool = False
    _secret: bytes = field(default_factory=new_secret)
    _ring: Ring = field(init=False)
    _raw: bytearray = field(default_factory=bytearray)
    _hidden: list[bytes] = field(default_factory=list)
    _hiding: int = 0
    _brought: bool = False
    _requests: dict[tuple[str, int], Request] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ring = Ring(
            pod=self.ticket.holding.gate.pod,
            pods=self.order.pods,
            session=self.session,
            most=self.order.most,
        )

    def late(self) -> None:
        """The statement's time is up."""
        self._give_up(error("TIMEOUT", "the pods did not finish their count in time"))

    def stop(self, fault: Error) -> None:
        """Nothing more is done; pods that wait for an answer are told."""
        self.over = True
        for request in (*self._requests.values(), *(one.request for one in self.waiting)):
            refuse(request, fault)
        self._requests.clear()
        self.waiting.clear()

    # -- the pod's own keys ------------------------------------------------------------------------

    def draw(self) -> None:
        """Read the keys."""
        self.ticket.job = self.owner.run(self.ticket, self.order.sql, self.order.most, self._event)

    def _event(self, event: Event) -> None:
        if self.over:
            return
        match event:
            case Chunk():
                self._raw += event.data
            case Finished():
                self._work(self._keys, self._hide)
            case JobFailed():
                self._give_up(failed(event, self.ticket.verdict))
            case _:
                pass

    def _keys(self) -> list[bytes]:
        table = pa.ipc.open_stream(bytes(self._raw)).read_all()
        self._raw.clear()
        texts = table["key"].to_pylist()
        return list(canonical_keys(self.order.kind, texts, exact=True))

    def _hide(self, keys: list[bytes]) -> None:
        pieces = (keys[at : at + PART_POINTS] for at in range(0, len(keys), PART_POINTS))

        def more() -> None:
            piece = next(pieces, None)
            if piece is not None:
                self._hiding += 1
                self._work(partial(hide, self._secret, self.session, piece), hidden)
            elif not self._hiding:
                self._work(lambda: ordered(b"".join(self._hidden)), self._bring)

        def hidden(points: bytes) -> None:
            self._hiding -= 1
            self._hidden.append(points)
            more()

        self.ticket.brought = len(keys)
        more()
        for _ in range(min(WINDOW, len(keys) // PART_POINTS)):
            more()

    def _bring(self, points: bytes) -> None:
        self._hidden.clear()
        order = self.order
        claim = PsiClaim(
            session=self.session,
            pod=self.ticket.holding.gate.pod,
            size=self.ticket.brought,
            least=order.least,
            zero=order.zero,
            base=order.base,
            complement=order.complement,
        )
        document = sign("psi-claim", encode(claim), self.owner.keys.identity)
        self._brought = True
        self._do(self._ring.bring(claim, document, points))
        waiting, self.waiting = self.waiting, []
        for arrival in waiting:
            self.arrived(arrival)

    # -- other pods' keys --------------------------------------------------------------------------

    def arrived(self, arrival: Arrival) -> None:
        """A part of another pod's set, or of this pod's own on its way back."""
        if self.over:
            return
        if not self._brought:
            if len(self.waiting) >= EARLY * len(self.order.pods):
                raise _busy()
            self.waiting.append(arrival)
            return
        request, part = arrival.request, arrival.part
        try:
            effects = self._ring.take(
                request.peer.name, arrival.claim, arrival.document, part.index, arrival.points
            )
        except Error as fault:
            refuse(request, fault)
            self._give_up(fault)
            return
        self._requests[part.origin, part.index] = request
        self._do(effects)

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Multiply():
                    self._multiply(effect)
                case Order(origin, parts):
                    self._work(partial(in_order, parts), partial(self._settled, origin))
                case HandOn():
                    self._hand_on(effect)
                case Count(sets, claims):
                    counted = self.order.counted
                    self._work(partial(released, sets, claims, counted), self._counted)
                case Over():
                    self._released([])

    def _multiply(self, effect: Multiply) -> None:
        origin, index, points = effect.origin, effect.index, effect.points

        def work() -> bytes:
            if effect.own:
                require_points(points)
                return points
            return multiply_points(self._secret, points)

        def then(found: bytes) -> None:
            self._requests.pop((origin, index)).reply(encode(Done()))
            if not effect.own:
                self.ticket.met += len(found) // 32
            self._do(self._ring.multiplied(origin, index, found))

        self._work(work, then)

    def _settled(self, origin: str, points: bytes) -> None:
        self._do(self._ring.settled(origin, points))

    def _hand_on(self, effect: HandOn) -> None:
        parts = iter(list(enumerate(parts_of(effect.points))))
        sending = _Sending(effect.origin, self.owner.card(effect.to), effect.claim, parts)
        for _ in range(WINDOW):
            self._send(sending)

    def _send(self, sending: _Sending) -> None:
        """The next part; once the last is answered, the set is with the next pod."""
        following = next(sending.parts, None)
        if following is None:
            return
        index, points = following
        sending.open += 1
        keys = self.owner.keys

        def body(handshake: bytes) -> bytes:
            part = PsiPart(
                session=self.session,
                origin=sending.origin,
                index=index,
                to=sending.to.identity,
                handshake=handshake,
                points_hash=points_hash(points),
            )
            signed = sign("psi-part", encode(part), keys.identity)
            return encode(PsiHand(claim=sending.claim, part=signed, points=points))

        self.owner.endpoint.call(
            sending.to,
            body,
            timeout=max(0.05, self.ticket.deadline - time.monotonic()),
            on_reply=lambda reply: self._answered(sending, reply),
        )

    def _answered(self, sending: _Sending, reply: bytes | Error) -> None:
        if self.over:
            return
        try:
            _require_done(reply)
        except Error as fault:
            self._give_up(fault)
            return
        sending.open -= 1
        self._send(sending)
        if not sending.open:
            self._do(self._ring.handed_on(sending.origin))

    # -- the end -----------------------------------------------------------------------------------

    def _counted(self, number: int) -> None:
        self._released([number])

    def _released(self, numbers: list[int]) -> None:
        table = pa.table({"n": pa.array(numbers, pa.int64())})
        self.finish(Released(arrow=as_ipc(table), rows=len(numbers), withheld=0))

    def _give_up(self, fault: Error) -> None:
        if self.over:
            return
        if fault.code == "WITHHELD":
            fault = Withheld("FEW_KEYS")
        elif fault.code == "NOT_EXACT" and self.order.least:
            # How a key is spelled is a fact about a row.
            fault = Withheld("NOT_EXACT")
        self.fail(fault)

    def _work(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run ``work`` on a thread of its own kind and go on with what it gives."""
        post = self.owner.endpoint.post

        def go_on(found: T) -> None:
            if self.over:
                return
            try:
                then(found)
            except Error as fault:
                self._give_up(fault)

        def attempt() -> None:
            if self.over:
                return
            try:
                found = work()
            except Error as fault:
                post(partial(self._give_up, fault))
            except Exception:
                log.exception("a count of shared keys failed")
                post(partial(self._give_up, error("POD_FAILED", "the pod failed")))
            else:
                post(partial(go_on, found))

        self.owner.workers.submit(attempt)


def _busy() -> Error:
    return error("BUSY", "too many parts wait for counts that have not begun")


def _require_done(reply: bytes | Error) -> None:
    """Raise why the next pod did not take a part in."""
    if isinstance(reply, Error):
        raise reply
    message = decode(reply)
    if isinstance(message, Failed):
        raise error(message.code, "another pod of the statement ended the count")
    if not isinstance(message, Done):
        raise error("BAD_MESSAGE", "another pod did not answer as a pod does")
