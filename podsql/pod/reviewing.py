"""Results that a second person must see before they leave: held here, released at the services.

The bytes stay at the pod, where the custodian reads them (``podsql pod held``); a service is told
size and hash. Rule to keep: a result leaves only while every service that asked for the review says
``released`` of its hash, anew for each request.
"""

import os
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final

import msgspec

from podsql.errors import Error, error
from podsql.messages import encode
from podsql.pod.consulting import Services
from podsql.pod.holds import Draft, Hold, Holds
from podsql.pod.releasing import Released
from podsql.pod.requests import Ticket
from podsql.policy.audit import Audit, Entry, Event
from podsql.policy.decisions import NONCE_BYTES, Unavailable
from podsql.policy.denial import Denial
from podsql.policy.held import read_review, require_release
from podsql.relay.keys import fingerprint
from podsql.relay.sockets.endpoint import Endpoint
from podsql.service_messages import Review, ReviewRequest

ASK_SECONDS: Final = 4.0
Step = Callable[[], None]
Guard = Callable[[Ticket, Step], None]


class Reviewing:
    """Holds results and asks about them, on the I/O thread. ``guarded`` ends a ticket on an error."""

    def __init__(
        self,
        services: Services,
        holds: Holds,
        *,
        endpoint: Endpoint,
        audit: Audit,
        pod: bytes,
        guarded: Guard,
    ) -> None:
        self._services = services
        self._holds = holds
        self._endpoint = endpoint
        self._audit = audit
        self._pod = pod
        self._guarded = guarded

    def find(self, ticket: Ticket) -> Hold | None:
        """The result of the same statement, under the same versions, if it is held."""
        assert ticket.verdict is not None
        if ticket.verdict.psi is not None:
            # Several pods count together, once; none of them can wait for a person.
            raise Denial("REVIEW")
        return self._holds.find(self._key(ticket), self._services.clock())

    def draft(self, ticket: Ticket) -> Draft:
        """Where the result of ``ticket`` goes."""
        return self._holds.draft(self._key(ticket))

    def keep(self, ticket: Ticket, draft: Draft, released: Released) -> Hold:
        """The result is whole: hold it, and say so in the audit (any thread: it waits for the disk)."""
        try:
            if released.arrow:
                draft.add(released.arrow)
            draft.finish()
            hold = self._hold(ticket, draft, released)
            self._note("held", hold, "")
            return self._holds.keep(draft, hold)
        except Error:
            draft.close()
            raise

    def _hold(self, ticket: Ticket, draft: Draft, released: Released) -> Hold:
        verdict, key = ticket.verdict, self._key(ticket)
        assert verdict is not None
        return Hold(
            id=_digest((key, draft.sha256))[:16],
            key=key,
            stream=draft.stream,
            created=self._services.clock(),
            analyst=ticket.person.name,
            identity=ticket.person.identity,
            purpose=ticket.head.purpose,
            project=ticket.head.project,
            tables=verdict.tables,
            release=verdict.release,
            statement=ticket.statement,
            rows=released.rows,
            withheld=released.withheld,
            noise=released.noise,
            size=draft.total,
            columns=len(verdict.fields),
            query_hash=ticket.query_hash,
            result_hash=draft.sha256,
        )

    def ask(self, ticket: Ticket, hold: Hold, then: Callable[[str], None]) -> None:
        """Ask every reviewing service; ``then`` gets who released it. Else the ticket ends."""
        known = self._services.known()
        reviews: dict[bytes, Review] = {}

        def heard(service: bytes, asked: ReviewRequest, reply: bytes | Error) -> None:
            if not ticket.over:
                self._guarded(ticket, partial(take, service, asked, reply))

        def take(service: bytes, asked: ReviewRequest, reply: bytes | Error) -> None:
            if isinstance(reply, Error):
                raise Unavailable("no answer about a held result")
            now = self._services.clock()
            reviews[service] = read_review(
                reply, service=service, pod=self._pod, asked=asked, now=now
            )
            if len(reviews) == len(ticket.reviewers):
                names = zip(require_release(reviews), reviews, strict=True)
                # by name: they answered in any order
                then(", ".join(sorted(f"{by} at {known[one].name}" for by, one in names)))

        for service in ticket.reviewers:
            asked = ReviewRequest(
                id=hold.id,
                analyst=hold.identity,
                purpose=hold.purpose,
                project=hold.project,
                tables=hold.tables,
                release=hold.release,
                rows=hold.rows,
                withheld=hold.withheld,
                size=hold.size,
                columns=hold.columns,
                query_hash=hold.query_hash,
                result_hash=hold.result_hash,
                nonce=os.urandom(NONCE_BYTES),
            )
            self._endpoint.call(
                known[service],
                encode(asked),
                timeout=ASK_SECONDS,
                on_reply=partial(heard, service, asked),
            )

    def hand_out(self, ticket: Ticket, hold: Hold, done: Callable[[Released], None]) -> None:
        """Put the held bytes into the ticket's output, a piece a turn of the loop; then ``done``."""
        output, pieces = ticket.output, self._holds.pieces(hold)
        assert output is not None

        def turn() -> None:
            if not ticket.over:
                self._guarded(ticket, more)

        def more() -> None:
            piece = next(pieces, None)
            if piece is not None:
                output.add(piece)
                self._endpoint.post(turn)
                return
            if output.sha256 != hold.result_hash:
                raise error("POD_FAILED", "a held result is damaged")
            done(Released(arrow=b"", rows=hold.rows, withheld=hold.withheld, noise=hold.noise))

        turn()

    def sweep(self) -> None:
        """Drop what nobody released in time (any thread)."""
        for hold in self._holds.sweep(self._services.clock()):
            self._note("dropped", hold, "expired")

    def drop(self, ident: str) -> None:
        """The custodian drops a held result."""
        hold = self._holds.one(ident)
        self._note("dropped", hold, "by the custodian")
        self._holds.drop(hold)

    def _key(self, ticket: Ticket) -> str:
        """What makes a held result the answer to a request."""
        verdict, holding = ticket.verdict, ticket.holding
        assert verdict is not None
        return _digest(
            (
                self._pod,
                ticket.person.identity,
                ticket.head.purpose,
                ticket.head.project,
                ticket.content,
                verdict.release,
                holding.data_version,
                holding.gate.policy_hash,
            )
        )

    def _note(self, event: Event, hold: Hold, reason: str) -> None:
        self._audit.append(
            Entry(
                time=self._services.clock(),
                event=event,
                reason=reason,
                analyst=hold.analyst,
                fingerprint=fingerprint(hold.identity),
                statement=hold.statement,
                head_hash=hold.query_hash.hex(),
                purpose=hold.purpose,
                project=hold.project,
                tables=hold.tables,
                release=hold.release,
                rows=hold.rows,
                withheld=hold.withheld,
                bytes=hold.size,
                result_hash=hold.result_hash.hex(),
            )
        )


def _digest(parts: tuple[object, ...]) -> str:
    body = msgspec.msgpack.encode(parts)
    return blake2b(body, digest_size=16, person=b"ps-hold").hexdigest()
