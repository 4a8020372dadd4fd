"""Row 10: revocations: when each was ordered, and when this pod obeyed.

Two orders reach a pod: the federation revokes a key (the pod notes when it takes the manifest in,
and opens no session for that key from then on), and the custodian changes the policy (in force with
the line ``data`` or ``start`` that first names it). A third stands in a policy service's file.
Rule to keep: a time that is not known is said to be a bound, or not known.
"""

import re

import msgspec

from podsql.governance.facts import Facts, Member
from podsql.governance.pages import Grid, Page, Text
from podsql.governance.people import why_not
from podsql.governance.selecting import ASKED, answered
from podsql.relay.keys import fingerprint as mark_of
from podsql.times import iso

_MANIFEST = re.compile(r"manifest (\d+) of (\S+)")


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """One right that ended."""

    who: str
    fingerprint: str
    what: str
    """``key`` (by the federation), ``policy`` (by the custodian), ``grant`` (by a policy service)."""
    why: str
    ordered: str
    ordered_is: str
    """``exact``, or ``at the latest``."""
    obeyed: str
    """When the pod took it in; empty if it has not."""
    last_answer: str
    first_refusal: str
    """Of a request afterwards; empty: none came, or it was turned away before it could ask."""
    answers_after: int
    """Answers given after the pod took it in: 0, or something is wrong."""


class Revocations(msgspec.Struct, frozen=True, kw_only=True):
    """Every revocation this pod knows of."""

    pod: str
    at: str
    revocations: tuple[Revocation, ...]


def revocations(facts: Facts) -> Revocations:
    """By keys, by the policy, by grants."""
    found = (*_keys(facts), *_policy(facts), *_grants(facts))
    return Revocations(pod=facts.pod, at=iso(facts.now), revocations=found)


def _keys(facts: Facts) -> tuple[Revocation, ...]:
    noted = {e.fingerprint: e for e in facts.log.entries if e.event == "revoked"}
    found = []
    for member in facts.members:
        if not member.revoked:
            continue
        line = noted.get(member.fingerprint)
        told = _MANIFEST.search(line.reason) if line else None
        issued = facts.network.issued if facts.network else None
        ordered = told[2] if told else iso(issued) if issued is not None else ""
        found.append(
            _record(
                facts,
                who=member.name,
                fingerprint=member.fingerprint,
                what="key",
                why="revoked by the federation" + (f", manifest {told[1]}" if told else ""),
                ordered=ordered,
                ordered_is="exact" if told else "at the latest",
                obeyed=line.time if line else None,
            )
        )
    return tuple(found)


def _policy(facts: Facts) -> tuple[Revocation, ...]:
    """People whom an earlier policy answered and this one does not take."""
    known = {e.fingerprint: e.analyst for e in facts.log.entries if answered(e)}
    found = []
    for fingerprint, name in known.items():
        member = facts.member(fingerprint)
        if member is not None and member.revoked:
            continue
        reason = why_not(facts, name, member)
        if reason:
            since = _since(facts, name, member)
            found.append(
                _record(
                    facts,
                    who=name,
                    fingerprint=fingerprint,
                    what="policy",
                    why=reason,
                    ordered=iso(since) if since is not None else "",
                    ordered_is="at the latest",
                    obeyed=since,
                )
            )
    return tuple(found)


def _since(facts: Facts, name: str, member: Member | None) -> int | None:
    """When the pod took in the first of the last policies that do not take this person."""
    since: int | None = None
    last = ""
    for entry in facts.log.entries:
        if entry.event not in ("start", "data") or entry.policy_hash == last:
            continue
        last = entry.policy_hash
        policy = facts.policy_of(last)
        # A document that is not kept may have taken the person: the bound is the next one.
        if policy is None or not why_not(facts, name, member, policy):
            since = None
        elif since is None:
            since = entry.time
    return since


def _grants(facts: Facts) -> tuple[Revocation, ...]:
    return tuple(
        _record(
            facts,
            who=granted.name,
            fingerprint=mark_of(granted.grant.analyst),
            what="grant",
            why=f"{', '.join(granted.grant.tables)}: revoked at the policy service",
            ordered=iso(granted.revoked),
            ordered_is="exact",
            obeyed=None,
            after=granted.revoked,
            tables=granted.grant.tables,
        )
        for granted in facts.grants
        if granted.revoked is not None
    )


def _record(
    facts: Facts,
    *,
    who: str,
    fingerprint: str,
    what: str,
    why: str,
    ordered: str,
    ordered_is: str,
    obeyed: int | None,
    after: int | None = None,
    tables: tuple[str, ...] = (),
) -> Revocation:
    start = after if after is not None else obeyed
    mine = [
        e
        for e in facts.log.entries
        if e.fingerprint == fingerprint
        and e.event in ASKED
        and (not tables or "*" in tables or set(tables) & set(e.tables))
    ]
    gone = [e for e in mine if answered(e)]
    later = [] if start is None else [e for e in mine if e.time >= start]
    refused = next((e for e in later if e.decision == "deny"), None)
    # Asked of a service at every request: the first refusal afterwards is when it was obeyed.
    taken = obeyed if after is None else refused.time if refused else None
    return Revocation(
        who=who,
        fingerprint=fingerprint,
        what=what,
        why=why,
        ordered=ordered,
        ordered_is=ordered_is if ordered else "not known",
        obeyed=iso(taken) if taken is not None else "",
        last_answer=iso(gone[-1].time) if gone else "",
        first_refusal=f"{iso(refused.time)} ({refused.reason})" if refused else "",
        answers_after=sum(map(answered, later)),
    )


def page(found: Revocations) -> Page:
    """For people."""
    rows = tuple(
        (
            one.who,
            one.what,
            one.why,
            f"{one.ordered or 'not known'} ({one.ordered_is})",
            one.obeyed or "not seen here yet",
            one.last_answer or "never answered",
            one.first_refusal or "none came",
            str(one.answers_after),
        )
        for one in found.revocations
    )
    columns = (
        "who",
        "what",
        "why",
        "ordered",
        "pod obeyed",
        "last answer",
        "first refusal after",
        "answers after",
    )
    return Page(
        f"Revocations at pod {found.pod}",
        (
            Text(
                f"As of {found.at}. A revoked key opens no session from the moment the pod has the"
                " manifest, so usually no request arrives that could be refused. Grants are asked of the"
                " policy service at every request."
            ),
            Grid(columns, rows, none="nothing was revoked"),
        ),
    )
