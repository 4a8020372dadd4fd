"""Row 14: the opt-out statement: that lists are applied, since when, and what they do not undo."""

import msgspec

from podsql.governance.facts import Facts
from podsql.governance.pages import Grid, Items, Page, Text
from podsql.times import iso


class List(msgspec.Struct, frozen=True, kw_only=True):
    """The list of one table."""

    table: str
    listed: bool
    privacy_unit: str
    units: int | None
    changed: str
    applied: str
    """When the pod first took a snapshot after that change; empty: not yet, and nothing is answered."""


class OptOuts(msgspec.Struct, frozen=True, kw_only=True):
    """Every federated table, with its list or without."""

    pod: str
    at: str
    data_version: str
    tables: tuple[List, ...]
    words: tuple[str, ...]


_WORDS = (
    "Rows of a listed unit are left out when the snapshot is built, from the table and from every view of it.",
    "A changed list is noticed before the next statement; that statement waits for a new snapshot, which has another data version.",
    "Tables that were released before stay as they were: they cannot be called back, and noise or thresholds do not single the unit out of them.",
    "Each table has its own list; a unit that opts out of everything stands in each.",
    "A superseded snapshot is removed when no statement can still run on it; copies in backups are the custodian's to remove.",
)


def opt_outs(facts: Facts) -> OptOuts:
    """The statement."""
    taken = [e for e in facts.log.entries if e.event in ("start", "data")]

    def applied(changed: int | None) -> str:
        if changed is None:
            return ""
        return next((iso(e.time) for e in taken if e.time >= changed), "")

    return OptOuts(
        pod=facts.pod,
        at=iso(facts.now),
        data_version=taken[-1].data_version if taken else "",
        tables=tuple(
            List(
                table=table.name,
                listed=table.opt_out is not None,
                privacy_unit=table.privacy_unit or "",
                units=table.opt_out.units if table.opt_out else None,
                changed=iso(table.opt_out.changed)
                if table.opt_out and table.opt_out.changed is not None
                else "",
                applied=applied(table.opt_out.changed) if table.opt_out else "",
            )
            for table in facts.tables
            if table.kind == "federated" and table.mode != "view"
        ),
        words=_WORDS,
    )


def page(found: OptOuts) -> Page:
    """For people."""
    rows = tuple(
        (
            one.table,
            one.privacy_unit or "none",
            "none"
            if not one.listed
            else "cannot be read"
            if one.units is None
            else f"{one.units} units",
            one.changed or "never",
            (one.applied or "not yet: nothing is answered until it is")
            if one.listed
            else "nothing to apply",
        )
        for one in found.tables
    )
    return Page(
        f"Opting out at pod {found.pod}",
        (
            Text(f"As of {found.at}, data version {found.data_version or 'none'}."),
            Grid(("table", "unit", "list", "changed", "applied"), rows),
            Items(found.words),
        ),
    )
