"""The decision itself, as a pure function of a signed head and what stands in the store.

Rule to keep: the service verifies what the analyst signed and can forge none of it; its answer is
bound to the query's hash and the pod's nonce, so it serves no other request.
"""

from dataclasses import dataclass
from typing import Final

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import RequestHead, decode_as, encode, query_hash
from podsql.policy.decisions import require_fresh
from podsql.policy.delegations import read_delegation, require_request
from podsql.policy.document import Release
from podsql.policy.grants import in_force, judge_tables
from podsql.policy.service.store import Rules, Standing
from podsql.relay.signing import sign, verify
from podsql.service_messages import Decision

LIFE_MS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The pod that asks, as the manifest lists it."""

    name: str
    identity: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    reason: str
    release: Release | None = None
    review: bool = False


def read_request(document: Signed) -> RequestHead:
    """The head, if its own analyst signed it."""
    head = decode_as(RequestHead, verify(document, "request"))
    if head.analyst != document.signer:
        raise error("SIGNATURE", "the request is signed by another key than its analyst's")
    return head


def read_delegated(document: Signed, order: Signed, now: int) -> RequestHead:
    """The head that a modeller signed, if the analyst whom it names ordered that."""
    told = read_delegation(order, modeller=document.signer, now=now)
    head = decode_as(RequestHead, verify(document, "request"))
    require_request(told, head)
    return head


def decide(
    head: RequestHead,
    *,
    standing: Standing,
    rules: Rules,
    member: bool,
    pod: Asker,
    nonce: bytes,
    now: int,
) -> Decision:
    """Allow the request if grants in force cover every table it names; else say why not.

    ``member``: the manifest lists the analyst's key and does not revoke it.
    """
    found = _judge(head, standing=standing, rules=rules, member=member, pod=pod, now=now)
    return Decision(
        query_hash=query_hash(head),
        nonce=nonce,
        pod=pod.identity,
        allow=found.release is not None,
        reason=found.reason,
        release=found.release or "sdc_local",
        expires=min(now + LIFE_MS, head.deadline),
        epoch=rules.epoch,
        review=found.review,
    )


def bar(*, pod: str, project: str, standing: Standing, rules: Rules, member: bool, now: int) -> str:
    """Why this analyst may ask nothing of this pod now, whatever was granted; empty if nothing."""
    if not member:
        return "analyst is not in the manifest"
    if rules.frozen & {"*", pod}:
        return "frozen"
    if standing.ends is not None and standing.ends <= now:
        return "person has ended"
    known = rules.projects.get(project)
    if known is None:
        return "project is not registered" if rules.projects_required else ""
    return "project has ended" if known.over(now) else ""


def sign_decision(decision: Decision, seed: bytes) -> Signed:
    """Sign with the service's identity key."""
    return sign("decision", encode(decision), seed)


def _judge(
    head: RequestHead, *, standing: Standing, rules: Rules, member: bool, pod: Asker, now: int
) -> _Judged:
    if head.pod != pod.identity:
        return _Judged(reason="request for another pod")
    barred = bar(
        pod=pod.name,
        project=head.project,
        standing=standing,
        rules=rules,
        member=member,
        now=now,
    )
    if barred:
        return _Judged(reason=barred)
    try:
        require_fresh(head, now)
    except Error as fault:
        return _Judged(reason=fault.message)
    if not head.tables:
        return _Judged(reason="request names no table")
    live = [
        one.grant
        for one in standing.grants
        if in_force(
            one.grant,
            analyst=head.analyst,
            pod=pod.name,
            purpose=head.purpose,
            project=head.project,
            now=now,
        )
    ]
    found = judge_tables(live, head.tables)
    if found is None:
        return _Judged(reason="no grant in force")
    return _Judged(reason="granted", release=found[0], review=found[1])
