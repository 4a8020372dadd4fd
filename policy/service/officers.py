"""Who may act at the policy service: officers, by role.

``viewer`` reads; ``approver`` also grants, revokes, freezes, reviews; ``admin`` also keeps officers,
people, projects and settings. How officers prove who they are is ``accounts``.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from podsql.errors import Error, error
from podsql.policy.service.database import Database, Row

Role = Literal["viewer", "approver", "admin"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "approver", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Officer:
    """One of them. ``identity``: the federation key that signs his orders in SQL, if any."""

    name: str
    role: Role
    identity: bytes | None = None
    oidc: str = ""
    """Subject at the single sign-on provider (``issuer subject``), if any."""
    ended: int | None = None

    def require(self, role: Role) -> None:
        """DENIED unless the officer's role is ``role`` or more."""
        if self.ended is not None or ROLES.index(self.role) < ROLES.index(role):
            raise error("DENIED", f"this needs the role {role}", hint="ask an administrator")


CONSOLE: Final = Officer(name="console", role="admin")
"""Whoever may write the service's files on its own machine."""


def add(db: sqlite3.Connection, officer: Officer, now: int) -> None:
    """Write a new officer; CONFLICT if the name is or was taken."""
    if not officer.name.strip() or len(officer.name) > 64 or not officer.name.isprintable():
        raise error("ARGUMENT", "an officer needs a name of 1 to 64 characters")
    if officer.role not in ROLES:
        raise error("ARGUMENT", f"unknown role {officer.role!r}", hint=f"one of {', '.join(ROLES)}")
    if (
        officer.name == CONSOLE.name
        or db.execute("SELECT 1 FROM officers WHERE name = ?", (officer.name,)).fetchone()
    ):
        raise error("CONFLICT", f"an officer {officer.name!r} is or was here already")
    _require_own_key(db, officer.name, officer.identity)
    db.execute(
        "INSERT INTO officers (name, role, identity, oidc, created) VALUES (?, ?, ?, ?, ?)",
        (officer.name, officer.role, officer.identity, officer.oidc, now),
    )


def end(db: sqlite3.Connection, name: str, now: int) -> None:
    """End an officer and every way in; the last administrator stays."""
    admins = _admins(db)
    done = db.execute(
        "UPDATE officers SET ended = ?, password = '' WHERE name = ? AND ended IS NULL", (now, name)
    )
    if not done.rowcount:
        raise unknown(name)
    for table in ("sessions", "passkeys", "links"):
        db.execute(f"DELETE FROM {table} WHERE officer = ?", (name,))
    _require_admin(db, admins)


def change(
    db: sqlite3.Connection, name: str, *, role: Role, identity: bytes | None, oidc: str
) -> None:
    """Give an officer another role, key or sign-on; the last administrator stays one."""
    if role not in ROLES:
        raise error("ARGUMENT", f"unknown role {role!r}", hint=f"one of {', '.join(ROLES)}")
    _require_own_key(db, name, identity)
    admins = _admins(db)
    done = db.execute(
        "UPDATE officers SET role = ?, identity = ?, oidc = ? WHERE name = ? AND ended IS NULL",
        (role, identity, oidc, name),
    )
    if not done.rowcount:
        raise unknown(name)
    _require_admin(db, admins)


def officers(database: Database) -> list[Officer]:
    """Everybody, by name; ended ones too."""
    return [_officer(row) for row in database.read("SELECT * FROM officers ORDER BY name")]


def by_name(database: Database, name: str) -> Officer | None:
    """The active officer of a name."""
    rows = database.read("SELECT * FROM officers WHERE name = ? AND ended IS NULL", name)
    return _officer(rows[0]) if rows else None


def by_identity(database: Database, identity: bytes) -> Officer | None:
    """The active officer whose federation key this is."""
    rows = database.read("SELECT * FROM officers WHERE identity = ? AND ended IS NULL", identity)
    return _officer(rows[0]) if rows else None


def unknown(name: str) -> Error:
    """No active officer has that name."""
    return error("ARGUMENT", f"no officer {name!r} is active here")


def _admins(db: sqlite3.Connection) -> int:
    (found,) = db.execute(
        "SELECT count(*) FROM officers WHERE role = 'admin' AND ended IS NULL"
    ).fetchone()
    return int(found)


def _require_admin(db: sqlite3.Connection, before: int) -> None:
    """Where there was an administrator, one is left."""
    if before and not _admins(db):
        raise error("CONFLICT", "one administrator must stay", hint="make another one first")


def _require_own_key(db: sqlite3.Connection, name: str, identity: bytes | None) -> None:
    """Two officers with one key would be one person who counts as two."""
    if identity is None:
        return
    taken = db.execute(
        "SELECT name FROM officers WHERE identity = ? AND name != ? AND ended IS NULL",
        (identity, name),
    ).fetchone()
    if taken:
        raise error("CONFLICT", f"this key is that of officer {taken['name']!r}")


def _officer(row: Row) -> Officer:
    return Officer(
        name=row["name"],
        role=row["role"],
        identity=row["identity"],
        oidc=row["oidc"],
        ended=row["ended"],
    )
