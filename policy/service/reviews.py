"""Results that wait for a second person ("two checkers") before their pod hands them out.

The service knows of a held result who asked, its size and its hash; what it says stays in the pod,
where the custodian reads it. Rule to keep: a release is bound to that hash.
"""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from podsql.errors import error
from podsql.policy.service.database import Database, Row

State = Literal["waiting", "released", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A held result. ``id`` is the pod's; ``size`` in bytes; times ms since the epoch."""

    id: str
    pod: str
    analyst: bytes
    purpose: str
    project: str
    tables: tuple[str, ...]
    release: str
    rows: int
    withheld: int
    size: int
    columns: int
    query_hash: bytes
    result_hash: bytes
    created: int
    state: State = "waiting"
    first_by: str = ""
    decided_by: str = ""
    decided: int | None = None
    note: str = ""
    name: str = ""
    """The analyst's, where it is known."""


def hold(db: sqlite3.Connection, review: Review) -> None:
    """Write a held result; the same one again changes nothing."""
    db.execute(
        "INSERT INTO reviews (id, pod, analyst, purpose, project, tables, release, rows, withheld,"
        " size, columns, query_hash, result_hash, created, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT (id) DO NOTHING",
        (
            review.id,
            review.pod,
            review.analyst,
            review.purpose,
            review.project,
            "\n".join(review.tables),
            review.release,
            review.rows,
            review.withheld,
            review.size,
            review.columns,
            review.query_hash,
            review.result_hash,
            review.created,
        ),
    )


def seen_once(db: sqlite3.Connection, ident: str, *, actor: str) -> None:
    """The first of two people releases."""
    db.execute("UPDATE reviews SET first_by = ? WHERE id = ?", (actor, ident))


def close(
    db: sqlite3.Connection, ident: str, state: State, *, actor: str, now: int, note: str
) -> None:
    """Release or refuse; CONFLICT if that was done before."""
    done = db.execute(
        "UPDATE reviews SET state = ?, decided_by = ?, decided = ?, note = ?"
        " WHERE id = ? AND state = 'waiting'",
        (state, actor, now, note, ident),
    )
    if not done.rowcount:
        raise error("CONFLICT", f"result {ident!r} does not wait any more")


def reviews(database: Database, *, state: State | None = None, limit: int = 200) -> list[Review]:
    """Held results, newest first."""
    return _read(
        database,
        "WHERE ? IS NULL OR r.state = ? ORDER BY r.created DESC LIMIT ?",
        state,
        state,
        limit,
    )


def one_review(database: Database, ident: str) -> Review | None:
    """The held result of an id."""
    found = _read(database, "WHERE r.id = ?", ident)
    return found[0] if found else None


def _read(database: Database, where: str, *values: object) -> list[Review]:
    rows = database.read(
        "SELECT r.*, coalesce(p.name, '') AS name FROM reviews r"
        f" LEFT JOIN people p ON p.identity = r.analyst {where}",
        *values,
    )
    return [_review(row) for row in rows]


def _review(row: Row) -> Review:
    values = {name: row[name] for name in Review.__slots__}
    values["tables"] = tuple(row["tables"].split("\n"))
    return Review(**values)
