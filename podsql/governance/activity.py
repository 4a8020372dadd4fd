"""Row 11: who ran what: by person, project, dataset or month, from a log that an auditor can verify."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Page, Pairs, Text
from podsql.governance.selecting import Selection, answered
from podsql.policy.audit import Entry
from podsql.times import iso

By = Literal["person", "project", "dataset", "month"]
WAYS: tuple[By, ...] = get_args(By)


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What one person (project, dataset, month) stands for."""

    key: str
    statements: int
    answered: int
    refused: int
    rows: int
    withheld: int
    bytes: int
    people: int
    first: str
    last: str


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over statements; dry runs are not among them. ``whole``: the chain verifies."""

    pod: str
    at: str
    about: str
    by: By
    whole: bool
    fault: str
    lines: int
    pruned: int
    head: str
    ran: tuple[Ran, ...]


def activity(facts: Facts, by: By = "person", selection: Selection = Selection()) -> Activity:
    """Statements that ``selection`` holds, counted ``by``. One over two tables counts at both."""
    groups: dict[str, list[Entry]] = {}
    for entry in selection.of(facts.log.entries):
        if entry.event == "query":
            for key in _keys(entry, by):
                groups.setdefault(key, []).append(entry)
    return Activity(
        pod=facts.pod,
        at=iso(facts.now),
        about=selection.in_words(),
        by=by,
        whole=not facts.log.fault,
        fault=facts.log.fault,
        lines=facts.log.count,
        pruned=facts.log.removed,
        head=facts.log.head,
        ran=tuple(_ran(key, groups[key]) for key in sorted(groups)),
    )


def month(time: int) -> str:
    """``2026-01`` of a time (ms)."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m")


def _keys(entry: Entry, by: By) -> Iterable[str]:
    if by == "person":
        return (f"{entry.analyst} {entry.fingerprint[:12]}",)
    if by == "project":
        return (entry.project or "(none)",)
    if by == "month":
        return (month(entry.time),)
    return entry.tables or ("(none)",)


def _ran(key: str, entries: list[Entry]) -> Ran:
    gone = [entry for entry in entries if answered(entry)]
    return Ran(
        key=key,
        statements=len(entries),
        answered=len(gone),
        refused=len(entries) - len(gone),
        rows=sum(entry.rows for entry in gone),
        withheld=sum(entry.withheld for entry in gone),
        bytes=sum(entry.bytes for entry in gone),
        people=len({entry.fingerprint for entry in entries}),
        first=iso(entries[0].time),
        last=iso(entries[-1].time),
    )


def page(found: Activity) -> Page:
    """For people."""
    rows = tuple(
        tuple(
            map(
                str,
                (
                    one.key,
                    one.statements,
                    one.answered,
                    one.refused,
                    one.rows,
                    one.withheld,
                    one.bytes,
                    one.people,
                    one.first,
                    one.last,
                ),
            )
        )
        for one in found.ran
    )
    columns = (
        found.by,
        "statements",
        "answered",
        "refused",
        "rows out",
        "withheld",
        "bytes out",
        "people",
        "first",
        "last",
    )
    return Page(
        f"Who ran what at pod {found.pod}, by {found.by}",
        (
            Text(f"As of {found.at}, about {found.about}."),
            Pairs(
                {
                    "log": "whole: every link of its chain holds"
                    if found.whole
                    else f"NOT WHOLE: {found.fault}",
                    "lines": f"{found.lines}, of which {found.pruned} left by pruning",
                    "head": found.head,
                    "check it": "podsql audit verify --head HEAD-KEPT-ELSEWHERE",
                }
            ),
            Grid(columns, rows, none="no statement"),
        ),
    )
