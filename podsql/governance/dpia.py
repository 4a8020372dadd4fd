"""Row 6: a draft of a data protection impact assessment, in the seven steps of the ICO's template.

What the pod knows is filled in; what only people know is marked. A draft is no assessment: somebody
has to judge necessity, likelihood and severity, consult, and sign.
"""

import msgspec

from podsql.governance.data_card import DataCard, data_card
from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Heading, Items, Page, Pairs, Part, Text
from podsql.governance.people import who_may
from podsql.governance.projects import Card, project_cards
from podsql.governance.retention import retention
from podsql.governance.risks import Risk, risks
from podsql.policy.plain_words import plain_words
from podsql.times import iso

TO_DO = "TO DO"


class Dpia(msgspec.Struct, frozen=True, kw_only=True):
    """The draft. ``open`` lists what people still have to write."""

    pod: str
    at: str
    policy: str
    policy_hash: str
    projects: tuple[Card, ...]
    data: DataCard
    people: tuple[str, ...]
    parties: tuple[str, ...]
    retention_years: int
    measures: tuple[str, ...]
    risks: tuple[Risk, ...]
    officer: str
    open: tuple[str, ...]


def dpia(facts: Facts) -> Dpia:
    """The draft for this pod as it is now."""
    people = who_may(facts)
    officer = facts.declared.contacts.data_protection_officer
    cards = tuple(c for c in project_cards(facts).cards if c.status != "not described")
    missing = [] if officer else ["step 7: the data protection officer"]
    missing += [] if cards else ["step 1: no project is described in governance.toml"]
    for card in cards:
        lacking = [
            words
            for words, value in (
                ("purpose", card.purpose),
                ("public benefit", card.public_benefit),
                ("lawful basis", card.lawful_basis),
                ("ethics reference", card.ethics),
                ("end date", card.ends),
            )
            if not value
        ]
        missing += [f"step 1 and 4: {what} of project {card.name}" for what in lacking]
    return Dpia(
        pod=facts.pod,
        at=iso(facts.now),
        policy=facts.policy.name,
        policy_hash=facts.policy_hash,
        projects=cards,
        data=data_card(facts),
        people=tuple(one.name for one in people.people if one.may_ask),
        parties=tuple(f"{p.name} ({p.role})" for p in facts.declared.parties),
        retention_years=retention(facts).audit_years,
        measures=plain_words(facts.policy),
        risks=risks(facts.policy, facts.services),
        officer=officer,
        open=(
            *missing,
            "step 3: consultation",
            "step 4: why no less intrusive way would do",
            "step 5: likelihood and severity of each risk",
            "step 7: decision and signatures",
        ),
    )


def page(found: Dpia) -> Page:
    """For people."""
    return Page(
        f"DPIA draft for pod {found.pod}",
        (
            Text(
                f"Written by podsql on {found.at} from the pod's own files. A draft: {TO_DO} marks what people must write."
            ),
            Items(found.open),
            Heading("Step 1: Identify the need for a DPIA"),
            Text(
                "Personal data are analysed by people outside the custodian's own team, without leaving the"
                " custodian: statements travel to the data, and only what the policy lets leave comes back."
            ),
            *_projects(found),
            Heading("Step 2: Describe the processing"),
            *_processing(found),
            Heading("Step 3: Consultation"),
            Text(
                f"{TO_DO}: who was asked (people in the data, information security, processors), and what they said."
            ),
            Heading("Step 4: Necessity and proportionality"),
            *_necessity(found),
            Heading("Step 5: Identify and assess risks"),
            _risks(found),
            Heading("Step 6: Measures to reduce risk"),
            Text("The policy the pod enforces, clause by clause:"),
            Items(found.measures),
            Heading("Step 7: Sign off and record outcomes"),
            Pairs(
                {
                    "measures approved by": TO_DO,
                    "residual risks approved by": TO_DO,
                    "data protection officer": found.officer or TO_DO,
                    "advice, and whether it was followed": TO_DO,
                    "consultation reviewed by": TO_DO,
                    "kept under review by": TO_DO,
                    "policy digest": found.policy_hash,
                }
            ),
        ),
    )


def _projects(found: Dpia) -> tuple[Part, ...]:
    rows = tuple(
        (c.title or c.name, c.purpose or TO_DO, c.public_benefit or TO_DO, c.status)
        for c in found.projects
    )
    return (
        Grid(
            ("project", "purpose", "benefit", "status"),
            rows,
            none=f"{TO_DO}: no project is described",
        ),
    )


def _processing(found: Dpia) -> tuple[Part, ...]:
    tables = tuple(
        (
            one.table,
            one.description or TO_DO,
            one.sensitivity or TO_DO,
            one.privacy_unit or "none",
            ", ".join(column.name for column in one.columns) or "none",
            one.release,
        )
        for one in found.data.tables
    )
    return (
        Text(
            "Nature: signed statements are judged by the pod before anything runs, run in a sandbox beside the data, and only figures, noisy figures or named rows leave, each under the rules of step 6."
        ),
        Grid(
            ("table", "what it is", "sensitivity", "person", "columns in use", "what leaves"),
            tables,
        ),
        Pairs(
            {
                "who asks": ", ".join(found.people) or "nobody now",
                "parties": ", ".join(found.parties) or TO_DO,
                "kept": f"the audit log {found.retention_years} years; podsql audit retention lists the rest",
                "data flow": "podsql audit infosec --svg flow.svg",
                "number of people concerned, and how they are told": TO_DO,
            }
        ),
    )


def _necessity(found: Dpia) -> tuple[Part, ...]:
    rows = tuple(
        (c.title or c.name, c.lawful_basis or TO_DO, c.ethics or TO_DO, c.ends or TO_DO)
        for c in found.projects
    )
    return (
        Grid(
            ("project", "lawful basis", "ethics", "until"),
            rows,
            none=f"{TO_DO}: no project is described",
        ),
        Text(
            f"Minimisation: columns that the policy does not list do not exist for analysts. Rights of people: opting out (podsql audit opt-out). Less intrusive ways: {TO_DO}."
        ),
    )


def _risks(found: Dpia) -> Part:
    rows = tuple((r.who, r.risk, TO_DO, TO_DO, r.measure, r.here, r.left) for r in found.risks)
    names = ("source", "risk", "likelihood", "severity", "measure", "at this pod", "what is left")
    return Grid(names, rows)
