"""The policy service as a peer of the relay: answers pods that ask, and nobody else.

Rule to keep: whatever goes wrong ends in a refusal; the reply of a fault carries no detail.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from podsql.errors import Error, error
from podsql.messages import (
    DecisionReply,
    DecisionRequest,
    Failed,
    Grant,
    GrantsReply,
    GrantsRequest,
    Message,
    Signed,
    decode,
    encode,
)
from podsql.policy.grants import in_force
from podsql.policy.service.decide import Asker, decide, read_request, sign_decision
from podsql.policy.service.store import Decided, Store
from podsql.relay.cards import Card
from podsql.relay.signing import sign

LOG = logging.getLogger("podsql.policy")
WINDOW_MS: Final = 10 * 60 * 1000
GRANT_WINDOWS: Final = 6
"""A signed grant lives for an hour at most, and is signed anew every ten minutes."""
SIGNED_KEPT: Final = 10_000


class Asked(Protocol):
    """A call that came in (the relay endpoint's Request)."""

    @property
    def peer(self) -> Card: ...

    @property
    def body(self) -> bytes: ...

    def reply(self, body: bytes) -> None: ...


class PolicyService:
    """``serve`` is the callback of the service's relay endpoint."""

    def __init__(
        self,
        *,
        store: Store,
        seed: bytes,
        member: Callable[[bytes], bool],
        clock: Callable[[], int],
    ) -> None:
        """``seed``: identity key. ``member``: the manifest lists this key, not revoked. ``clock``: ms."""
        self._store = store
        self._seed = seed
        self._member = member
        self._clock = clock
        self._signed: dict[tuple[Grant, int], Signed] = {}

    def serve(self, request: Asked) -> None:
        """Answer one call."""
        request.reply(encode(self.answer(request.peer, request.body)))

    def answer(self, peer: Card, body: bytes) -> Message:
        """The reply to ``body`` from ``peer``."""
        try:
            if peer.role != "pod":
                raise error("ROLE", "only pods may ask a policy service")
            message = decode(body)
            if isinstance(message, GrantsRequest):
                return self._grants(peer, message)
            if isinstance(message, DecisionRequest):
                return self._decision(peer, message)
            raise error("BAD_MESSAGE", "not a question for a policy service")
        except Error as fault:
            LOG.info("refused %s of %s: %s", peer.role, peer.name, fault.code)
            return Failed(fault.code, fault.message)

    def _grants(self, pod: Card, asked: GrantsRequest) -> GrantsReply:
        now = self._clock()
        if not self._member(asked.analyst):
            return GrantsReply(grants=(), nonce=asked.nonce)
        window = now // WINDOW_MS
        found = tuple(
            self._sign(grant, window)
            for grant in self._store.grants_of(asked.analyst)
            if in_force(
                grant,
                analyst=asked.analyst,
                pod=pod.name,
                purpose=asked.purpose,
                project=asked.project,
                now=now,
            )
        )
        return GrantsReply(grants=found, nonce=asked.nonce)

    def _decision(self, pod: Card, asked: DecisionRequest) -> DecisionReply:
        head = read_request(asked.head)
        now = self._clock()
        decision = decide(
            head,
            grants=self._store.grants_of(head.analyst),
            member=self._member(head.analyst),
            pod=Asker(name=pod.name, identity=pod.identity),
            nonce=asked.nonce,
            now=now,
        )
        self._store.note(
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
            )
        )
        return DecisionReply(decision=sign_decision(decision, self._seed))

    def _sign(self, grant: Grant, window: int) -> Signed:
        known = self._signed.get((grant, window))
        if known is None:
            if len(self._signed) >= SIGNED_KEPT:
                self._signed.clear()
            end = min(grant.until, (window + GRANT_WINDOWS) * WINDOW_MS)
            short = Grant(
                grant_id=grant.grant_id,
                analyst=grant.analyst,
                pod=grant.pod,
                tables=grant.tables,
                purpose=grant.purpose,
                project=grant.project,
                release=grant.release,
                since=grant.since,
                until=end,
            )
            known = self._signed[grant, window] = sign("grant", encode(short), self._seed)
        return known
