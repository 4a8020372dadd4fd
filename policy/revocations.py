"""What a pod believes of a policy service: how far it has got, and what it took back.

Pure: keys and time are arguments. Rule to keep: a belief only moves forward, by the service's epoch
and then by the list's date, and whatever is doubtful decides nothing (fail closed).
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from podsql.message import Signed
from podsql.messages import RequestHead, decode_as
from podsql.policy.decisions import WENT_BACK, Agreed, Answer, Lost, Unavailable
from podsql.policy.grants import in_force, judge_tables
from podsql.relay.signing import verify
from podsql.service_messages import Grant, Revocations

GRACE_MS: Final = 5 * 60 * 1000
"""How long after its ``next_update`` a list still counts."""
LONGEST_MS: Final = 60 * 60 * 1000
"""No list counts for longer than this after it came, whatever it says."""


class Belief(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one service. ``issued`` and ``next_update`` (ms) are the list's; 0: none came yet."""

    epoch: int = 0
    frozen: bool = False
    grants: frozenset[str] = frozenset()
    people: frozenset[bytes] = frozenset()
    issued: int = 0
    next_update: int = 0

    @property
    def lasting(self) -> "Belief":
        """What must outlive the process: all but the list's dates."""
        return replace(self, issued=0, next_update=0)


def read_list(document: Signed, service: bytes) -> Revocations:
    """The list, if ``service`` signed it."""
    return decode_as(Revocations, verify(document, "revocations", service))


def reached(known: Belief, epoch: int) -> Belief:
    """After the service spoke of ``epoch``; Unavailable if it had got further before."""
    if epoch < known.epoch:
        raise Unavailable(WENT_BACK)
    return known if epoch == known.epoch else replace(known, epoch=epoch)


def believe(known: Belief, found: Revocations, now: int) -> Belief:
    """After a list came; Unavailable if the service went back."""
    reached(known, found.epoch)
    if found.epoch == known.epoch and found.issued < known.issued:
        return known  # two lists overtook each other on their way
    return Belief(
        epoch=found.epoch,
        frozen=found.frozen,
        grants=frozenset(found.grants),
        people=frozenset(found.people),
        issued=found.issued,
        next_update=min(found.next_update, now + LONGEST_MS),
    )


def grants_alone(
    grants: Sequence[Grant], *, analyst: bytes, belief: Belief, now: int
) -> tuple[Grant, ...]:
    """Of ``grants``, verified when they came, what still counts while their service is silent.

    Unavailable without a list that is fresh. A grant whose results are to be reviewed needs the
    service, so it is none of them.
    """
    if not belief.next_update:
        raise Unavailable("no revocation list")
    if now > belief.next_update + GRACE_MS:
        raise Unavailable("revocation list too old")
    if belief.frozen or analyst in belief.people:
        return ()
    return tuple(one for one in grants if not one.review and one.grant_id not in belief.grants)


def decide_alone(head: RequestHead, grants: Sequence[Grant], *, pod: str, now: int) -> Answer:
    """What ``grants_alone`` decide in their service's place."""
    live = [
        grant
        for grant in grants
        if in_force(
            grant,
            analyst=head.analyst,
            pod=pod,
            purpose=head.purpose,
            project=head.project,
            now=now,
        )
    ]
    found = judge_tables(live, head.tables)
    return Lost(reason="no signed grant at hand") if found is None else Agreed(release=found[0])
