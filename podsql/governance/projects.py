"""Row 1: the project card, an entry of the register of projects."""

from typing import Literal

import msgspec

from podsql.governance.declared import Project, day_of
from podsql.governance.duo import in_words
from podsql.governance.facts import Facts
from podsql.governance.pages import Heading, Page, Pairs, Part, Text
from podsql.governance.selecting import answered
from podsql.policy.audit import Entry
from podsql.times import iso

Status = Literal["open", "not started", "expired", "not described"]


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One project: what was agreed, and what was asked in its name."""

    name: str
    status: Status
    title: str
    purpose: str
    public_benefit: str
    lawful_basis: str
    funder: str
    ethics: str
    duo: tuple[str, ...]
    duo_in_words: str
    people: tuple[str, ...]
    tables: tuple[str, ...]
    starts: str
    ends: str
    accepted_by_policy: bool
    purposes_accepted: tuple[str, ...]
    purposes_given: tuple[str, ...]
    """As its statements gave them."""
    statements: int
    answered: int
    first: str
    last: str


class Cards(msgspec.Struct, frozen=True, kw_only=True):
    """Every project that is described, accepted or was named by a statement."""

    pod: str
    at: str
    cards: tuple[Card, ...]


def project_cards(facts: Facts, only: str = "") -> Cards:
    """The cards, or the one of ``only``."""
    accepted = {name for name in facts.policy.projects if name != "*"}
    asked = {entry.project for entry in facts.log.entries if entry.project}
    names = sorted({*facts.declared.projects, *accepted, *asked})
    chosen = [name for name in names if not only or name == only]
    return Cards(
        pod=facts.pod, at=iso(facts.now), cards=tuple(_card(facts, name) for name in chosen)
    )


def status_of(project: Project | None, now: int) -> Status:
    """Where a project stands on the day of ``now`` (ms)."""
    if project is None:
        return "not described"
    if project.expired(now):
        return "expired"
    started = project.starts is None or project.starts <= day_of(now)
    return "open" if started else "not started"


def _card(facts: Facts, name: str) -> Card:
    described = facts.declared.projects.get(name)
    told = described or Project()
    mine: list[Entry] = [e for e in facts.log.entries if e.project == name and e.event == "query"]
    projects = facts.policy.projects
    return Card(
        name=name,
        status=status_of(described, facts.now),
        title=told.title,
        purpose=told.purpose,
        public_benefit=told.public_benefit,
        lawful_basis=told.lawful_basis,
        funder=told.funder,
        ethics=told.ethics,
        duo=told.duo,
        duo_in_words=in_words(told.duo),
        people=told.people,
        tables=told.tables,
        starts=told.starts.isoformat() if told.starts else "",
        ends=told.ends.isoformat() if told.ends else "",
        accepted_by_policy="*" in projects or name in projects,
        purposes_accepted=facts.policy.purposes,
        purposes_given=tuple(sorted({entry.purpose for entry in mine if entry.purpose})),
        statements=len(mine),
        answered=sum(map(answered, mine)),
        first=iso(mine[0].time) if mine else "",
        last=iso(mine[-1].time) if mine else "",
    )


def page(found: Cards) -> Page:
    """For people."""
    parts: list[Part] = [Text(f"As of {found.at}.")]
    if not found.cards:
        parts.append(
            Text("No project is described, accepted by name, or was named by a statement.")
        )
    for card in found.cards:
        parts += [Heading(card.title or card.name), Pairs(pairs(card))]
    return Page(f"Projects at pod {found.pod}", tuple(parts))


def pairs(card: Card) -> dict[str, str]:
    """A card as named values."""
    accepted = "yes" if card.accepted_by_policy else "no: its statements are refused"
    return {
        "name": card.name,
        "status": card.status,
        "purpose": card.purpose,
        "public benefit": card.public_benefit,
        "lawful basis": card.lawful_basis,
        "data use codes": card.duo_in_words,
        "funder": card.funder,
        "ethics reference": card.ethics,
        "people": ", ".join(card.people),
        "tables": ", ".join(card.tables),
        "starts": card.starts,
        "ends": card.ends,
        "accepted by the pod's policy": accepted,
        "purposes the policy accepts": "any"
        if "*" in card.purposes_accepted
        else ", ".join(card.purposes_accepted),
        "purposes its statements gave": ", ".join(card.purposes_given) or "none",
        "statements": f"{card.statements}, of which answered {card.answered}",
        "first and last": f"{card.first} to {card.last}" if card.first else "never used",
    }
