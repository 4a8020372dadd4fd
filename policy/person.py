"""Who asks, for what: the subject of every check. Rule to keep: a name alone proves nothing.

The pod fills ``Person`` from the card that the manifest lists for the session's key.
"""

from dataclasses import dataclass

from podsql.policy.denial import Denial
from podsql.policy.document import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An analyst as the manifest lists it."""

    name: str
    identity: bytes
    """Ed25519 public key, 32 bytes."""
    fingerprint: str
    role: str = "analyst"


def require_person(policy: Policy, person: Person, *, purpose: str, project: str, now: int) -> None:
    """Denial unless the document names this person, purpose and project, and is in force."""
    if not policy.in_force(now):
        raise Denial("EXPIRED")
    if person.role not in policy.roles or not _named(policy, person):
        raise Denial("PERSON")
    if "*" not in policy.purposes and purpose not in policy.purposes:
        raise Denial("PURPOSE")
    if "*" not in policy.projects and project not in policy.projects:
        raise Denial("PROJECT")


def _named(policy: Policy, person: Person) -> bool:
    if policy.people == "*":
        return True
    key = policy.people.get(person.name)
    return key is not None and key in ("*", person.fingerprint)
