"""What holds after a restore: what holds in the backup *and* in the store that it goes back into.

Row by row, in one transaction of the current store. Rule to keep: nothing that one of the two took
away is given back; where the current store does not know a right, it counts as taken.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from podsql.policy.service.database import Database
from podsql.policy.service.officers import ROLES
from podsql.policy.service.settings import FROZEN, SWITCHES

ACTOR: Final = "restore"
Fields = dict[str, Any]
_TERMS: Final = (
    "analyst", "pod", "tables", "purpose", "project", "release", "since", "until", "review",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``keep``: the backup's word is enough for a grant that the current store does not know.

    ``believed``: the current store's history verifies, so that a grant in it is one that was given.
    """

    now: int
    keep: bool
    believed: bool


def reconcile(db: sqlite3.Connection, old: Database, rules: Rules) -> None:
    """Bring the backup's rows into ``db``, inside its transaction. History is not touched."""
    _people(db, old)
    _grants(db, old, rules)
    _projects(db, old, rules)
    _officers(db, old, rules)
    _settings(db, old)
    _requests(db, old)
    _end_left(db, rules)
    _reviews(db, old)
    for table, key in (("orders", "id"), ("pods", "name")):
        for before, now in _pairs(db, old, table, key):
            if now is None:
                _insert(db, table, before)
    if not db.execute("SELECT 1 FROM decisions LIMIT 1").fetchone():
        for row in old.read("SELECT * FROM decisions ORDER BY number"):
            _insert(db, "decisions", dict(row))


def _end_left(db: sqlite3.Connection, rules: Rules) -> None:
    """Who was off-boarded in one of the two has nothing of the other."""
    gone = "analyst IN (SELECT identity FROM people WHERE ended IS NOT NULL)"
    db.execute(
        f"UPDATE grants SET revoked = ?, revoked_by = ? WHERE revoked IS NULL AND {gone}",
        (rules.now, ACTOR),
    )
    db.execute(
        "UPDATE requests SET state = 'refused', decided = ?, decided_by = ?, note = 'off-boarded'"
        f" WHERE state = 'open' AND {gone}",
        (rules.now, ACTOR),
    )


def _people(db: sqlite3.Connection, old: Database) -> None:
    for before, now in _pairs(db, old, "people", "identity"):
        if now is None:
            _insert(db, "people", before)
            continue
        ends = {name: _earlier(before[name], now[name]) for name in ("ended", "trained_until")}
        _update(db, "people", {"identity": now["identity"]}, ends)


def _grants(db: sqlite3.Connection, old: Database, rules: Rules) -> None:
    ended = {"revoked": rules.now, "revoked_by": ACTOR}
    known = set()
    for before, now in _pairs(db, old, "grants", "grant_id"):
        known.add(before["grant_id"])
        if now is None:
            gone = before["revoked"] is not None
            _insert(db, "grants", before if gone or rules.keep else before | ended)
            continue
        if now["revoked"] is not None:
            continue
        # A grant is never changed, so a difference is not of our making.
        same = all(before[name] == now[name] for name in _TERMS)
        if before["revoked"] is not None:
            taken = {name: before[name] for name in ended}
            _update(db, "grants", {"grant_id": now["grant_id"]}, taken)
        elif not same or not (rules.believed or rules.keep):
            _update(db, "grants", {"grant_id": now["grant_id"]}, ended)
    for row in db.execute("SELECT grant_id FROM grants WHERE revoked IS NULL").fetchall():
        if row["grant_id"] not in known:
            _update(db, "grants", {"grant_id": row["grant_id"]}, ended)


def _projects(db: sqlite3.Connection, old: Database, rules: Rules) -> None:
    known = set()
    for before, now in _pairs(db, old, "projects", "name"):
        known.add(before["name"])
        if now is None:
            _insert(db, "projects", before)
            continue
        ends = {name: _earlier(before[name], now[name]) for name in ("ends", "closed")}
        _update(db, "projects", {"name": now["name"]}, ends)
    for row in db.execute("SELECT name FROM projects WHERE closed IS NULL").fetchall():
        if row["name"] not in known:
            _update(db, "projects", {"name": row["name"]}, {"closed": rules.now})


def _officers(db: sqlite3.Connection, old: Database, rules: Rules) -> None:
    """A key, password or sign-on that only one of the two has opens nothing any more."""
    ways = {"password": "", "identity": None, "oidc": ""}
    known = set()
    for before, now in _pairs(db, old, "officers", "name"):
        known.add(before["name"])
        if now is None:
            _insert(db, "officers", before | ways)
            continue
        kept = {
            name: now[name] if now[name] == before[name] else none for name, none in ways.items()
        }
        role = min(before["role"], now["role"], key=ROLES.index)
        ended = _earlier(before["ended"], now["ended"])
        _update(db, "officers", {"name": now["name"]}, kept | {"role": role, "ended": ended})
    for row in db.execute("SELECT name FROM officers WHERE ended IS NULL").fetchall():
        if row["name"] not in known:
            _update(db, "officers", {"name": row["name"]}, ways | {"ended": rules.now})
    mine = {row["credential"] for row in old.read("SELECT credential FROM passkeys")}
    for row in db.execute("SELECT credential FROM passkeys").fetchall():
        if row["credential"] not in mine:
            db.execute("DELETE FROM passkeys WHERE credential = ?", (row["credential"],))
    # Whatever else lets an officer in was made for the store as it was.
    tables = db.execute(
        "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND c.name = 'officer' AND m.name != 'passkeys'"
    ).fetchall()
    for table in tables:
        db.execute(f"DELETE FROM {table['name']}")


def _settings(db: sqlite3.Connection, old: Database) -> None:
    """Every switch only makes stricter, and so does a freeze: what one of the two has is on."""
    for before, now in _pairs(db, old, "settings", "name"):
        strict = before["name"] in SWITCHES or before["name"].startswith(FROZEN)
        if now is None and strict:
            _insert(db, "settings", before)


def _requests(db: sqlite3.Connection, old: Database) -> None:
    for before, now in _pairs(db, old, "requests", "number"):
        fresh = before if before["state"] != "open" else before | {"first_by": ""}
        if now is None:
            _insert(db, "requests", fresh)
        elif (now["analyst"], now["created"]) != (before["analyst"], before["created"]):
            # The other store gave the number to somebody else's.
            del fresh["number"]
            _insert(db, "requests", fresh)
        elif now["state"] == "open" and before["state"] != "open":
            _update(db, "requests", {"number": now["number"]}, before)


def _reviews(db: sqlite3.Connection, old: Database) -> None:
    for before, now in _pairs(db, old, "reviews", "id"):
        if now is None:
            _insert(db, "reviews", before | {"first_by": ""})
        elif now["state"] == "waiting" and before["state"] == "refused":
            _update(db, "reviews", {"id": now["id"]}, before)


def _pairs(
    db: sqlite3.Connection, old: Database, table: str, key: str
) -> Iterator[tuple[Fields, Fields | None]]:
    """Each of the backup's rows with the current one of the same key."""
    rows = db.execute(f"SELECT * FROM {table}").fetchall()
    found = {row[key]: dict(row) for row in rows}
    for row in old.read(f"SELECT * FROM {table}"):
        yield dict(row), found.get(row[key])


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((end for end in (one, other) if end is not None), default=None)


def _insert(db: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


def _update(
    db: sqlite3.Connection, table: str, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    ((name, value),) = key.items()
    words = ", ".join(f"{one} = ?" for one in values)
    db.execute(f"UPDATE {table} SET {words} WHERE {name} = ?", (*values.values(), value))
