"""Signed-in officers: what the page keeps of each session, by the hash of its cookie.

Rule to keep: a session ends after 30 minutes without a request, after 12 hours in any case, and with
the officer. A token is made at sign-in only, so none that was there before is ever raised to one.
"""

import json
import secrets
from dataclasses import dataclass, replace
from typing import Final

from podsql.policy.service.accounts import token_hash
from podsql.policy.service.database import Database

IDLE_MS: Final = 30 * 60_000
LONGEST_MS: Final = 12 * 3600_000
PROOF_MS: Final = 10 * 60_000
"""How long a proof of who somebody is counts as fresh."""
TOUCH_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """``proved``: when the officer last proved who he is; ``state``: small texts for the next page."""

    hash: bytes
    officer: str
    csrf: str
    created: int
    seen: int
    proved: int
    state: dict[str, str]

    def fresh(self, now: int) -> bool:
        """Whether the last proof is recent enough for an act that gives."""
        return now - self.proved <= PROOF_MS


def start(database: Database, officer: str, *, now: int, proved: int) -> str:
    """A new session's token."""
    token = secrets.token_urlsafe(32)
    with database.write() as db:
        db.execute(
            "DELETE FROM sessions WHERE seen < ? OR created < ?", (now - IDLE_MS, now - LONGEST_MS)
        )
        db.execute(
            "INSERT INTO sessions (token_hash, officer, csrf, created, seen, proved)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (token_hash(token), officer, secrets.token_urlsafe(32), now, now, proved),
        )
    return token


def find(database: Database, token: str, now: int) -> Session | None:
    """The session of a token, if it has not ended."""
    rows = database.read("SELECT * FROM sessions WHERE token_hash = ?", token_hash(token))
    if not rows or now - rows[0]["seen"] > IDLE_MS or now - rows[0]["created"] > LONGEST_MS:
        return None
    row = rows[0]
    if now - row["seen"] > TOUCH_MS:
        database.log("UPDATE sessions SET seen = ? WHERE token_hash = ?", (now, row["token_hash"]))
    return Session(
        hash=row["token_hash"],
        officer=row["officer"],
        csrf=row["csrf"],
        created=row["created"],
        seen=row["seen"],
        proved=row["proved"],
        state=json.loads(row["state"] or "{}"),
    )


def prove(database: Database, session: Session, now: int) -> Session:
    """The officer proved again who he is."""
    database.log("UPDATE sessions SET proved = ? WHERE token_hash = ?", (now, session.hash))
    return replace(session, proved=now)


def remember(database: Database, session: Session, **texts: str) -> None:
    """Keep texts for a later request; an empty one is forgotten."""
    kept = {name: text for name, text in {**session.state, **texts}.items() if text}
    database.log(
        "UPDATE sessions SET state = ? WHERE token_hash = ?",
        (json.dumps(kept) if kept else "", session.hash),
    )


def end(database: Database, session: Session) -> None:
    """Sign out."""
    with database.write() as db:
        db.execute("DELETE FROM sessions WHERE token_hash = ?", (session.hash,))


def end_all(database: Database, officer: str) -> int:
    """Sign out everywhere; how many sessions ended."""
    with database.write() as db:
        gone = db.execute("DELETE FROM sessions WHERE officer = ?", (officer,))
    return gone.rowcount


def count(database: Database, officer: str, now: int) -> int:
    """How many sessions of an officer are open."""
    ((found,),) = database.read(
        "SELECT count(*) FROM sessions WHERE officer = ? AND seen >= ? AND created >= ?",
        officer,
        now - IDLE_MS,
        now - LONGEST_MS,
    )
    return int(found)
