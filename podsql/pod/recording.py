"""A request's line in the audit, and the evidence that its analyst gets. Never a value of a row."""

import time
from hashlib import sha256
from typing import Literal

import msgspec

from podsql.messages import Evidence
from podsql.pod.releasing import Released
from podsql.pod.requests import Ticket
from podsql.policy.audit import Entry


def entry_of(
    ticket: Ticket,
    decision: Literal["allow", "deny", "none"],
    reason: str,
    evidence: Evidence | None,
    now: int,
) -> Entry:
    """The line; ``evidence`` is of what leaves, None if nothing does."""
    head, verdict = ticket.head, ticket.verdict
    return Entry(
        time=now,
        event="query",
        decision=decision,
        reason=reason,
        analyst=ticket.person.name,
        fingerprint=ticket.person.fingerprint,
        modeller=ticket.peer.name if ticket.order else msgspec.UNSET,
        modeller_key=ticket.peer.fingerprint if ticket.order else msgspec.UNSET,
        statement=ticket.statement,
        request_id=head.request_id.hex(),
        statement_id=head.statement_id.hex(),
        head_hash=ticket.query_hash.hex(),
        purpose=head.purpose,
        project=head.project,
        tables=verdict.tables if verdict else head.tables,
        release=verdict.release if verdict else "",
        data_version=ticket.holding.data_version,
        policy_hash=ticket.holding.gate.policy_hash,
        rows=evidence.rows if evidence else 0,
        withheld=evidence.withheld if evidence else 0,
        bytes=evidence.size if evidence else 0,
        micros=evidence.micros if evidence else 0,
        brought=ticket.brought,
        met=ticket.met,
        result_hash=evidence.sha256.hex() if evidence else "",
        round=verdict.family if verdict and verdict.family else msgspec.UNSET,
    )


def evidence_of(ticket: Ticket, released: Released) -> Evidence:
    """What leaves, for the analyst; the ticket's output is whole."""
    output, verdict = ticket.output, ticket.verdict
    assert output is not None
    assert verdict is not None
    return Evidence(
        request_id=ticket.head.request_id,
        query_hash=ticket.query_hash,
        rows=released.rows,
        withheld=released.withheld,
        size=len(released.vector) or output.total,
        chunks=output.chunks,
        sha256=sha256(released.vector).digest() if released.vector else output.sha256,
        data_version=ticket.holding.data_version,
        policy_hash=ticket.holding.gate.policy_hash,
        release=verdict.answer,
        executed=ticket.executed,
        micros=(time.perf_counter_ns() - ticket.began) // 1000,
        noise=released.noise,
        silent=verdict.noise is not None and verdict.noise.threshold > 0,
    )
