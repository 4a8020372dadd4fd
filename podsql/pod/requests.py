"""Requests a pod holds: running ones, and finished ones whose result may be asked for again.

A result is kept until its analyst releases it, ``KEEP_SECONDS`` after it was finished, or until
newer results need the room (oldest first).
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import msgspec

from podsql.engine.job import JobHandle
from podsql.errors import error
from podsql.message import Signed
from podsql.messages import QueryPayload, RequestHead
from podsql.planner.fragment import Fragment, decode_fragment
from podsql.pod.holding import Holding
from podsql.pod.holds import Draft
from podsql.pod.releasing import Asker
from podsql.pod.results import Output
from podsql.policy.document import Policy
from podsql.policy.person import Person
from podsql.policy.verdict import Verdict
from podsql.relay.cards import Card
from podsql.relay.sockets.endpoint import Request

KEEP_SECONDS = 600.0


@dataclass(kw_only=True)
class Ticket:
    """One request id and all that belongs to it."""

    head: RequestHead
    document: Signed
    query_hash: bytes
    person: Person
    """For whom it is asked: judged and charged."""
    peer: Card
    """Who asks: the person, or a modeller under ``order``."""
    order: Signed | None = None
    statement: str
    holding: Holding
    began: int
    deadline: float
    verdict: Verdict | None = None
    output: Output | None = None
    job: JobHandle | None = None
    raw: bytearray = field(default_factory=bytearray)
    """Of a result that is released by way of the ledger: what the engine sent so far."""
    brought: int = 0
    """Keys of this pod that went, blinded, into a count across pods."""
    met: int = 0
    """Blinded keys of other pods that it multiplied."""
    wrote: bool = False
    """Its rows were written, or are being written, to a table that stays here."""
    executed: int = 0
    recorded: bool = False
    over: bool = False
    expires: float = float("inf")
    content: bytes = b""
    """Hash of what is to be run, and of the tables that come with it."""
    reviewers: tuple[bytes, ...] = ()
    """Services where a second person must release the result."""
    draft: Draft | None = None
    """Where a result that must be held goes instead of ``output``."""
    waiting: list[Request] = field(default_factory=list)
    evidence_waiting: list[Request] = field(default_factory=list)

    def concerns(self, someone: bytes | None) -> bool:
        """Whether ``someone`` asks it or has it asked; None: anybody."""
        return someone in (None, self.person.identity, self.peer.identity)

    @property
    def allowed(self) -> Verdict:
        """Of one that was judged."""
        assert self.verdict is not None
        return self.verdict

    @property
    def terms(self) -> tuple[Policy, Asker, str]:
        """Under which policy, for whom and over which data it runs."""
        holding = self.holding
        return holding.gate.policy, Asker.of(self.person, self.head), holding.data_version


class Held:
    """Tickets by request id."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._tickets: OrderedDict[bytes, Ticket] = OrderedDict()
        self._live: Counter[bytes] = Counter()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def running(self) -> int:
        """Requests that have not ended."""
        return self._live.total()

    def live(self, analyst: bytes) -> int:
        """Requests of ``analyst`` that have not ended."""
        return self._live[analyst]

    def get(self, request_id: bytes) -> Ticket | None:
        """The ticket of an id, if it is held."""
        return self._tickets.get(request_id)

    def all(self) -> list[Ticket]:
        """Every ticket, ended or not."""
        return list(self._tickets.values())

    def add(self, ticket: Ticket) -> None:
        """Hold a new request."""
        self._tickets[ticket.head.request_id] = ticket
        self._live[ticket.person.identity] += 1

    def finished(self, ticket: Ticket, now: float) -> None:
        """Its result is whole; keep it for a while."""
        self._ended(ticket)
        ticket.expires = now + KEEP_SECONDS
        self._tickets.move_to_end(ticket.head.request_id)
        self._bytes += _size(ticket)
        for old in [t for t in self._tickets.values() if t.over and t is not ticket]:
            if self._bytes <= self._limit:
                break
            self._remove(old)

    def drop(self, ticket: Ticket) -> None:
        """It ended without a result."""
        self._ended(ticket)
        self._tickets.pop(ticket.head.request_id, None)

    def release(self, request_id: bytes, peer: bytes) -> None:
        """Who asked has the result."""
        ticket = self._tickets.get(request_id)
        if ticket is not None and ticket.over and ticket.peer.identity == peer:
            self._remove(ticket)

    def expire(self, now: float) -> None:
        """Drop results past their time."""
        for ticket in [t for t in self._tickets.values() if t.expires < now]:
            self._remove(ticket)

    def _ended(self, ticket: Ticket) -> None:
        self._live[ticket.person.identity] -= 1
        if not self._live[ticket.person.identity]:
            del self._live[ticket.person.identity]

    def _remove(self, ticket: Ticket) -> None:
        self._bytes -= _size(ticket)
        del self._tickets[ticket.head.request_id]
        if ticket.output is not None:
            ticket.output.close()


def person_of(card: Card) -> Person:
    """The person whom the manifest lists under this card."""
    return Person(
        name=card.name, identity=card.identity, fingerprint=card.fingerprint, role=card.role
    )


def fragment_of(payload: QueryPayload) -> Fragment:
    """The fragment in a payload; BAD_MESSAGE if it does not decode."""
    try:
        return decode_fragment(payload.fragment)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "the fragment does not decode") from None


def _size(ticket: Ticket) -> int:
    return ticket.output.total if ticket.output else 0
