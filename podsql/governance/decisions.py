"""Row 8: the decision log: what was asked, allowed or not, by which rule, in words."""

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Code, Grid, Heading, Page, Part, Text
from podsql.governance.reasons import in_words
from podsql.governance.selecting import ASKED, Selection
from podsql.policy.audit import Entry
from podsql.times import iso


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision."""

    time: str
    kind: str
    """``query``, or ``explain`` for a dry run."""
    decision: str
    rule: str
    meaning: str
    person: str
    fingerprint: str
    modeller: str
    """Who asked in that person's place, if somebody did."""
    purpose: str
    project: str
    tables: tuple[str, ...]
    release: str
    rows: int
    withheld: int
    policy_hash: str
    data_version: str
    request_id: str
    statement: str


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions in order; the oldest are left out where there are more than ``limit``."""

    pod: str
    at: str
    about: str
    total: int
    allowed: int
    denied: int
    by_rule: dict[str, int]
    decisions: tuple[Decided, ...]


def decision_log(
    facts: Facts, selection: Selection = Selection(), *, limit: int = 100
) -> Decisions:
    """The decisions that ``selection`` holds; the last ``limit`` in full."""
    asked = [entry for entry in selection.of(facts.log.entries) if entry.event in ASKED]
    rules: dict[str, int] = {}
    for entry in asked:
        if entry.reason:
            rules[entry.reason] = rules.get(entry.reason, 0) + 1
    return Decisions(
        pod=facts.pod,
        at=iso(facts.now),
        about=selection.in_words(),
        total=len(asked),
        allowed=sum(entry.decision == "allow" for entry in asked),
        denied=sum(entry.decision != "allow" for entry in asked),
        by_rule=dict(sorted(rules.items())),
        decisions=tuple(map(decided, asked[-limit:] if limit else ())),
    )


def decided(entry: Entry) -> Decided:
    """One line of the log as a decision."""
    return Decided(
        time=iso(entry.time),
        kind=entry.event,
        decision=_decision(entry),
        rule=entry.reason,
        meaning=in_words(entry.reason),
        person=entry.analyst,
        fingerprint=entry.fingerprint,
        modeller=entry.asked_by,
        purpose=entry.purpose,
        project=entry.project,
        tables=entry.tables,
        release=entry.release,
        rows=entry.rows,
        withheld=entry.withheld,
        policy_hash=entry.policy_hash,
        data_version=entry.data_version,
        request_id=entry.request_id,
        statement=entry.statement,
    )


def _decision(entry: Entry) -> str:
    return {"allow": "allowed", "deny": "denied", "none": "allowed, then ended"}[entry.decision]


def page(found: Decisions) -> Page:
    """For people."""
    rules = tuple((rule, str(count), in_words(rule)) for rule, count in found.by_rule.items())
    parts: list[Part] = [
        Text(
            f"As of {found.at}, about {found.about}: {found.total} decisions, {found.allowed} allowed,"
            f" {found.denied} not."
        ),
        Grid(("rule", "times", "meaning"), rules, none="no rule refused anything"),
    ]
    for one in found.decisions:
        what = "dry run" if one.kind == "explain" else "statement"
        why = f" by rule {one.rule} ({one.meaning})" if one.rule else ""
        asked_by = f" by modeller {one.modeller}" if one.modeller else ""
        who = f"{one.person}{asked_by}, purpose {one.purpose or 'none'}, project {one.project or 'none'}"
        left = (
            f" {one.rows} rows left, {one.withheld} groups withheld."
            if one.decision == "allowed" and one.kind == "query"
            else ""
        )
        parts += [
            Heading(f"{one.time} {what} {one.decision}{why}"),
            Text(
                f"{who}. Tables: {', '.join(one.tables) or 'none'}. Policy {one.policy_hash[:16]}.{left}"
            ),
            Code(one.statement, "sql"),
        ]
    return Page(f"Decisions of pod {found.pod}", tuple(parts))
