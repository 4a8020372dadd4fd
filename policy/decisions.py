"""What a pod makes of a policy service's answers. Pure: keys, nonces and time are arguments.

Rule to keep: fail closed. Nothing runs unless every service answered in time with a decision that
is signed by its pinned key, for this query, this pod and this nonce.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import RequestHead, decode, decode_as, encode, query_hash
from podsql.policy.denial import Denial
from podsql.policy.document import Release
from podsql.policy.rights import strictest
from podsql.relay.signing import verify
from podsql.service_messages import Decision, DecisionReply, DecisionRequest, Grant, GrantsReply

SKEW_MS: Final = 60_000
TRY_SECONDS: Final = 2.0
TRIES: Final = 2
LONGEST_MS: Final = 24 * 3600 * 1000
NONCE_BYTES: Final = 16


def require_fresh(head: RequestHead, now: int) -> None:
    """CLOCK or TIMEOUT unless a request's times make sense at ``now`` (ms)."""
    if head.created > now + SKEW_MS:
        raise error("CLOCK", "the request was made in the pod's future", hint="check both clocks")
    if head.deadline <= now:
        late = head.created < now - SKEW_MS
        hint = "check both clocks" if late else ""
        raise error("CLOCK" if late else "TIMEOUT", "the request's deadline has passed", hint=hint)
    if head.deadline - head.created > LONGEST_MS or head.created < now - LONGEST_MS:
        raise error("CLOCK", "the request's deadline is too far away")


def read_head(
    document: Signed, *, analyst: bytes, pod: bytes, handshake: bytes, now: int
) -> RequestHead:
    """The head of a request, if ``analyst`` signed it for this pod and this session."""
    head = decode_as(RequestHead, verify(document, "request", analyst))
    if head.analyst != analyst or head.pod != pod:
        raise error("SIGNATURE", "the request is signed for another peer")
    if head.handshake != handshake:
        raise error("REPLAY", "the request belongs to another session")
    require_fresh(head, now)
    return head


def read_grants(
    reply: GrantsReply, *, service: bytes, nonce: bytes, analyst: bytes, now: int
) -> tuple[Grant, ...]:
    """The grants of ``reply`` that ``service`` signed for ``analyst`` and that hold at ``now``."""
    if reply.nonce != nonce:
        raise _unavailable("answered another question")
    found = []
    for document in reply.grants:
        grant = decode_as(Grant, verify(document, "grant", service))
        if grant.analyst != analyst:
            raise _unavailable("answered for another analyst")
        if grant.since - SKEW_MS <= now < grant.until + SKEW_MS:
            found.append(grant)
    return tuple(found)


def read_decision(
    reply: DecisionReply, *, service: bytes, nonce: bytes, head: RequestHead, now: int
) -> Decision:
    """The decision of ``reply``, if it is ``service``'s, on this query of this pod, and alive."""
    decision = decode_as(Decision, verify(reply.decision, "decision", service))
    if decision.nonce != nonce or decision.query_hash != query_hash(head):
        raise _unavailable("decided another request")
    if decision.pod != head.pod:
        raise _unavailable("decided for another pod")
    if decision.expires <= now - SKEW_MS:
        raise _unavailable("sent a decision that has expired")
    return decision


def _unavailable(what: str) -> Error:
    return error(
        "POLICY_UNAVAILABLE",
        f"a policy service {what}",
        hint="the custodian's policy service did not give a usable answer; try again later",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """Every service allows the request, under ``release`` at most."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A service denies it; ``reason`` is for the audit."""

    reason: str


@dataclass(slots=True, kw_only=True)
class _Ask:
    nonce: bytes
    tries: int = 0
    due: float = 0.0
    decision: Decision | None = None


Outcome = Agreed | Refused | Literal["waiting", "unavailable"]


@dataclass(slots=True, kw_only=True)
class Consultation:
    """One request put to every pinned service: two tries of two seconds each, then unavailable.

    ``services`` are identity keys, ``random`` gives nonces. Time is monotonic seconds in ``tick``
    and ms since the epoch in ``answered``.
    """

    document: Signed
    head: RequestHead
    services: tuple[bytes, ...]
    random: Callable[[int], bytes]
    _asks: dict[bytes, _Ask] = field(default_factory=dict)
    _lost: bool = False

    def tick(self, monotonic: float) -> Mapping[bytes, bytes]:
        """Messages to send now, by service: the first try, and the second of a silent service."""
        send = {}
        for service in self.services:
            ask = self._asks.get(service)
            if ask is None or (ask.decision is None and monotonic >= ask.due):
                tries = 0 if ask is None else ask.tries
                if tries >= TRIES:
                    self._lost = True
                    continue
                ask = _Ask(
                    nonce=self.random(NONCE_BYTES), tries=tries + 1, due=monotonic + TRY_SECONDS
                )
                self._asks[service] = ask
                send[service] = encode(DecisionRequest(head=self.document, nonce=ask.nonce))
        return send

    def failed(self, service: bytes, monotonic: float) -> None:
        """The service could not be reached: its next try is due at once."""
        ask = self._asks.get(service)
        if ask is not None and ask.decision is None:
            ask.due = monotonic

    def answered(self, service: bytes, body: bytes, now: int) -> None:
        """Take a service's answer; one that does not verify makes the request unavailable."""
        ask = self._asks.get(service)
        if ask is None or ask.decision is not None:
            return
        try:
            reply = decode(body)
            if not isinstance(reply, DecisionReply):
                raise _unavailable("did not decide")
            ask.decision = read_decision(
                reply, service=service, nonce=ask.nonce, head=self.head, now=now
            )
        except Error:
            self._lost = True

    def next_due(self) -> float | None:
        """When ``tick`` must be called again (monotonic), while an answer is missing."""
        due = [ask.due for ask in self._asks.values() if ask.decision is None]
        return min(due) if due and not self._lost else None

    def outcome(self) -> Outcome:
        """Where the consultation stands."""
        decisions = [ask.decision for ask in self._asks.values() if ask.decision is not None]
        for decision in decisions:
            if not decision.allow:
                return Refused(reason=decision.reason)
        if self._lost:
            return "unavailable"
        if len(decisions) < len(self.services):
            return "waiting"
        return Agreed(release=strictest("rows", *(decision.release for decision in decisions)))


def unavailable() -> Error:
    """The error of a consultation that ended ``unavailable``."""
    return _unavailable("did not answer in time")


def require_agreement(outcome: Outcome) -> Release:
    """The release agreed on; Denial or POLICY_UNAVAILABLE otherwise."""
    if isinstance(outcome, Agreed):
        return outcome.release
    if isinstance(outcome, Refused):
        raise Denial("NOT_GRANTED")
    raise unavailable()


def grants_of(
    replies: Mapping[bytes, GrantsReply],
    *,
    services: Sequence[bytes],
    nonces: Mapping[bytes, bytes],
    analyst: bytes,
    now: int,
) -> tuple[tuple[Grant, ...], ...]:
    """Grants of every service, for ``Gate.offer_tables``; POLICY_UNAVAILABLE if one is missing."""
    found = []
    for service in services:
        reply = replies.get(service)
        if reply is None:
            raise unavailable()
        found.append(
            read_grants(reply, service=service, nonce=nonces[service], analyst=analyst, now=now)
        )
    return tuple(found)
