"""The decision itself, as a pure function of a signed head and the grants in force.

Rule to keep: the service verifies what the analyst signed and can forge none of it; its answer is
bound to the query's hash and the pod's nonce, so it serves no other request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error
from podsql.messages import Decision, Grant, RequestHead, Signed, decode_as, encode, query_hash
from podsql.policy.decisions import require_fresh
from podsql.policy.document import Release
from podsql.policy.grants import granted_release
from podsql.policy.rights import strictest
from podsql.relay.signing import sign, verify

LIFE_MS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The pod that asks, as the manifest lists it."""

    name: str
    identity: bytes


def read_request(document: Signed) -> RequestHead:
    """The head, if its own analyst signed it."""
    head = decode_as(RequestHead, verify(document, "request"))
    verify(document, "request", head.analyst)
    return head


def decide(
    head: RequestHead,
    *,
    grants: Sequence[Grant],
    member: bool,
    pod: Asker,
    nonce: bytes,
    now: int,
) -> Decision:
    """Allow the request if grants in force cover every table it names; else say why not.

    ``member``: the manifest lists the analyst's key and does not revoke it.
    """
    reason, release = _judge(head, grants=grants, member=member, pod=pod, now=now)
    return Decision(
        query_hash=query_hash(head),
        nonce=nonce,
        pod=pod.identity,
        allow=release is not None,
        reason=reason,
        release=release or "sdc_local",
        expires=min(now + LIFE_MS, head.deadline),
    )


def sign_decision(decision: Decision, seed: bytes) -> Signed:
    """Sign with the service's identity key."""
    return sign("decision", encode(decision), seed)


def _judge(
    head: RequestHead, *, grants: Sequence[Grant], member: bool, pod: Asker, now: int
) -> tuple[str, Release | None]:
    if head.pod != pod.identity:
        return "request for another pod", None
    if not member:
        return "analyst is not in the manifest", None
    try:
        require_fresh(head, now)
    except Error as fault:
        return fault.message, None
    if not head.tables:
        return "request names no table", None
    found: list[Release] = []
    for table in head.tables:
        released = granted_release(
            (grants,),
            analyst=head.analyst,
            pod=pod.name,
            table=table,
            purpose=head.purpose,
            project=head.project,
            now=now,
        )
        if released is None:
            return "no grant in force", None
        found.append(released)
    return "granted", strictest(*found)
