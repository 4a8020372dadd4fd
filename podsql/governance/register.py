"""Row 16: the public register: projects, why, and how much was asked. A static page, no script.

Rule to keep: no name of a person, no hash, and no statement unless the custodian wants it shown.
"""

import msgspec

from podsql.governance.activity import month
from podsql.governance.facts import Facts
from podsql.governance.pages import Code, Grid, Heading, Items, Page, Pairs, Part, Text
from podsql.governance.plain import leaving
from podsql.governance.projects import Card, project_cards
from podsql.governance.selecting import answered
from podsql.times import iso


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One project as the public sees it."""

    name: str
    title: str
    status: str
    purpose: str
    public_benefit: str
    lawful_basis: str
    funder: str
    ethics: str
    duo: tuple[str, ...]
    ends: str
    statements: int
    answered: int
    months: dict[str, int]
    """Statements a month."""
    code: tuple[str, ...]
    """Statements that were answered, each text once; empty unless asked for."""


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """The page."""

    title: str
    text: str
    link: str
    contact: str
    at: str
    pod: str
    tables: dict[str, str]
    what_leaves: tuple[str, ...]
    projects: tuple[Shown, ...]
    unnamed: int
    """Statements that named no project that is described here."""


def register(facts: Facts, *, code: bool = False) -> Register:
    """Described projects; ``code`` also shows their statements, literals included."""
    told = facts.declared.public
    cards = [c for c in project_cards(facts).cards if c.status != "not described"]
    asked = [e for e in facts.log.entries if e.event == "query"]
    described = {card.name for card in cards}
    return Register(
        title=told.title or f"Research with data of {facts.pod}",
        text=told.text,
        link=told.link,
        contact=facts.declared.contacts.public,
        at=iso(facts.now),
        pod=facts.pod,
        tables={
            table.name: facts.declared.data[table.name].description
            if table.name in facts.declared.data
            else ""
            for table in facts.tables
        },
        what_leaves=leaving(facts.policy, public=True),
        projects=tuple(_shown(facts, card, code) for card in cards),
        unnamed=sum(e.project not in described for e in asked),
    )


def _shown(facts: Facts, card: Card, code: bool) -> Shown:
    months: dict[str, int] = {}
    texts: dict[str, None] = {}
    for entry in facts.log.entries:
        if entry.project == card.name and entry.event == "query":
            key = month(entry.time)
            months[key] = months.get(key, 0) + 1
            if code and answered(entry):
                texts[entry.statement] = None
    return Shown(
        name=card.name,
        title=card.title,
        status=card.status,
        purpose=card.purpose,
        public_benefit=card.public_benefit,
        lawful_basis=card.lawful_basis,
        funder=card.funder,
        ethics=card.ethics,
        duo=card.duo,
        ends=card.ends,
        statements=card.statements,
        answered=card.answered,
        months=months,
        code=tuple(texts),
    )


def page(found: Register) -> Page:
    """For the public."""
    parts: list[Part] = []
    if found.text:
        parts.append(Text(found.text))
    parts += [
        Pairs(
            {
                "as of": found.at,
                "questions to": found.contact,
                "more": found.link,
            }
        ),
        Heading("Data"),
        Grid(
            ("table", "what it is"),
            tuple((n, w or "not described") for n, w in found.tables.items()),
        ),
        Heading("What may leave"),
        Items(found.what_leaves),
    ]
    for one in found.projects:
        parts += [
            Heading(one.title or one.name),
            Pairs(
                {
                    "status": one.status + (f", until {one.ends}" if one.ends else ""),
                    "purpose": one.purpose,
                    "public benefit": one.public_benefit,
                    "lawful basis": one.lawful_basis,
                    "funder": one.funder,
                    "ethics reference": one.ethics,
                    "data use codes": ", ".join(one.duo),
                    "statements": f"{one.statements}, of which answered {one.answered}",
                    "by month": ", ".join(f"{m}: {n}" for m, n in one.months.items()) or "none yet",
                }
            ),
            *(Code(text, "sql") for text in one.code),
        ]
    if not found.projects:
        parts.append(Text("No project is described here yet."))
    if found.unnamed:
        parts.append(Text(f"{found.unnamed} statements belonged to no project of this page."))
    return Page(found.title, tuple(parts))
