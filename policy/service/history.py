"""Who changed what at the policy service: rows that each hold the hash of the one before.

``epoch`` is the number of the last one. It goes into every decision, so that a pod notices a
service that was set back to an older file.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from podsql.errors import error
from podsql.policy.service.database import Database, Row

GENESIS: Final = bytes(32)
RESTORE: Final = "restore"
"""The one act whose number may leave some out: it must be above what any pod has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One act. ``detail`` holds names and dates, never a secret."""

    number: int
    time: int
    actor: str
    act: str
    object: str
    detail: str
    hash: bytes


def note(
    db: sqlite3.Connection,
    *,
    time: int,
    actor: str,
    act: str,
    object: str,
    detail: str = "",
    number: int | None = None,
) -> int:
    """Write an act down, in the transaction that does it; its number (the next, if none is given)."""
    row = db.execute("SELECT number, hash FROM history ORDER BY number DESC LIMIT 1").fetchone()
    following, previous = (row["number"] + 1, row["hash"]) if row else (1, GENESIS)
    number = following if number is None else number
    found = _hash(previous, (number, time, actor, act, object, detail))
    db.execute(
        "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, time, actor, act, object, detail, found),
    )
    return number


def epoch(database: Database) -> int:
    """Number of the last act; 0 before the first."""
    ((number,),) = database.read("SELECT coalesce(max(number), 0) FROM history")
    return int(number)


def changes(
    database: Database, *, search: str = "", limit: int = 100, before: int = 1 << 62
) -> list[Change]:
    """The last acts, newest first; ``search`` finds text in any field."""
    rows = database.read(
        "SELECT * FROM history WHERE number < ? AND (? = '' OR instr(lower(actor || ' ' || act || ' '"
        " || object || ' ' || detail), lower(?))) ORDER BY number DESC LIMIT ?",
        before,
        search,
        search,
        limit,
    )
    return [_change(row) for row in rows]


def verify(database: Database) -> int:
    """Check the whole chain; the number of acts, or INTERNAL with the first that is wrong."""
    return _verified(_change(row) for row in database.read("SELECT * FROM history ORDER BY number"))


def _verified(rows: Iterable[Change]) -> int:
    previous, last, count = GENESIS, 0, 0
    for row in rows:
        fields = (row.number, row.time, row.actor, row.act, row.object, row.detail)
        follows = row.number == last + 1 or (row.act == RESTORE and row.number > last)
        if not follows or row.hash != _hash(previous, fields):
            raise error("INTERNAL", f"the service's history was changed at act {last + 1}")
        previous, last, count = row.hash, row.number, count + 1
    return count


def _hash(previous: bytes, fields: tuple[object, ...]) -> bytes:
    body = msgspec.msgpack.encode((previous, *fields))
    return blake2b(body, digest_size=32, person=b"ps-history").digest()


def _change(row: Row) -> Change:
    return Change(**{name: row[name] for name in row.keys()})  # noqa: SIM118 - a Row is no mapping
