"""Row 13: the incident pack: is the pod frozen, what left that may be concerned, whom to call."""

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.outputs import Output, output_report
from podsql.governance.pages import Grid, Heading, Items, Page, Pairs, Part, Text
from podsql.governance.selecting import Selection, answered
from podsql.times import iso

LATEST = 500


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever handles an incident needs first."""

    pod: str
    at: str
    about: str
    state: str
    """``running``, ``frozen since …`` or ``stopped since …``, as the log has it."""
    log_whole: bool
    log_fault: str
    head: str
    contacts: dict[str, str]
    releases: tuple[Output, ...]
    left_out: int
    people: tuple[str, ...]
    data_versions: tuple[str, ...]
    refused: int
    next_steps: tuple[str, ...]


def incident_pack(
    facts: Facts, selection: Selection = Selection(), *, limit: int = LATEST
) -> Incident:
    """All releases that ``selection`` holds (the last ``limit``), and the state of the pod."""
    asked = [e for e in selection.of(facts.log.entries) if e.event == "query"]
    gone = [e for e in asked if answered(e)]
    contacts = facts.declared.contacts
    return Incident(
        pod=facts.pod,
        at=iso(facts.now),
        about=selection.in_words(),
        state=state_of(facts),
        log_whole=not facts.log.fault,
        log_fault=facts.log.fault,
        head=facts.log.head,
        contacts={
            "breach": contacts.breach,
            "data protection officer": contacts.data_protection_officer,
            "information security": contacts.information_security,
        },
        releases=tuple(output_report(facts, entry) for entry in gone[-limit:]),
        left_out=max(0, len(gone) - limit),
        people=tuple(sorted({e.analyst for e in gone})),
        data_versions=tuple(sorted({e.data_version for e in gone})),
        refused=len(asked) - len(gone),
        next_steps=_STEPS,
    )


_STEPS = (
    "Freeze: podsql pod pause (new statements are refused until podsql pod resume), or at the policy"
    " service (running ones end too; only a thaw there ends it).",
    "Take one person out at once: podsql federation revoke NAME, at the convener; or out of policy.toml, and podsql pod reload.",
    "Keep the proof: podsql audit head, and send the line to somebody else; copy the state directory.",
    "Tables that were released cannot be called back; the hash of each shows which one an analyst holds.",
    "A person in the data cannot be looked up here: take every release over the tables and data versions that held them.",
)


def state_of(facts: Facts) -> str:
    """Running, frozen or stopped: by the last line that says so."""
    words = {
        "pause": "frozen since",
        "stop": "stopped since",
        "start": "running since",
        "resume": "running since",
        "thawed": "running since",
    }
    frozen = [entry for entry in facts.log.entries if entry.event in ("frozen", "thawed")]
    if frozen and frozen[-1].event == "frozen":
        return f"frozen since {iso(frozen[-1].time)}"  # no restart ends it
    for entry in reversed(facts.log.entries):
        if entry.event in words:
            return f"{words[entry.event]} {iso(entry.time)}"
    return "never started"


def page(found: Incident) -> Page:
    """For people."""
    more = f", and {found.left_out} earlier ones" if found.left_out else ""
    parts: list[Part] = [
        Text(f"As of {found.at}, about {found.about}."),
        Pairs(
            {
                "pod": found.state,
                "log": "whole" if found.log_whole else f"NOT WHOLE: {found.log_fault}",
                "head of the log": found.head,
                "releases concerned": f"{len(found.releases)}{more}",
                "to": ", ".join(found.people) or "nobody",
                "data versions": ", ".join(found.data_versions) or "none",
                "refused beside them": str(found.refused),
                **{f"contact: {what}": whom for what, whom in found.contacts.items()},
            }
        ),
        Heading("What to do"),
        Items(found.next_steps),
        Heading("Releases"),
        Grid(
            (
                "time",
                "person",
                "purpose",
                "project",
                "tables",
                "rows",
                "withheld",
                "result",
                "statement",
            ),
            tuple(
                (
                    one.time,
                    one.person,
                    one.purpose or "none",
                    one.project or "none",
                    ", ".join(one.tables),
                    str(one.rows),
                    str(one.groups_withheld),
                    one.result_hash[:16],
                    one.statement,
                )
                for one in found.releases
            ),
            none="nothing left",
        ),
    ]
    return Page(f"Incident pack of pod {found.pod}", tuple(parts))
