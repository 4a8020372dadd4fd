"""The analyst's own keys against a pod's: how many the pod has, or which, and no other key.

The analyst takes the place of a pod that does not count (``engine/psi/ring.py``): his keys go to the
pod blinded, the pod's come blinded, are multiplied and go back in another order, and the pod counts.
Rule to keep: the pod learns how many keys were brought and met; the analyst, which of his own.
"""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

import pyarrow as pa

from podsql.analyst.asking import ask
from podsql.analyst.exchange import Exchange
from podsql.analyst.federation import Bound, Federation
from podsql.engine.psi.handing import Sender, read_claim, read_part
from podsql.engine.psi.points import hide, multiply_points, new_secret, split
from podsql.engine.psi.ring import (
    ANALYST,
    PART_POINTS,
    Effect,
    HandOn,
    Multiply,
    Order,
    Ring,
    in_order,
    part_count,
    parts_of,
)
from podsql.errors import Error, error
from podsql.messages import (
    Done,
    Failed,
    PsiClaim,
    PsiFetch,
    PsiHand,
    QueryPayload,
    decode,
    encode,
    psi_session,
)
from podsql.planner.fragment import (
    MATCHED_FIELDS,
    PSI_FIELDS,
    Column,
    Psi,
    PsiPart,
    encode_fragment,
)
from podsql.planner.offer import ColumnOffer, TableOffer
from podsql.relay.calls import Body
from podsql.relay.signing import sign

WINDOW: Final = 8
"""Parts that are on their way at once."""
LARGEST: Final = 1 << 24
"""Keys of a table that are met; a pod adds random ones up to a power of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is met: ``keys`` are different canonical keys. ``tell``: which of them the pod has."""

    pod: str
    table: TableOffer
    column: ColumnOffer
    keys: Sequence[bytes]
    tell: bool

    @property
    def text(self) -> str:
        """For the custodian's audit."""
        told = "which of" if self.tell else "how many of"
        return (
            f"INTERSECT: {told} {len(self.keys)} keys are in {self.table.name}.{self.column.name}"
        )

    def fragment(self) -> Psi:
        """What the pod is asked."""
        schema, _, name = self.table.name.partition(".")
        source = f'FROM {_quoted(schema)}.{_quoted(name)} AS "t"'
        key = Column("key", f'"t".{_quoted(self.column.name)}', self.column.type, "additive")
        return Psi(
            "matched" if self.tell else "met",
            (PsiPart((self.pod,), source, key),),
            epoch=os.urandom(16),
            candidates=len(self.keys),
        )


@dataclass(kw_only=True)
class Intersection:
    """One private intersection with one pod. ``deadline`` is on the monotonic clock."""

    federation: Federation
    bound: Bound
    asked: Asked
    purpose: str
    project: str
    deadline: float
    _heard: "SimpleQueue[bytes | Error | None]" = field(default_factory=SimpleQueue)
    """Replies to calls; None: the pod has answered the request itself."""
    _exchange: Exchange = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def run(self) -> list[int]:
        """The number of keys the pod has, alone; or the places in ``asked.keys`` of those."""
        exchange, session = self._request()
        self._exchange = exchange
        exchange.start(partial(self._heard.put, None))
        try:
            with ThreadPoolExecutor(os.cpu_count() or 1) as self._pool:
                order = self._meet(session)
            table = exchange.table()
        except BaseException:
            exchange.cancel()
            raise
        assert exchange.evidence is not None
        if exchange.evidence.withheld:
            raise error(
                "WITHHELD", "the answer is withheld: it covers too few keys", hint="bring more"
            )
        numbers: list[int] = table.column(0).to_pylist()
        if not self.asked.tell:
            if len(numbers) != 1 or not (numbers[0] or 0) >= 0:
                raise self._bad()
            return numbers
        if any(place is None or not 0 <= place < len(order) for place in numbers):
            raise self._bad()
        return [order[place] for place in numbers]

    def _request(self) -> tuple[Exchange, bytes]:
        asked = self.asked
        fields = MATCHED_FIELDS if asked.tell else PSI_FIELDS
        exchange = ask(
            self.federation,
            self.bound,
            asked.pod,
            encode(QueryPayload(fragment=encode_fragment(asked.fragment()), statement=asked.text)),
            request_id=os.urandom(16),
            statement_id=os.urandom(16),
            tables=(asked.table.name,),
            purpose=self.purpose,
            project=self.project,
            pods=(asked.pod,),
            schema=pa.schema([(one.name, pa.int64()) for one in fields]),
            max_rows=len(asked.keys) + 1,
            deadline=self.deadline,
        )
        return exchange, psi_session(exchange.head)

    # -- the protocol ------------------------------------------------------------------------------

    def _meet(self, session: bytes) -> list[int]:
        """Do the analyst's part; which of the keys the n-th blinded one is."""
        asked, keys = self.asked, self.federation.membership.keys
        secret = new_secret()
        ring = Ring(pod=ANALYST, pods=(ANALYST, asked.pod), session=session, most=LARGEST)
        pieces = [
            asked.keys[at : at + PART_POINTS] for at in range(0, len(asked.keys), PART_POINTS)
        ]
        hidden = list(split(b"".join(self._pool.map(partial(hide, secret, session), pieces))))
        order = sorted(range(len(hidden)), key=hidden.__getitem__)
        claim = PsiClaim(session, ANALYST, len(hidden), 0, True, 1, False)
        document = sign("psi-claim", encode(claim), keys.identity)
        points = b"".join(hidden[place] for place in order)
        effects: deque[Effect] = deque(ring.bring(claim, document, points))
        while effects:
            match effects.popleft():
                case HandOn(origin, _, signed_claim, whole):
                    self._hand_on(session, HandOn(origin, asked.pod, signed_claim, whole))
                    effects += ring.handed_on(origin)
                    if origin == ANALYST:
                        effects += self._multiplied(ring, secret, self._fetch(ring))
                case Order(origin, parts):
                    effects += ring.settled(origin, in_order(parts))
                case _:
                    pass
        return order

    def _hand_on(self, session: bytes, effect: HandOn) -> None:
        identity = self.bound.cards[self.asked.pod].identity
        sender = Sender(seed=self.federation.membership.keys.identity, session=session, to=identity)
        bodies = (
            partial(sender.hand, effect.claim, effect.origin, index, part)
            for index, part in enumerate(parts_of(effect.points))
        )
        for reply in self._ask(bodies):
            if not isinstance(reply, Done):
                raise self._bad()

    def _fetch(self, ring: Ring) -> Iterator[Multiply]:
        """The pod's own points, checked."""
        card = self.bound.cards[self.asked.pod]
        own = self.federation.membership.keys.identity_public
        size = 0

        def taken(indices: Iterable[int]) -> Iterator[Multiply]:
            nonlocal size
            bodies = (encode(PsiFetch(session=ring.session, index=index)) for index in indices)
            for message in self._ask(bodies):
                if not isinstance(message, PsiHand):
                    raise self._bad()
                part = read_part(message, sender=card.identity, to=own)
                claim = read_claim(message, part, signer=card.identity)
                size = claim.size
                found = ring.take(card.name, claim, message.claim, part.index, message.points)
                yield from (one for one in found if isinstance(one, Multiply))

        yield from taken([0])
        yield from taken(range(1, part_count(size)))

    def _multiplied(self, ring: Ring, secret: bytes, parts: Iterable[Multiply]) -> list[Effect]:
        waiting = [(one, self._pool.submit(multiply_points, secret, one.points)) for one in parts]
        effects: list[Effect] = []
        for one, found in waiting:
            effects += ring.multiplied(one.origin, one.index, found.result())
        return effects

    def _ask(self, bodies: Iterable[Body]) -> Iterator[object]:
        """Call the pod, a few calls at a time; the replies as they come."""
        card = self.bound.cards[self.asked.pod]
        pending = iter(bodies)
        waiting = 0
        while True:
            while waiting < WINDOW and (body := next(pending, None)) is not None:
                left = max(0.05, self.deadline - time.monotonic())
                self.federation.endpoint.call(card, body, timeout=left, on_reply=self._heard.put)
                waiting += 1
            if not waiting:
                return
            yield self._reply()
            waiting -= 1

    def _reply(self) -> object:
        try:
            reply = self._heard.get(timeout=max(0.0, self.deadline - time.monotonic()) + 1.0)
        except Empty:
            raise error("TIMEOUT", "the pod did not answer in time", pod=self.asked.pod) from None
        if reply is None:
            self._exchange.answer()  # which is a refusal, or comes too early
            raise self._bad()
        if isinstance(reply, Error):
            raise reply
        message = decode(reply)
        if isinstance(message, Failed):
            # The request itself was refused for the same reason, and its answer names no pod.
            raise error(message.code, message.message, hint=message.hint)
        return message

    def _bad(self) -> Error:
        return error("BAD_MESSAGE", "the pod did not answer as pods do", pod=self.asked.pod)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
