"""What holds for a whole federation at its policy service.

``frozen:POD`` (or ``frozen:*``) stops every decision; ``two_person`` asks for two approvals;
``projects_required`` refuses requests under a project that nobody registered.
"""

import sqlite3
from typing import Final

from podsql.errors import error
from podsql.policy.service.database import Database

SWITCHES: Final = {
    "two_person": "a grant and the release of a held result need two people",
    "projects_required": "only registered projects may be named in a request",
}
FROZEN: Final = "frozen:"


def switched(database: Database, name: str) -> bool:
    """Whether a switch is on."""
    return bool(database.read("SELECT 1 FROM settings WHERE name = ? AND value = 'on'", name))


def switch(db: sqlite3.Connection, name: str, on: bool) -> None:
    """Turn a switch; ARGUMENT if there is none of that name."""
    if name not in SWITCHES:
        raise error("ARGUMENT", f"no setting {name!r}", hint=f"one of {', '.join(SWITCHES)}")
    _put(db, name, "on" if on else "")


def freeze(db: sqlite3.Connection, pod: str, reason: str) -> None:
    """Stop ``pod`` (or ``*``) until ``thaw``."""
    _put(db, FROZEN + pod, reason)


def thaw(db: sqlite3.Connection, pod: str) -> bool:
    """Let it go on; False if it was not frozen."""
    done = db.execute("DELETE FROM settings WHERE name = ?", (FROZEN + pod,))
    return done.rowcount > 0


def frozen(database: Database) -> dict[str, str]:
    """Reason by name of a frozen pod; ``*`` is all of them."""
    rows = database.read("SELECT name, value FROM settings WHERE name GLOB 'frozen:*'")
    return {row["name"].removeprefix(FROZEN): row["value"] for row in rows}


def _put(db: sqlite3.Connection, name: str, value: str) -> None:
    if value:
        db.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
    else:
        db.execute("DELETE FROM settings WHERE name = ?", (name,))
