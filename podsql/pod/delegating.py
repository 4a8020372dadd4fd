"""Who asks: the session's peer, or the analyst whose order a modeller presents.

Rule to keep: whoever is judged, charged and written down is the analyst; the modeller is named beside.
"""

from collections.abc import Callable
from dataclasses import dataclass

from podsql.errors import Error, error
from podsql.job_messages import Delegated, Delegation
from podsql.message import Message, Signed
from podsql.messages import OfferRequest, QueryRequest, RequestHead, decode
from podsql.planner.fragment import Fragment
from podsql.pod.requests import person_of
from podsql.policy.audit import Audit, Entry
from podsql.policy.delegations import read_delegation, require_request, require_round
from podsql.policy.person import Person
from podsql.relay.cards import Card
from podsql.relay.manifest import ManifestStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """``message`` is asked for ``person``, by the session's peer under ``order`` if there is one."""

    person: Person
    message: Message
    document: Signed | None = None
    order: Delegation | None = None

    def require_covered(self, head: RequestHead, statement: str, fragment: Fragment) -> None:
        """DELEGATION if an order does not say that this may be asked."""
        if self.order is not None:
            require_request(self.order, head)
            require_round(self.order, statement, fragment)


class Delegations:
    """Reads orders; what is refused has its line in the audit. ``pod``: this pod's identity; ``ended``:
    whether a policy service has ended who has this key, which a service that is silent cannot say."""

    def __init__(
        self,
        pod: bytes,
        audit: Audit,
        store: ManifestStore,
        clock: Callable[[], int],
        ended: Callable[[bytes], bool],
    ) -> None:
        self._pod = pod
        self._audit = audit
        self._store = store
        self._clock = clock
        self._ended = ended

    def read(self, peer: Card, message: Message) -> Asking:
        """For whom ``message`` of ``peer`` is asked, and what."""
        if not isinstance(message, Delegated):
            return Asking(person=person_of(peer), message=message)
        try:
            return self._delegated(peer, message)
        except Error as fault:
            self._audit.append(
                Entry(
                    time=self._clock(),
                    event="query",
                    decision="deny",
                    reason=fault.code,
                    analyst="(unknown)",
                    modeller=peer.name,
                    modeller_key=peer.fingerprint,
                )
            )
            raise

    def _delegated(self, peer: Card, message: Delegated) -> Asking:
        if peer.role != "modeller":
            raise error("ROLE", "only a modeller asks in another's place")
        if self._ended(peer.identity):
            raise error("DELEGATION", "the modeller of an order may not ask any more")
        order = read_delegation(message.delegation, modeller=peer.identity, now=self._clock())
        manifest = self._store.current
        analyst = manifest.by_identity(order.analyst) if manifest is not None else None
        if analyst is None or analyst.role != "analyst":
            raise error("REVOKED", "the analyst of an order is no member of the federation")
        if self._pod not in order.pods:
            raise error("DELEGATION", "the analyst's order does not name this pod")
        asked = decode(message.message)
        if isinstance(asked, OfferRequest):
            if (asked.purpose, asked.project) != (order.purpose, order.project):
                raise error("DELEGATION", "the analyst's order is for another purpose")
        elif not isinstance(asked, QueryRequest):
            raise error("DELEGATION", "an order is good for offers and rounds only")
        return Asking(
            person=person_of(analyst), message=asked, document=message.delegation, order=order
        )
