"""One pod's part in one comparison of keys: it drives the protocol core (``engine/psi/ring.py``).

Methods run on the endpoint's I/O thread; what costs time runs on threads of ``Means.workers``. Rule
to keep: each count has a secret of its own, and ends in exactly one call of ``finish`` or ``fail``.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa

from podsql.engine.job import Chunk, Event, Finished, JobHandle, OnEvent
from podsql.engine.job import Failed as JobFailed
from podsql.engine.psi.handing import Sender
from podsql.engine.psi.keys import canonical_keys
from podsql.engine.psi.marks import require_marks, with_marks
from podsql.engine.psi.points import (
    POINT_BYTES,
    hide,
    multiply_points,
    new_secret,
    ordered,
    split,
)
from podsql.engine.psi.ring import (
    ANALYST,
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
from podsql.message import Signed
from podsql.messages import Done, Failed, PsiClaim, PsiPart, decode, encode
from podsql.pod.refusing import failed, refuse
from podsql.pod.releasing import Released, as_ipc
from podsql.pod.requests import Ticket
from podsql.policy.denial import Withheld
from podsql.policy.psi import PsiOrder
from podsql.relay.cards import Card
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.relay.sockets.endpoint import Endpoint, Request

log = logging.getLogger("podsql.pod")

T = TypeVar("T")

WINDOW: Final = 8
"""Parts of one set that are being multiplied, or on their way to the next pod, at once."""
EARLY: Final = 64
"""Parts from one party that wait until this pod's own keys are ready."""

RunSql = Callable[[Ticket, str, int, OnEvent], JobHandle]
"""Runs a statement of the ticket's snapshot, with at most so many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the counts of a pod share."""

    keys: PeerKeys
    endpoint: Endpoint
    run: RunSql
    workers: Executor

    def card(self, name: str) -> Card:
        """The pod of that name."""
        manifest = self.endpoint.store.current
        found = None if manifest is None else manifest.by_name(name)
        if found is None or found.role != "pod":
            raise error("UNKNOWN_PEER", "a statement names a pod that the federation does not have")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A part of another pod's set, with its signatures checked."""

    request: Request
    claim: PsiClaim
    document: Signed
    part: PsiPart
    points: bytes


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

    means: Means
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
    _offered: tuple[Signed, list[bytes]] | None = None
    """The pod's own claim and set, for the analyst to fetch in parts."""
    _met: dict[int, bytes] = field(default_factory=dict)
    """The analyst's points, multiplied, in the order he sent them."""
    _mark: bytes = field(default_factory=new_secret)
    _marked: dict[int, bytes] = field(default_factory=dict)
    """The pod's own points as they came back, times the mark."""

    def __post_init__(self) -> None:
        pod = self.ticket.holding.gate.pod
        self._ring = Ring(
            pod=pod,
            pods=(ANALYST, pod) if self.order.candidates else self.order.pods,
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
        self.ticket.job = self.means.run(
            self.ticket, self.order.sql, self.order.own_most, self._event
        )

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
        exact = not self.order.candidates
        return list(dict.fromkeys(canonical_keys(self.order.kind, texts, exact=exact)))

    def _hide(self, keys: list[bytes]) -> None:
        pieces = (keys[at : at + PART_POINTS] for at in range(0, len(keys), PART_POINTS))

        def more() -> None:
            piece = next(pieces, None)
            if piece is not None:
                self._hiding += 1
                self._work(partial(hide, self._secret, self.session, piece), hidden)
            elif not self._hiding:
                self._work(self._whole, self._bring)

        def hidden(points: bytes) -> None:
            self._hiding -= 1
            self._hidden.append(points)
            more()

        self.ticket.brought = len(keys)
        more()
        for _ in range(min(WINDOW, len(keys) // PART_POINTS)):
            more()

    def _whole(self) -> bytes:
        """The pod's own set. Pods tell each other how many keys they have; an analyst is not told,
        and must be held to the protocol."""
        found = b"".join(self._hidden)
        if self.order.candidates:
            brought = self.ticket.brought
            found = with_marks(self._secret, self._mark, self.session, found, brought)
        return ordered(found)

    def _bring(self, points: bytes) -> None:
        self._hidden.clear()
        order = self.order
        claim = PsiClaim(
            session=self.session,
            pod=self.ticket.holding.gate.pod,
            size=len(points) // POINT_BYTES,
            least=order.least,
            zero=order.zero,
            base=order.base,
            complement=order.complement,
        )
        document = sign("psi-claim", encode(claim), self.means.keys.identity)
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
        peer = arrival.request.peer
        if peer.role != "pod" and peer.identity != self.ticket.person.identity:
            raise error("ROLE", "this is another analyst's count")
        if not self._brought:
            if len(self.waiting) >= EARLY * len(self.order.pods):
                raise busy()
            self.waiting.append(arrival)
            return
        request, part = arrival.request, arrival.part
        try:
            effects = self._ring.take(
                peer.name if peer.role == "pod" else ANALYST,
                arrival.claim,
                arrival.document,
                part.index,
                arrival.points,
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
                    self._work(partial(self._number, sets, claims), self._released)
                case Over():
                    self._released(pa.table({"n": pa.array([], pa.int64())}))

    def _multiply(self, effect: Multiply) -> None:
        origin, index, points = effect.origin, effect.index, effect.points

        def then(found: bytes) -> None:
            self._requests.pop((origin, index)).reply(encode(Done()))
            if effect.own and self.order.candidates:
                self._marked[index] = found
            if not effect.own:
                self.ticket.met += len(found) // POINT_BYTES
            if origin == ANALYST:
                self._met[index] = found
            self._do(self._ring.multiplied(origin, index, points if effect.own else found))

        # The own points are whole already; to multiply them also shows that they are points.
        self._work(
            partial(multiply_points, self._mark if effect.own else self._secret, points), then
        )

    def _settled(self, origin: str, points: bytes) -> None:
        self._do(self._ring.settled(origin, points))

    def _hand_on(self, effect: HandOn) -> None:
        if effect.to == ANALYST:
            self._offered = effect.claim, parts_of(effect.points)
            return
        parts = iter(list(enumerate(parts_of(effect.points))))
        sending = _Sending(effect.origin, self.means.card(effect.to), effect.claim, parts)
        for _ in range(WINDOW):
            self._send(sending)

    def _send(self, sending: _Sending) -> None:
        """The next part; once the last is answered, the set is with the next pod."""
        following = next(sending.parts, None)
        if following is None:
            return
        index, points = following
        sending.open += 1
        sender = self._sender(sending.to.identity)
        self.means.endpoint.call(
            sending.to,
            partial(sender.hand, sending.claim, sending.origin, index, points),
            timeout=max(0.05, self.ticket.deadline - time.monotonic()),
            on_reply=lambda reply: self._answered(sending, reply),
        )

    def _sender(self, to: bytes) -> Sender:
        return Sender(seed=self.means.keys.identity, session=self.session, to=to)

    def _answered(self, sending: _Sending, reply: bytes | Error) -> None:
        if self.over:
            return
        try:
            _require_done(reply)
            sending.open -= 1
            self._send(sending)
            if not sending.open:
                self._do(self._ring.handed_on(sending.origin))
        except Error as fault:
            self._give_up(fault)

    def give(self, request: Request, index: int) -> None:
        """A part of this pod's keys, to the analyst who meets them."""
        peer = request.peer
        if self._offered is None or peer.identity != self.ticket.person.identity:
            raise error("BAD_MESSAGE", "there is nothing for this peer to fetch")
        claim, parts = self._offered
        if not 0 <= index < len(parts):
            raise error("BAD_MESSAGE", "a set of blinded keys has no such part")
        own = self.ticket.holding.gate.pod
        sender = self._sender(peer.identity)
        request.reply(sender.hand(claim, own, index, parts[index], request.handshake))

    # -- the end -----------------------------------------------------------------------------------

    def _number(self, sets: tuple[bytes, ...], claims: tuple[PsiClaim, ...]) -> pa.Table:
        """What leaves the pod that counts."""
        if self.order.candidates:
            require_marks(sets[-1], b"".join(self._marked.values()))
        counted = self.order.counted
        number = released(sets, claims, "union" if counted == "union" else "overlap")
        if counted != "matched":
            return pa.table({"n": pa.array([number], pa.int64())})
        own = frozenset(split(sets[-1]))
        met = split(b"".join(self._met[index] for index in sorted(self._met)))
        places = [place for place, point in enumerate(met) if point in own]
        return pa.table({"place": pa.array(places, pa.int64())})

    def _released(self, table: pa.Table) -> None:
        self.finish(Released(arrow=as_ipc(table), rows=table.num_rows, withheld=0))

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
        post = self.means.endpoint.post

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

        self.means.workers.submit(attempt)


def busy() -> Error:
    """More parts wait than one party may send ahead."""
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
