"""Row 2: who may ask, until when, and what about them is about to end."""

import msgspec

from podsql.governance.declared import Person, day_of
from podsql.governance.expiring import SOON_DAYS, ends
from podsql.governance.facts import Facts, Member
from podsql.governance.pages import Grid, Page, Text
from podsql.policy.document import Policy
from podsql.times import iso


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """One person that the policy or the federation names."""

    name: str
    full_name: str
    organisation: str
    role: str
    fingerprint: str
    may_ask: bool
    why_not: str
    accreditation: str
    trained_until: str
    terms_signed: str
    rights_until: str
    warnings: tuple[str, ...]


class People(msgspec.Struct, frozen=True, kw_only=True):
    """The list. ``anybody``: the policy lets every listed analyst ask."""

    pod: str
    at: str
    policy: str
    anybody: bool
    services: int
    people: tuple[Who, ...]


def who_may(facts: Facts, *, days: int = SOON_DAYS) -> People:
    """Everybody named by the policy, and every asker of the manifest."""
    named = {} if facts.policy.people == "*" else facts.policy.people
    askers = {m.name: m for m in facts.members if m.role in ("analyst", "modeller")}
    names = sorted({*named, *askers})
    return People(
        pod=facts.pod,
        at=iso(facts.now),
        policy=facts.policy.name,
        anybody=facts.policy.people == "*",
        services=facts.services,
        people=tuple(_who(facts, name, named, askers.get(name), days) for name in names),
    )


def why_not(facts: Facts, name: str, member: Member | None, policy: Policy | None = None) -> str:
    """Why the pod would not hear this person now (under ``policy``, if given); empty if it would.

    Grants of policy services, which also have to agree, are not looked at here.
    """
    policy = policy or facts.policy
    if member is None:
        return "not in the federation's manifest"
    if member.revoked:
        return "key revoked by the federation"
    if member.role not in policy.roles:
        return f"the policy takes no {member.role}"
    if policy.people != "*":
        key = policy.people.get(name)
        if key is None:
            return "not named by the policy"
        if key not in ("*", member.fingerprint):
            return "the policy names another key"
    if not policy.in_force(facts.now):
        return "the policy is not in force today"
    expires = facts.network.expires if facts.network else None
    if expires is not None and expires <= facts.now:
        return "the federation's manifest has expired"
    return ""


def _who(facts: Facts, name: str, named: dict[str, str], member: Member | None, days: int) -> Who:
    told = facts.declared.people.get(name, Person())
    reason = why_not(facts, name, member)
    until = facts.policy.valid.until
    pinned = named.get(name, "")
    return Who(
        name=name,
        full_name=told.full_name,
        organisation=told.organisation,
        role=member.role if member else "",
        fingerprint=member.fingerprint if member else "" if pinned == "*" else pinned,
        may_ask=not reason,
        why_not=reason,
        accreditation=told.accreditation,
        trained_until=told.trained_until.isoformat() if told.trained_until else "",
        terms_signed=told.terms_signed.isoformat() if told.terms_signed else "",
        rights_until=until.isoformat() if until else "",
        warnings=_warnings(facts, name, told, days),
    )


def _warnings(facts: Facts, name: str, told: Person, days: int) -> tuple[str, ...]:
    found = []
    mine = {project for project, one in facts.declared.projects.items() if name in one.people}
    for end in ends(facts):
        concerns = (
            end.what == "policy"
            or (end.what == "training" and end.name == name)
            or (end.what == "project" and end.name in mine)
            or (end.what == "grant" and end.name.startswith(f"{name}: "))
        )
        if concerns and end.days_left <= days:
            when = "is over" if end.days_left < 0 else f"ends in {end.days_left} days"
            found.append(f"{end.what} {when}" + (f" ({end.name})" if end.what == "project" else ""))
    if told.terms_signed is not None and told.terms_signed > day_of(facts.now):
        found.append("terms are dated in the future")
    if name not in facts.declared.people:
        found.append("not described: training and terms are not known here")
    elif told.trained_until is None:
        found.append("no end of training is stated")
    return tuple(found)


def page(found: People) -> Page:
    """For people."""
    rows = tuple(
        (
            one.name,
            one.full_name,
            one.organisation,
            one.role,
            "yes" if one.may_ask else f"no: {one.why_not}",
            one.rights_until or "no end",
            one.trained_until,
            "; ".join(one.warnings),
            one.fingerprint,
        )
        for one in found.people
    )
    who = "anybody whom the federation lists" if found.anybody else "the people it names"
    services = f" {found.services} policy service(s) must also agree." if found.services else ""
    return Page(
        f"Who may ask pod {found.pod}",
        (
            Text(f"As of {found.at}, policy {found.policy!r} lets {who} ask.{services}"),
            Grid(
                (
                    "name",
                    "person",
                    "organisation",
                    "role",
                    "may ask",
                    "rights until",
                    "trained until",
                    "warnings",
                    "fingerprint",
                ),
                rows,
                none="nobody",
            ),
        ),
    )
