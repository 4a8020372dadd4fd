"""Row 9: what ends soon, and who notices.

Rule to keep: every end says whether a machine enforces it. An end that only people can act on
(a training, a project) is listed, and stops nothing by itself.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Page, Text
from podsql.times import iso

DAY_MS: Final = 24 * 3600 * 1000
SOON_DAYS: Final = 60
FOREVER: Final = 4_000_000_000_000
"""Ms; a grant that ends later than this (year 2096) has no end."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """Something ends at ``ends``; ``days_left`` is negative where it is over."""

    what: str
    name: str
    ends: str
    days_left: int
    enforced_by: str


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """Ends within ``days``, and those that are over; the next first."""

    pod: str
    at: str
    days: int
    ends: tuple[End, ...]


def expiring(facts: Facts, *, days: int = SOON_DAYS) -> Expiring:
    """What is over, or ends within ``days``."""
    soon = tuple(end for end in ends(facts) if end.days_left <= days)
    return Expiring(pod=facts.pod, at=iso(facts.now), days=days, ends=soon)


def ends(facts: Facts) -> tuple[End, ...]:
    """Every end that is known, the next first."""
    found: list[tuple[int, End]] = []

    def add(what: str, name: str, at: int, by: str) -> None:
        left = (at - facts.now) // DAY_MS
        found.append(
            (at, End(what=what, name=name, ends=iso(at), days_left=int(left), enforced_by=by))
        )

    until = facts.policy.valid.until
    if until is not None:
        add("policy", facts.policy.name, _after(until), "the pod: it answers nothing afterwards")
    if facts.network is not None and facts.network.expires is not None:
        name = f"{facts.network.federation}, version {facts.network.manifest_version}"
        add("manifest", name, facts.network.expires, "every peer: the convener renews it")
    for name, project in facts.declared.projects.items():
        if project.ends is not None:
            add("project", name, _after(project.ends), _project_by(facts, name))
    for name, person in facts.declared.people.items():
        if person.trained_until is not None:
            add("training", name, _after(person.trained_until), "nobody: a person must act")
    for granted in facts.grants:
        if granted.revoked is None and granted.grant.until < FOREVER:
            what = f"{granted.name}: {', '.join(granted.grant.tables)}"
            add("grant", what, granted.grant.until, "the policy service")
    return tuple(end for _, end in sorted(found, key=lambda pair: pair[0]))


def _project_by(facts: Facts, name: str) -> str:
    until = facts.policy.valid.until
    project = facts.declared.projects[name]
    if until is not None and project.ends is not None and until <= project.ends:
        return "the pod: its policy ends no later"
    return "nobody: take it out of policy.toml, or set valid.until"


def page(found: Expiring) -> Page:
    """For people."""
    rows = tuple(
        (end.what, end.name, end.ends, _left(end.days_left), end.enforced_by) for end in found.ends
    )
    return Page(
        f"Ends at pod {found.pod}",
        (
            Text(f"What is over, or ends within {found.days} days of {found.at}."),
            Grid(("what", "name", "ends", "left", "enforced by"), rows, none="nothing ends soon"),
        ),
    )


def _left(days: int) -> str:
    return "over" if days < 0 else f"{days} days"


def _after(day: date) -> int:
    """The first moment (ms) after a last day, in UTC."""
    following = day + timedelta(days=1)
    return int(
        datetime(following.year, following.month, following.day, tzinfo=UTC).timestamp() * 1000
    )
