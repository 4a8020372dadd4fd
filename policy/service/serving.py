"""The policy service as a peer of the relay: answers pods and people, each what is theirs to ask.

Rule to keep: whatever goes wrong ends in a refusal; the reply of a fault carries no detail.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from msgspec.structs import replace

from podsql.errors import Error, error
from podsql.job_messages import DelegatedDecisionRequest
from podsql.message import Message, Signed
from podsql.messages import Failed, RequestHead, decode, encode
from podsql.policy.grants import in_force
from podsql.policy.service import pods, reviews
from podsql.policy.service.decide import (
    Asker,
    bar,
    decide,
    read_delegated,
    read_request,
    sign_decision,
)
from podsql.policy.service.standings import standing_of
from podsql.policy.service.store import Decided, Store, log_decision
from podsql.policy.service.wire_orders import WireOrders
from podsql.relay.cards import Card
from podsql.relay.keys import PeerKeys
from podsql.relay.manifest import Manifest
from podsql.relay.signing import sign
from podsql.service_messages import (
    DecisionReply,
    DecisionRequest,
    Grant,
    GrantsReply,
    GrantsRequest,
    OrderRequest,
    PodReport,
    PodStanding,
    Review,
    ReviewReply,
    ReviewRequest,
    RightsRequest,
)

LOG = logging.getLogger("podsql.policy")
WINDOW_MS: Final = 10 * 60 * 1000
GRANT_WINDOWS: Final = 6
"""A signed grant lives for an hour at most, and is signed anew every ten minutes."""
SIGNED_KEPT: Final = 10_000
REVIEW_MS: Final = 30_000
"""How long the answer about a held result is good."""
PEOPLE: Final = ("analyst", "modeller")


class Asked(Protocol):
    """A call that came in (the relay endpoint's Request)."""

    @property
    def peer(self) -> Card: ...

    @property
    def body(self) -> bytes: ...

    def reply(self, body: bytes) -> None: ...


class PolicyService:
    """One federation's service. ``serve`` is the callback of its relay endpoint."""

    def __init__(
        self,
        *,
        store: Store,
        keys: PeerKeys,
        manifest: Callable[[], Manifest | None],
        clock: Callable[[], int],
    ) -> None:
        """``manifest``: the one in force. ``clock``: ms since the epoch."""
        self._store = store
        self._seed = keys.identity
        self._manifest = manifest
        self._clock = clock
        self._signed: dict[tuple[Grant, int], Signed] = {}
        self._orders = WireOrders(
            store.database, service=keys.identity_public, resolve=self._resolve, clock=clock
        )

    def serve(self, request: Asked) -> None:
        """Answer one call."""
        request.reply(encode(self.answer(request.peer, request.body)))

    def answer(self, peer: Card, body: bytes) -> Message:
        """The reply to ``body`` from ``peer``."""
        try:
            message = decode(body)
            if peer.role == "pod":
                return self._answer_pod(peer, message)
            if peer.role in PEOPLE:
                return self._answer_person(peer, message)
            raise error("ROLE", "a policy service answers pods and people")
        except Error as fault:
            LOG.info("refused %s of %s: %s", peer.role, peer.name, fault.code)
            return Failed(fault.code, fault.message, fault.hint)

    def standing(self, pod: Card) -> PodStanding:
        """What ``pod`` must know now."""
        database, now = self._store.database, self._clock()
        return standing_of(database, pod.name, pod.identity, seed=self._seed, now=now)

    def _answer_pod(self, pod: Card, message: Message) -> Message:
        match message:
            case GrantsRequest():
                return self._grants(pod, message)
            case DecisionRequest():
                return self._decision(pod, read_request(message.head), message.nonce)
            case DelegatedDecisionRequest():
                return self._decision(pod, self._ordered(message), message.nonce)
            case PodReport():
                return self._report(pod, message)
            case ReviewRequest():
                return self._review(pod, message)
        raise error("BAD_MESSAGE", "not a question for a policy service")

    def _answer_person(self, person: Card, message: Message) -> Message:
        match message:
            case OrderRequest():
                return self._orders.obey(person, message.order)
            case RightsRequest():
                return self._orders.rights(person, everybody=message.everybody, start=message.start)
        raise error("ROLE", "only pods may ask that of a policy service")

    # -- decisions -----------------------------------------------------------------------------

    def _grants(self, pod: Card, asked: GrantsRequest) -> GrantsReply:
        now = self._clock()
        standing = self._store.standing(asked.analyst)
        barred = bar(
            pod=pod.name,
            project=asked.project,
            standing=standing,
            rules=self._store.rules(),
            member=self._member(asked.analyst),
            now=now,
        )
        if barred:
            return GrantsReply(grants=(), nonce=asked.nonce)
        window = now // WINDOW_MS
        found = tuple(
            self._sign(one.grant, window)
            for one in standing.grants
            if in_force(
                one.grant,
                analyst=asked.analyst,
                pod=pod.name,
                purpose=asked.purpose,
                project=asked.project,
                now=now,
            )
        )
        return GrantsReply(grants=found, nonce=asked.nonce)

    def _ordered(self, asked: DelegatedDecisionRequest) -> RequestHead:
        """The head of a modeller's request for an analyst; refused unless it may still ask at all."""
        now = self._clock()
        manifest, modeller = self._manifest(), asked.head.signer
        card = manifest.by_identity(modeller) if manifest is not None else None
        ends = self._store.standing(modeller).ends
        if card is None or card.role != "modeller" or (ends is not None and ends <= now):
            raise error("DELEGATION", "the modeller of an order may not ask any more")
        return read_delegated(asked.head, asked.delegation, now)

    def _decision(self, pod: Card, head: RequestHead, nonce: bytes) -> DecisionReply:
        now = self._clock()
        # The number before the rest: a change in between then counts as not yet seen.
        rules = self._store.rules()
        decision = decide(
            head,
            standing=self._store.standing(head.analyst),
            rules=rules,
            member=self._member(head.analyst),
            pod=Asker(name=pod.name, identity=pod.identity),
            nonce=nonce,
            now=now,
        )
        log_decision(
            self._store.database,
            Decided(
                time=now,
                pod=pod.name,
                analyst=head.analyst,
                tables=head.tables,
                purpose=head.purpose,
                project=head.project,
                allow=decision.allow,
                reason=decision.reason,
                query_hash=decision.query_hash,
            ),
        )
        return DecisionReply(decision=sign_decision(decision, self._seed))

    def _sign(self, grant: Grant, window: int) -> Signed:
        known = self._signed.get((grant, window))
        if known is None:
            if len(self._signed) >= SIGNED_KEPT:
                self._signed.clear()
            end = min(grant.until, (window + GRANT_WINDOWS) * WINDOW_MS)
            short = replace(grant, until=end)
            known = self._signed[grant, window] = sign("grant", encode(short), self._seed)
        return known

    # -- pods ----------------------------------------------------------------------------------

    def _report(self, pod: Card, report: PodReport) -> PodStanding:
        database, now = self._store.database, self._clock()
        pods.keep(database, pod.name, pod.identity, report, now)
        return standing_of(
            database, pod.name, pod.identity, seed=self._seed, now=now, report=report
        )

    def _review(self, pod: Card, asked: ReviewRequest) -> ReviewReply:
        database, now = self._store.database, self._clock()
        known = reviews.one_review(database, asked.id)
        if known is None:
            known = reviews.Review(
                id=asked.id,
                pod=pod.name,
                analyst=asked.analyst,
                purpose=asked.purpose,
                project=asked.project,
                tables=asked.tables,
                release=asked.release,
                rows=asked.rows,
                withheld=asked.withheld,
                size=asked.size,
                columns=asked.columns,
                query_hash=asked.query_hash,
                result_hash=asked.result_hash,
                created=now,
            )
            with database.write() as db:
                reviews.hold(db, known)
        if known.pod != pod.name or known.result_hash != asked.result_hash:
            raise error("CONFLICT", "this id stands for another result")
        answer = Review(
            id=asked.id,
            pod=pod.identity,
            result_hash=asked.result_hash,
            nonce=asked.nonce,
            state=known.state,
            by=known.decided_by,
            expires=now + REVIEW_MS,
        )
        return ReviewReply(review=sign("review", encode(answer), self._seed))

    # -- members -------------------------------------------------------------------------------

    def _member(self, identity: bytes) -> bool:
        manifest = self._manifest()
        return manifest is not None and manifest.by_identity(identity) is not None

    def _resolve(self, who: str) -> Card | None:
        manifest = self._manifest()
        for card in manifest.members() if manifest is not None else ():
            if card.role in PEOPLE and who in (card.name, card.fingerprint):
                return card
        return None
