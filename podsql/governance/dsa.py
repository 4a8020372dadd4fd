"""Row 7: the annex of a data sharing agreement: parties, purposes, columns, how answers leave.

Signed with the pod's key, the annex ties the words to the policy's digest, which stands on every line
of the audit. The pod's key shows which pod wrote it; hands sign the agreement itself.
"""

from typing import Final

import msgspec

from podsql.governance.data_card import DataCard, data_card
from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Heading, Items, Page, Pairs, Text
from podsql.governance.plain import modes
from podsql.governance.retention import retention
from podsql.policy.plain_words import on_totals, plain_words
from podsql.times import iso

KIND: Final = "dsa-annex"
_LOCAL: Final = (
    "Totals over several pods: none of the tables is released on the total of all pods (sdc_merged)."
    " Where that is agreed one day, each custodian is told totals over the others' small groups, and this annex"
    " has to say so."
)
_MERGED: Final = (
    "Totals over several pods: tables are released on the total of all pods (sdc_merged). So each custodian's"
    " pod is told how many people of all pods together are behind each group that is asked for, also of groups"
    " that are too small to leave, and by how many people groups differ; of each pod a few count at"
    " most. The custodians agree to this, keep it to themselves, declare truthfully that nobody is in two"
    " pods, and rely on each other's numbers: a pod that lies, or tells an analyst what it is told, is not found out."
)


class Annex(msgspec.Struct, frozen=True, kw_only=True):
    """The annex."""

    pod: str
    at: str
    fingerprint: str
    federation: str
    policy: str
    policy_hash: str
    valid_from: str
    valid_until: str
    parties: tuple[dict[str, str], ...]
    purposes: tuple[str, ...]
    projects: dict[str, str]
    modes: dict[str, str]
    merged_clause: str
    data: DataCard
    terms: tuple[str, ...]
    retention_years: int
    results: str
    breach: str
    officer: str


def annex(facts: Facts) -> Annex:
    """The annex for the policy as it is now."""
    kept = retention(facts)
    valid, contacts = facts.policy.valid, facts.declared.contacts
    return Annex(
        pod=facts.pod,
        at=iso(facts.now),
        fingerprint=(facts.network.fingerprint or "") if facts.network else "",
        federation=facts.network.federation_fingerprint if facts.network else "",
        policy=facts.policy.name,
        policy_hash=facts.policy_hash,
        valid_from=valid.from_.isoformat() if valid.from_ else "",
        valid_until=valid.until.isoformat() if valid.until else "",
        parties=tuple(
            {"name": p.name, "role": p.role, "address": p.address, "contact": p.contact}
            for p in facts.declared.parties
        ),
        purposes=facts.policy.purposes,
        projects={name: p.purpose for name, p in facts.declared.projects.items()},
        modes=modes(facts.policy),
        merged_clause=_MERGED if on_totals(facts.policy) else _LOCAL,
        data=data_card(facts),
        terms=plain_words(facts.policy),
        retention_years=kept.audit_years,
        results=facts.declared.retention.results,
        breach=contacts.breach,
        officer=contacts.data_protection_officer,
    )


def page(found: Annex) -> Page:
    """For people."""
    parties = tuple((p["name"], p["role"], p["address"], p["contact"]) for p in found.parties)
    columns = tuple(
        (one.table, column.name, "every role" if column.roles is None else ", ".join(column.roles))
        for one in found.data.tables
        for column in one.columns
    )
    purposes = "any" if "*" in found.purposes else ", ".join(found.purposes)
    return Page(
        f"Annex to the data sharing agreement: pod {found.pod}",
        (
            Pairs(
                {
                    "written": found.at,
                    "pod's key": found.fingerprint,
                    "federation's key": found.federation,
                    "policy": found.policy,
                    "policy digest (BLAKE2b-256)": found.policy_hash,
                    "in force": f"{found.valid_from or 'at once'} to {found.valid_until or 'no end'}",
                }
            ),
            Heading("Parties"),
            Grid(
                ("name", "role", "address", "contact"),
                parties,
                none="not stated: [[parties]] of governance.toml",
            ),
            Heading("Purposes"),
            Text(f"Statements must give one of these purposes: {purposes}."),
            Grid(
                ("project", "purpose"),
                tuple((n, p or "not stated") for n, p in found.projects.items()),
                none="no project is described",
            ),
            Heading("Data"),
            Grid(("table", "column", "may be used as"), columns),
            Heading("How answers leave"),
            Grid(
                ("table", "what leaves"),
                tuple(("every other" if n == "*" else n, w) for n, w in found.modes.items()),
            ),
            Text(found.merged_clause),
            Heading("Terms, as the pod enforces them"),
            Items(found.terms),
            Heading("Retention and breaches"),
            Pairs(
                {
                    "audit log": f"{found.retention_years} years",
                    "released tables": found.results,
                    "tell of a breach": found.breach,
                    "data protection officer": found.officer,
                }
            ),
        ),
    )
