"""Typed control messages between analyst, pod, policy service and convener (inside sessions).

msgspec msgpack, ``array_like``, unknown fields refused. What is signed is signed as *bytes*
(``Signed.body``) and never re-encoded. Statement text and literals travel only inside
``QueryPayload``; ``RequestHead`` holds hashes, so a policy service can verify a request that it
cannot read. Rule to keep: a new message is a new tag; a changed one is a new version of its tag.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, TypeVar

import msgspec

from podsql.errors import Error, error
from podsql.job_messages import Delegated, DelegatedDecisionRequest, JobAsk, JobOrder, JobReply
from podsql.message import Message, Signed
from podsql.service_messages import (
    DecisionReply,
    DecisionRequest,
    GrantsReply,
    GrantsRequest,
    OrderReply,
    OrderRequest,
    PodReport,
    PodStanding,
    ReviewReply,
    ReviewRequest,
    RightsReply,
    RightsRequest,
)
from podsql.sum_messages import (
    SumAgreed,
    SumDeal,
    SumKeyed,
    SumKeys,
    SumMasked,
    SumOpening,
    SumRound,
    SumShares,
    SumStart,
    SumSurvivors,
    SumTotals,
    SumUnmask,
)

# -- analyst and pod ---------------------------------------------------------------------------


class OfferRequest(Message, frozen=True, array_like=True, tag="offer?/1"):
    """Analyst asks a pod what it may use."""

    purpose: str
    project: str


class OfferReply(Message, frozen=True, array_like=True, tag="offer/1"):
    """``offer`` is signed by the pod (kind ``offer``); its body is a planner ``Offer``."""

    offer: Signed


class RequestHead(Message, frozen=True, array_like=True, tag="head/1"):
    """What the analyst signs (kind ``request``), or a modeller whom the analyst ordered to ask.

    Times are ms since the epoch; keys 32 bytes.
    """

    request_id: bytes
    """16 random bytes; one per statement and pod; idempotent."""
    statement_id: bytes
    pod: bytes
    """Identity key of the pod it is meant for."""
    analyst: bytes
    """Identity key of who asks."""
    handshake: bytes
    """Hash of the session it travels in (channel binding)."""
    payload_hash: bytes
    """BLAKE2b-256 of the payload's bytes."""
    tables: tuple[str, ...]
    purpose: str
    project: str
    pods: tuple[str, ...]
    """Names of every pod the statement is sent to."""
    offer: str
    created: int
    deadline: int


class QueryPayload(Message, frozen=True, array_like=True, tag="payload/1"):
    """``fragment`` is an encoded planner Fragment; ``statement`` is audit text, never run."""

    fragment: bytes
    statement: str
    inputs: tuple[bytes, ...] = ()
    """Arrow IPC streams, one per ``fragment.inputs``."""


class QueryRequest(Message, frozen=True, array_like=True, tag="query/1"):
    """One signed request: ``head`` signed by the analyst, ``payload`` bound by its hash."""

    head: Signed
    payload: bytes


class PolicyAsk(Message, frozen=True, array_like=True, tag="policy?/1"):
    """Analyst asks what the pod's policy would say of a fragment; no data is touched."""

    fragment: bytes
    statement: str
    tables: tuple[str, ...]
    purpose: str
    project: str
    offer: str


class PolicyReply(Message, frozen=True, array_like=True, tag="policy/1"):
    """What would become of the statement now. A dry run binds nobody."""

    allow: bool
    rule: str
    """Why not: a code of the gate. Empty when allowed."""
    policy: str
    policy_hash: str
    release: str = ""
    answer: str = ""
    """``exact``, ``rounded`` or ``noised``."""
    min_units: int = 0
    """Groups of fewer units are withheld."""
    epsilon: float | None = None
    """Price of a noisy release; 0 if the same one was paid for before."""
    epsilon_left: float | None = None
    """Of the tightest budget it draws on, before this statement."""
    fits: int | None = None
    """How many statements of this price the budgets still cover."""
    noise: tuple[float, ...] = ()
    """Standard deviation of each aggregate's noise."""
    statements_left: int | None = None
    figures_left: int | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    """Of a noisy round of a model: the policy's bounds of each feature, then target."""
    promise: tuple[float, float] | None = None
    """Of such a round: epsilon and delta of all rounds together."""


class BudgetRequest(Message, frozen=True, array_like=True, tag="budgets?/1"):
    """Analyst asks what is left of the budgets and quotas that its own statements draw on."""

    purpose: str
    project: str
    offer: str


class Allowance(Message, frozen=True, array_like=True, tag="allowance/1"):
    """One of them. Epsilon at ``delta``; the others are numbers of things, without a delta."""

    what: Literal["epsilon", "statements", "figures", "keys"]
    per: str
    """Who shares it: purpose, analyst, project (or several), everybody."""
    period: Literal["day", "month", "year", "ever"]
    total: float
    spent: float
    left: float
    delta: float | None = None


class BudgetReply(Message, frozen=True, array_like=True, tag="budgets/1"):
    """What is left now; none where the pod's policy sets no such limit, or offers nothing."""

    policy: str
    """Its name; empty if nothing is offered."""
    allowances: tuple[Allowance, ...]


class StreamTicket(Message, frozen=True, array_like=True, tag="ticket/1"):
    """How to open a bulk result: stream id, AEAD key."""

    stream: bytes
    key: bytes


class Evidence(Message, frozen=True, array_like=True, tag="end/1"):
    """End of a result, signed by the pod (kind ``result``): what left, under which versions."""

    request_id: bytes
    query_hash: bytes
    rows: int
    withheld: int
    """Number of groups withheld by a disclosure rule."""
    size: int
    """Bytes of the Arrow IPC stream."""
    chunks: int
    sha256: bytes
    """Of the Arrow IPC stream before sealing."""
    data_version: str
    policy_hash: str
    release: str
    executed: int
    """Times the pod's engine ran this request id: 1, also after replays."""
    micros: int
    """Time the pod spent from request to end of result."""
    noise: tuple[float, ...] = ()
    """Of a noisy release: the standard deviation of each aggregate's noise."""
    silent: bool = False
    """Groups may be missing, and no number of them is told (it would depend on the data)."""


class Result(Message, frozen=True, array_like=True, tag="result/1"):
    """Small result inline: Arrow IPC stream and its signed Evidence."""

    request_id: bytes
    arrow: bytes
    evidence: Signed


class Accepted(Message, frozen=True, array_like=True, tag="accepted/1"):
    """Large result: read the stream; it ends with the signed Evidence (asked by ``EvidenceAsk``)."""

    request_id: bytes
    ticket: StreamTicket
    attached: bool
    """True when this request id was already running or cached."""


class EvidenceAsk(Message, frozen=True, array_like=True, tag="evidence?/1"):
    """Analyst asks for the signed end of a streamed result; the pod answers when it is there."""

    request_id: bytes


class EvidenceReply(Message, frozen=True, array_like=True, tag="evidence/1"):
    """The signed Evidence of a streamed result."""

    evidence: Signed


class Cancel(Message, frozen=True, array_like=True, tag="cancel/1"):
    """Stop a request; best effort."""

    request_id: bytes


class Release(Message, frozen=True, array_like=True, tag="release/1"):
    """Analyst has the whole result: the pod may drop its cached chunks."""

    request_id: bytes


class Done(Message, frozen=True, array_like=True, tag="done/1"):
    """Plain acknowledgement."""


class Failed(Message, frozen=True, array_like=True, tag="failed/1"):
    """A refusal or failure: a code of ``podsql.errors``, text without values, a hint."""

    code: str
    message: str
    hint: str = ""


# -- between pods ------------------------------------------------------------------------------


class PsiClaim(Message, frozen=True, array_like=True, tag="psi-claim/1"):
    """What a pod brings to a count of keys (signed by it, kind ``psi-claim``), and on which terms."""

    session: bytes
    """32 bytes: a hash of statement, fragment, analyst, purpose and the pods asked."""
    pod: str
    """Its name; ``(analyst)``: an analyst's own keys."""
    size: int
    """How many different keys it has. For an analyst, a pod adds random ones up to a power of two."""
    least: int
    """Counts of fewer keys are withheld."""
    zero: bool
    """A count of no key at all may be shown."""
    base: int
    """Counts are rounded to multiples of it."""
    complement: bool
    """A count that leaves out 1 to ``least`` - 1 keys of a pod, or of the others, is withheld."""


class PsiFetch(Message, frozen=True, array_like=True, tag="psi?/1"):
    """Analyst asks for a part of a pod's blinded keys; answered by a ``PsiHand``."""

    session: bytes
    index: int


class PsiPart(Message, frozen=True, array_like=True, tag="psi-part/1"):
    """One piece of a pod's points on its way, signed by the pod that sends it (kind ``psi-part``)."""

    session: bytes
    origin: str
    """Name of the pod whose keys they are; ``(analyst)``: the analyst's own."""
    index: int
    to: bytes
    """Identity key of the receiver."""
    handshake: bytes
    """Hash of the session it travels in (channel binding)."""
    points_hash: bytes
    """BLAKE2b-256 of the points."""


class PsiHand(Message, frozen=True, array_like=True, tag="psi/1"):
    """A pod hands blinded keys on to the next pod; answered by ``Done`` once they are taken in.

    ``points``: 32 bytes each, ascending. ``claim`` is the origin's and travels with its points.
    """

    claim: Signed
    part: Signed
    points: bytes


# -- convener ----------------------------------------------------------------------------------


class JoinRequest(Message, frozen=True, array_like=True, tag="join?/1"):
    """An invitee presents its card (signed by itself) and the hash of its one-time secret."""

    card: Signed
    secret_hash: bytes


class JoinReply(Message, frozen=True, array_like=True, tag="join/1"):
    """The new signed manifest, with the invitee in it, and what people call the federation."""

    manifest: bytes
    federation: str = ""


AnyMessage = (
    OfferRequest
    | OfferReply
    | QueryRequest
    | Result
    | Accepted
    | EvidenceAsk
    | EvidenceReply
    | PolicyAsk
    | PolicyReply
    | BudgetRequest
    | BudgetReply
    | PsiHand
    | PsiFetch
    | SumStart
    | SumKeyed
    | SumKeys
    | SumRound
    | SumDeal
    | SumShares
    | SumMasked
    | SumSurvivors
    | SumAgreed
    | SumTotals
    | SumUnmask
    | SumOpening
    | Cancel
    | Release
    | Done
    | Failed
    | GrantsRequest
    | GrantsReply
    | DecisionRequest
    | DecisionReply
    | PodReport
    | PodStanding
    | OrderRequest
    | OrderReply
    | RightsRequest
    | RightsReply
    | ReviewRequest
    | ReviewReply
    | JoinRequest
    | JoinReply
    | Delegated
    | DelegatedDecisionRequest
    | JobOrder
    | JobAsk
    | JobReply
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Bytes of a message."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> AnyMessage:
    """Read any message; BAD_MESSAGE on unknown tags, fields, types or trailing bytes."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "message does not decode") from None


def reply_of(kind: type[M], reply: bytes | Error, odd: str, *, pod: str | None = None) -> M:
    """The reply to a call, of ``kind``; else the error that it is, the refusal that it holds, or
    BAD_MESSAGE with ``odd``. ``pod`` stands in the error."""
    if isinstance(reply, Error):
        reply.pod = reply.pod or pod
        raise reply
    message = decode(reply)
    if isinstance(message, Failed):
        raise error(message.code, message.message, hint=message.hint, pod=pod)
    if not isinstance(message, kind):
        raise error("BAD_MESSAGE", odd, pod=pod)
    return message


def decode_as(kind: type[M], data: bytes) -> M:
    """Read a message that must be of ``kind`` (bodies of ``Signed``)."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", f"not a {kind.__name__} message") from None


def payload_hash(payload: bytes) -> bytes:
    """BLAKE2b-256 of a payload's bytes."""
    return blake2b(payload, digest_size=32, person=b"ps-payload").digest()


def points_hash(points: bytes) -> bytes:
    """BLAKE2b-256 of blinded keys."""
    return blake2b(points, digest_size=32, person=b"ps-psi-points").digest()


def psi_session(head: RequestHead) -> bytes:
    """What pods name a count by: equal only where they were asked the same, by one statement.

    The payload holds the fragment with the keys and conditions of every pod and a fresh epoch.
    """
    same = (
        head.statement_id,
        head.analyst,
        head.payload_hash,
        head.purpose,
        head.project,
        head.pods,
    )
    return blake2b(_ENCODER.encode(same), digest_size=32, person=b"ps-psi-session").digest()


def content_hash(payload: QueryPayload) -> bytes:
    """What makes two payloads the same work, whatever their statements' text is."""
    body = _ENCODER.encode((payload.fragment, payload.inputs))
    return blake2b(body, digest_size=32, person=b"ps-content").digest()


def sum_about(head: RequestHead, statement: str, figures: Sequence[str]) -> bytes:
    """What a job of secure sums is about: equal at pods that one statement asks for the same figures.

    ``statement`` is its text, ``figures`` the names of what each pod brings after its rows.
    """
    same = (
        head.statement_id,
        head.analyst,
        head.tables,
        head.purpose,
        head.project,
        head.pods,
        statement,
        tuple(figures),
    )
    return blake2b(_ENCODER.encode(same), digest_size=32, person=b"ps-sum-about").digest()


def sum_request(job: bytes, number: int, pod: bytes) -> bytes:
    """The id of the one request whose figures ``pod`` (its key) brings to round ``number`` of a job.

    The request is signed, so what was asked for one job or round is of no use in another.
    """
    place = number.to_bytes(8, "big")
    return blake2b(job + place + pod, digest_size=16, person=b"ps-sum-request").digest()


def query_hash(head: RequestHead) -> bytes:
    """What makes two requests the same query: everything but ids, session, times and offer."""
    same = (
        head.pod,
        head.analyst,
        head.payload_hash,
        head.tables,
        head.purpose,
        head.project,
        head.pods,
    )
    return blake2b(_ENCODER.encode(same), digest_size=32, person=b"ps-query").digest()
