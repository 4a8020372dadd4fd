"""Requests for access: asked by an analyst, approved by one person or two, or refused."""

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from podsql.errors import error
from podsql.policy.service.database import Database, Row
from podsql.service_messages import Grant

State = Literal["open", "approved", "refused", "withdrawn"]
OPEN_PER_PERSON: Final = 20
"""More open requests of one person are refused: somebody has to read them."""
REASON_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. ``wish`` is the grant that approval would give; ``first_by`` the first of two."""

    number: int
    name: str
    wish: Grant
    review: bool
    reason: str
    asked_by: str
    created: int
    state: State
    first_by: str
    decided_by: str
    decided: int | None
    note: str
    grant_id: str


def ask(
    db: sqlite3.Connection, wish: Grant, *, review: bool, reason: str, asked_by: str, now: int
) -> int:
    """Write a request; its number. QUOTA if too many of this person are open."""
    (waiting,) = db.execute(
        "SELECT count(*) FROM requests WHERE analyst = ? AND state = 'open'", (wish.analyst,)
    ).fetchone()
    if waiting >= OPEN_PER_PERSON:
        raise error("QUOTA", "too many requests of this person wait for an answer")
    if len(reason) > REASON_LENGTH:
        raise error("ARGUMENT", f"a reason has at most {REASON_LENGTH} characters")
    done = db.execute(
        "INSERT INTO requests (analyst, pod, tables, purpose, project, release, review, until,"
        " reason, asked_by, created, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')",
        (
            wish.analyst,
            wish.pod,
            "\n".join(wish.tables),
            wish.purpose,
            wish.project,
            wish.release,
            review,
            wish.until,
            reason,
            asked_by,
            now,
        ),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def approved_once(db: sqlite3.Connection, number: int, *, actor: str) -> None:
    """The first of two people approves."""
    db.execute("UPDATE requests SET first_by = ? WHERE number = ?", (actor, number))


def close(
    db: sqlite3.Connection,
    number: int,
    state: State,
    *,
    actor: str,
    now: int,
    note: str = "",
    grant_id: str = "",
) -> None:
    """End an open request."""
    done = db.execute(
        "UPDATE requests SET state = ?, decided_by = ?, decided = ?, note = ?, grant_id = ?"
        " WHERE number = ? AND state = 'open'",
        (state, actor, now, note, grant_id, number),
    )
    if not done.rowcount:
        raise error("CONFLICT", f"request {number} is not open any more")


def requests(
    database: Database,
    *,
    state: State | None = None,
    analyst: bytes | None = None,
    limit: int = 200,
) -> list[Asked]:
    """Requests, newest first."""
    return _read(
        database,
        "WHERE (? IS NULL OR r.state = ?) AND (? IS NULL OR r.analyst = ?)"
        " ORDER BY number DESC LIMIT ?",
        state,
        state,
        analyst,
        analyst,
        limit,
    )


def one_request(database: Database, number: int) -> Asked:
    """The request of a number; ARGUMENT if there is none."""
    found = _read(database, "WHERE number = ?", number)
    if not found:
        raise error("ARGUMENT", f"no request {number}")
    return found[0]


def _read(database: Database, where: str, *values: object) -> list[Asked]:
    rows = database.read(
        f"SELECT r.*, p.name FROM requests r JOIN people p ON p.identity = r.analyst {where}",
        *values,
    )
    return [_asked(row) for row in rows]


def _asked(row: Row) -> Asked:
    return Asked(
        number=row["number"],
        name=row["name"],
        wish=Grant(
            grant_id="",
            analyst=row["analyst"],
            pod=row["pod"],
            tables=tuple(row["tables"].split("\n")),
            purpose=row["purpose"],
            project=row["project"],
            release=row["release"],
            since=row["created"],
            until=row["until"],
        ),
        review=bool(row["review"]),
        reason=row["reason"],
        asked_by=row["asked_by"],
        created=row["created"],
        state=row["state"],
        first_by=row["first_by"],
        decided_by=row["decided_by"],
        decided=row["decided"],
        note=row["note"],
        grant_id=row["grant_id"],
    )
