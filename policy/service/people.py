"""People and projects as the custodians know them: until when each may ask.

A person is a key (a name alone is no proof). Nobody has to be registered: a grant registers its
analyst, and a project without an entry has no end of its own.
"""

import sqlite3
from dataclasses import dataclass

from podsql.errors import error
from podsql.policy.service.database import Database, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A person. Times are ms since the epoch; ``ended``: off-boarded."""

    identity: bytes
    name: str
    organisation: str
    contact: str
    trained_until: int | None
    ended: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: why, on what basis, until when (ms since the epoch)."""

    name: str
    title: str
    purpose: str
    lawful_basis: str
    ethics: str
    ends: int
    created: int = 0
    closed: int | None = None

    def over(self, now: int) -> bool:
        """Whether nothing may be asked under it any more."""
        return self.closed is not None or self.ends <= now


def know(db: sqlite3.Connection, identity: bytes, name: str) -> None:
    """Have an entry for a key; ARGUMENT if its owner was off-boarded."""
    row = db.execute("SELECT ended FROM people WHERE identity = ?", (identity,)).fetchone()
    if row is not None and row["ended"] is not None:
        raise error(
            "ARGUMENT",
            f"{name!r} was off-boarded",
            hint="a person who returns joins with a new key",
        )
    db.execute(
        "INSERT INTO people (identity, name) VALUES (?, ?)"
        " ON CONFLICT (identity) DO UPDATE SET name = excluded.name",
        (identity, name),
    )


def describe(
    db: sqlite3.Connection,
    identity: bytes,
    *,
    organisation: str,
    contact: str,
    trained_until: int | None,
) -> None:
    """Write what is known of a person; ARGUMENT if there is none."""
    done = db.execute(
        "UPDATE people SET organisation = ?, contact = ?, trained_until = ? WHERE identity = ?",
        (organisation, contact, trained_until, identity),
    )
    if not done.rowcount:
        raise _nobody()


def end(db: sqlite3.Connection, identity: bytes, *, actor: str, now: int) -> int:
    """Off-board: end the person, every grant and every open request; how many grants ended."""
    done = db.execute(
        "UPDATE people SET ended = ? WHERE identity = ? AND ended IS NULL", (now, identity)
    )
    if not done.rowcount:
        raise _nobody()
    db.execute(
        "UPDATE requests SET state = 'refused', decided_by = ?, decided = ?, note = 'off-boarded'"
        " WHERE analyst = ? AND state = 'open'",
        (actor, now, identity),
    )
    ended = db.execute(
        "UPDATE grants SET revoked = ?, revoked_by = ? WHERE analyst = ? AND revoked IS NULL",
        (now, actor, identity),
    )
    return ended.rowcount


def people(database: Database) -> list[Registered]:
    """Everybody, by name."""
    return [_person(row) for row in database.read("SELECT * FROM people ORDER BY name, identity")]


def person(database: Database, identity: bytes) -> Registered | None:
    """The entry of a key."""
    rows = database.read("SELECT * FROM people WHERE identity = ?", identity)
    return _person(rows[0]) if rows else None


def set_project(db: sqlite3.Connection, project: Project, now: int) -> None:
    """Register a project, or write its entry anew (which also opens a closed one)."""
    if not project.name.strip() or "*" in project.name:
        raise error("ARGUMENT", "a project needs a name without '*'")
    db.execute(
        "INSERT INTO projects VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET"
        " title = excluded.title, purpose = excluded.purpose, ends = excluded.ends,"
        " lawful_basis = excluded.lawful_basis, ethics = excluded.ethics, closed = NULL",
        (
            project.name,
            project.title,
            project.purpose,
            project.lawful_basis,
            project.ethics,
            project.ends,
            now,
        ),
    )


def close_project(db: sqlite3.Connection, name: str, now: int) -> None:
    """End a project today; ARGUMENT if there is none that runs."""
    done = db.execute(
        "UPDATE projects SET closed = ? WHERE name = ? AND closed IS NULL", (now, name)
    )
    if not done.rowcount:
        raise error("ARGUMENT", f"no project {name!r} is open")


def projects(database: Database) -> list[Project]:
    """Every project, by name."""
    return [
        Project(
            name=row["name"],
            title=row["title"],
            purpose=row["purpose"],
            lawful_basis=row["lawful_basis"],
            ethics=row["ethics"],
            ends=row["ends"],
            created=row["created"],
            closed=row["closed"],
        )
        for row in database.read("SELECT * FROM projects ORDER BY name")
    ]


def _person(row: Row) -> Registered:
    return Registered(
        identity=row["identity"],
        name=row["name"],
        organisation=row["organisation"],
        contact=row["contact"],
        trained_until=row["trained_until"],
        ended=row["ended"],
    )


def _nobody() -> Exception:
    return error("ARGUMENT", "no such person is active here", hint="podsql policy person")
