"""What a pod makes of a policy service's answers. Pure: keys, nonces and time are arguments.

Rule to keep: fail closed. Nothing runs unless every service answered in time with a decision that
is signed by its pinned key, for this query, this pod and this nonce.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from podsql.errors import Error, PolicyError, error
from podsql.job_messages import DelegatedDecisionRequest
from podsql.message import Message, Signed
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
WENT_BACK: Final = "service went back"


class Unavailable(PolicyError):
    """A policy service gave no usable answer; ``reason`` is for the custodian's audit."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "a policy service did not give a usable answer",
            code="POLICY_UNAVAILABLE",
            hint="try again later; the custodian's audit says why",
        )
        self.reason = reason


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
    document: Signed,
    *,
    analyst: bytes,
    pod: bytes,
    handshake: bytes,
    now: int,
    signer: bytes | None = None,
) -> RequestHead:
    """The head of a request of ``analyst``, if ``signer`` (or else the analyst) signed it for this pod and
    this session."""
    head = decode_as(RequestHead, verify(document, "request", signer or analyst))
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
        raise Unavailable("answered another question")
    found = []
    for document in reply.grants:
        grant = decode_as(Grant, verify(document, "grant", service))
        if grant.analyst != analyst:
            raise Unavailable("answered for another analyst")
        if grant.since - SKEW_MS <= now < grant.until + SKEW_MS:
            found.append(grant)
    return tuple(found)


def read_decision(
    reply: DecisionReply, *, service: bytes, nonce: bytes, head: RequestHead, now: int
) -> Decision:
    """The decision of ``reply``, if it is ``service``'s, on this query of this pod, and alive."""
    decision = decode_as(Decision, verify(reply.decision, "decision", service))
    if decision.nonce != nonce or decision.query_hash != query_hash(head):
        raise Unavailable("decided another request")
    if decision.pod != head.pod:
        raise Unavailable("decided for another pod")
    if decision.expires <= now - SKEW_MS:
        raise Unavailable("sent a decision that has expired")
    return decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """Every service allows the request, under ``release`` at most."""

    release: Release
    reviewers: tuple[bytes, ...] = ()
    """Services where a second person must release the result first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A service denies it; ``reason`` is for the audit."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A service gave no usable answer; ``reason`` is for the audit."""

    reason: str


Answer = Agreed | Refused | Lost
Outcome = Answer | Literal["waiting"]


@dataclass(slots=True, kw_only=True)
class _Ask:
    nonce: bytes
    floor: int
    """The service's epoch as it was known when it was asked."""
    tries: int = 0
    due: float = 0.0
    answer: Answer | None = None


@dataclass(slots=True, kw_only=True)
class Consultation:
    """One request put to every pinned service: two tries of two seconds each.

    ``services`` are identity keys, ``order`` is the analyst's to the modeller who asks, ``random`` gives nonces. ``floor`` is the epoch that a service
    has reached. ``silent`` decides in place of one that did not answer at all. Time is monotonic
    seconds in ``tick`` and ms since the epoch in ``answered``.
    """

    document: Signed
    head: RequestHead
    services: tuple[bytes, ...]
    order: Signed | None = None
    random: Callable[[int], bytes]
    floor: Callable[[bytes], int] = lambda _: 0
    silent: Callable[[bytes], Answer] = lambda _: Lost(reason="no answer in time")
    epochs: dict[bytes, int] = field(default_factory=dict)
    """What each service said of its own epoch."""
    _asks: dict[bytes, _Ask] = field(default_factory=dict)

    def tick(self, monotonic: float) -> Mapping[bytes, bytes]:
        """Messages to send now, by service: the first try, and the second of a silent service."""
        send = {}
        for service in self.services:
            ask = self._asks.get(service)
            if ask is None or (ask.answer is None and monotonic >= ask.due):
                tries = 0 if ask is None else ask.tries
                if ask is not None and tries >= TRIES:
                    ask.answer = self.silent(service)
                    continue
                ask = _Ask(
                    nonce=self.random(NONCE_BYTES),
                    floor=self.floor(service),
                    tries=tries + 1,
                    due=monotonic + TRY_SECONDS,
                )
                self._asks[service] = ask
                send[service] = encode(self._question(ask.nonce))
        return send

    def _question(self, nonce: bytes) -> Message:
        if self.order is None:
            return DecisionRequest(head=self.document, nonce=nonce)
        return DelegatedDecisionRequest(head=self.document, delegation=self.order, nonce=nonce)

    def failed(self, service: bytes, monotonic: float) -> None:
        """The service could not be reached: its next try is due at once."""
        ask = self._asks.get(service)
        if ask is not None and ask.answer is None:
            ask.due = monotonic

    def answered(self, service: bytes, body: bytes, now: int) -> None:
        """Take a service's answer; one that does not verify makes the request unavailable."""
        ask = self._asks.get(service)
        if ask is None or ask.answer is not None:
            return
        try:
            reply = decode(body)
            if not isinstance(reply, DecisionReply):
                raise Unavailable("did not decide")
            decision = read_decision(
                reply, service=service, nonce=ask.nonce, head=self.head, now=now
            )
        except Error as fault:
            ask.answer = Lost(reason=getattr(fault, "reason", fault.code))
            return
        if decision.epoch < ask.floor:
            ask.answer = Lost(reason=WENT_BACK)
            return
        self.epochs[service] = decision.epoch
        if decision.allow:
            reviewers = (service,) if decision.review else ()
            ask.answer = Agreed(release=decision.release, reviewers=reviewers)
        else:
            ask.answer = Refused(reason=decision.reason)

    def next_due(self) -> float | None:
        """When ``tick`` must be called again (monotonic), while an answer is missing."""
        due = [ask.due for ask in self._asks.values() if ask.answer is None]
        return min(due) if due and self.outcome() == "waiting" else None

    def outcome(self) -> Outcome:
        """Where the consultation stands."""
        answers = [ask.answer for ask in self._asks.values() if ask.answer is not None]
        for kind in (Refused, Lost):
            for answer in answers:
                if isinstance(answer, kind):
                    return answer
        if len(answers) < len(self.services):
            return "waiting"
        agreed = [answer for answer in answers if isinstance(answer, Agreed)]
        return Agreed(
            release=strictest("rows", *(answer.release for answer in agreed)),
            reviewers=tuple(service for answer in agreed for service in answer.reviewers),
        )


def require_agreement(outcome: Outcome) -> Agreed:
    """What was agreed on; Denial or POLICY_UNAVAILABLE otherwise."""
    match outcome:
        case Agreed():
            return outcome
        case Refused():
            raise Denial("NOT_GRANTED")
        case Lost():
            raise Unavailable(outcome.reason)
    raise Unavailable("no answer yet")
