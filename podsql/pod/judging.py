"""What may come of a request: the gate's verdict, then what the policy services say of it.

Rule to keep: the services are asked also about what the file denies, or the time that a denial takes
would tell what the pod has and grants to others.
"""

from collections.abc import Callable

from podsql.planner.fragment import Fragment
from podsql.pod.aside import Aside
from podsql.pod.consulting import Services
from podsql.pod.requests import Ticket
from podsql.policy.decisions import Agreed, Outcome, require_agreement
from podsql.policy.denial import Denial
from podsql.policy.document import Release
from podsql.policy.gate import KEPT_BYTES
from podsql.policy.verdict import Verdict

SEEN = 4096


class Judging:
    """``then`` goes on with a ticket that has its verdict, and its reviewers if there are some."""

    def __init__(
        self,
        *,
        services: Services,
        aside: Aside,
        now: Callable[[], int],
        guarded: Callable[[Ticket, Callable[[], None]], None],
        then: Callable[[Ticket], None],
    ) -> None:
        self._services = services
        self._aside = aside
        self._now = now
        self._guarded = guarded
        self._then = then
        self._seen: set[tuple[bytes, bytes, str]] = set()

    def clear(self) -> None:
        """The data or the policy are others from now on."""
        self._seen.clear()

    def judge(self, ticket: Ticket, fragment: Fragment, encoded: bytes) -> None:
        """At once if this fragment was judged before, else on a gatekeeper's thread."""
        key = (encoded, ticket.person.identity, ticket.holding.gate.policy_hash)

        def judge() -> Verdict | Denial:
            try:
                return self._check(ticket, fragment, None)
            except Denial as denial:
                return denial

        def done(found: Verdict | Denial) -> None:
            if len(self._seen) > SEEN:
                self._seen.clear()
            if len(encoded) <= KEPT_BYTES:
                self._seen.add(key)
            self._judged(ticket, fragment, found)

        if key in self._seen:
            self._judged(ticket, fragment, judge())
        else:
            self._aside.run(ticket, judge, done)

    def _check(self, ticket: Ticket, fragment: Fragment, release: Release | None) -> Verdict:
        head = ticket.head
        return ticket.holding.gate.check(
            fragment,
            person=ticket.person,
            purpose=head.purpose,
            project=head.project,
            now=self._now(),
            release=release,
            granted=head.tables,
        )

    def _judged(self, ticket: Ticket, fragment: Fragment, found: Verdict | Denial) -> None:
        if isinstance(found, Verdict):
            ticket.verdict = found
        elif not self._services:
            raise found
        if not self._services:
            self._then(ticket)
            return

        def agreed(outcome: Outcome) -> None:
            self._guarded(ticket, lambda: begin(require_agreement(outcome)))

        def begin(agreement: Agreed) -> None:
            if isinstance(found, Denial):
                raise found
            ticket.verdict = self._check(ticket, fragment, agreement.release)
            ticket.reviewers = agreement.reviewers
            self._then(ticket)

        self._services.consult(
            ticket.document,
            ticket.head,
            order=ticket.order,
            given_up=lambda: ticket.over,
            then=agreed,
        )
