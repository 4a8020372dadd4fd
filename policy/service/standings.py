"""What the service tells a pod of its own accord: revocations, freezes, receipts of audit heads."""

from typing import Final

from podsql.message import Signed
from podsql.messages import encode
from podsql.policy.service.database import Database
from podsql.policy.service.history import epoch
from podsql.policy.service.settings import frozen
from podsql.relay.signing import sign
from podsql.service_messages import HeadReceipt, PodReport, PodStanding, Revocations

FRESH_MS: Final = 15 * 60 * 1000
"""How long a list of revocations is good: a pod that hears nothing then answers nothing."""
SIGNED_GRANT_MS: Final = 60 * 60 * 1000
"""No signed grant lives longer, so older revocations need not be listed."""


def revocations(database: Database, pod: str, *, now: int) -> Revocations:
    """What ``pod`` may not act on any more."""
    # The number first: what changes in between is then told under an older number, and again.
    number = epoch(database)
    gone = database.read(
        "SELECT grant_id FROM grants WHERE revoked > ? ORDER BY grant_id", now - SIGNED_GRANT_MS
    )
    left = database.read(
        "SELECT identity FROM people WHERE ended IS NOT NULL OR trained_until <= ? ORDER BY identity",
        now,
    )
    return Revocations(
        epoch=number,
        issued=now,
        next_update=now + FRESH_MS,
        frozen=not {"*", pod}.isdisjoint(frozen(database)),
        grants=tuple(row["grant_id"] for row in gone),
        people=tuple(row["identity"] for row in left),
    )


def standing_of(
    database: Database,
    pod: str,
    identity: bytes,
    *,
    seed: bytes,
    now: int,
    report: PodReport | None = None,
) -> PodStanding:
    """The answer to a report, or what is sent when something changed."""
    receipt: Signed | None = None
    if report is not None:
        seen = HeadReceipt(pod=identity, count=report.audit_count, head=report.audit_head, time=now)
        receipt = sign("head", encode(seen), seed)
    return PodStanding(
        revocations=sign("revocations", encode(revocations(database, pod, now=now)), seed),
        receipt=receipt,
    )
