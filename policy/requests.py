"""Durable record of request ids: a request runs once, however often it is sent.

Rule to keep: ``begin`` is committed before anything runs. The write-ahead log survives a kill of
the process without a sync a statement; after a loss of power the last moments may be missing.
"""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from podsql.errors import error

SCHEMA: Final = 1
KEEP_MS: Final = 24 * 3600 * 1000
CLOCK_MS: Final = 60_000
"""How far the pod's clock may go back before it is not believed."""

State = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the book holds on a request id. ``new``: begun just now, so run it."""

    new: bool
    state: State
    executed: int
    result_hash: bytes


class RequestBook:
    """Request ids, their query hash and end. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise error("CONFIG", f"{path.name!r} was written by another version of podsql")
        self._base.executescript(
            "CREATE TABLE IF NOT EXISTS requests (request_id BLOB PRIMARY KEY, query_hash BLOB NOT NULL,"
            " state TEXT NOT NULL, executed INTEGER NOT NULL, result_hash BLOB NOT NULL,"
            " begun INTEGER NOT NULL) WITHOUT ROWID;"
            "CREATE INDEX IF NOT EXISTS by_begun ON requests (begun);"
            "CREATE TABLE IF NOT EXISTS clock (latest INTEGER NOT NULL);"
            f"PRAGMA user_version = {SCHEMA};"
        )
        self._base.execute("UPDATE requests SET state = 'interrupted' WHERE state = 'running'")
        self._latest = self._base.execute("SELECT max(latest) FROM clock").fetchone()[0] or 0

    def begin(self, request_id: bytes, query_hash: bytes, now: int) -> Known:
        """Take ``request_id`` for ``query_hash``; CONFLICT if it stands for another query."""
        self.require_clock(now)
        with self._lock:
            taken = self._base.execute(
                "INSERT INTO requests VALUES (?, ?, 'running', 1, x'', ?) ON CONFLICT DO NOTHING",
                (request_id, query_hash, now),
            ).rowcount
            if taken:
                return Known(new=True, state="running", executed=1, result_hash=b"")
            known, state, executed, result = self._base.execute(
                "SELECT query_hash, state, executed, result_hash FROM requests WHERE request_id = ?",
                (request_id,),
            ).fetchone()
        if known != query_hash:
            raise error(
                "CONFLICT", "this request id stands for another query", hint="send a new id"
            )
        return Known(new=False, state=state, executed=executed, result_hash=result)

    def knows(self, request_id: bytes) -> bool:
        """Whether this id was ever begun here."""
        with self._lock:
            found = self._base.execute(
                "SELECT 1 FROM requests WHERE request_id = ?", (request_id,)
            ).fetchone()
        return found is not None

    def finish(
        self, request_id: bytes, state: Literal["done", "failed"], result_hash: bytes
    ) -> None:
        """Note how a running request ended; a second end changes nothing."""
        with self._lock:
            self._base.execute(
                "UPDATE requests SET state = ?, result_hash = ? WHERE request_id = ? AND state = 'running'",
                (state, result_hash, request_id),
            )

    def forget(self, now: int) -> int:
        """Drop requests begun more than a day ago; how many."""
        with self._lock:
            return self._base.execute(
                "DELETE FROM requests WHERE begun < ? AND state <> 'running'", (now - KEEP_MS,)
            ).rowcount

    def require_clock(self, now: int) -> None:
        """CLOCK if the time lies before one already seen (also by an earlier process)."""
        with self._lock:
            if now < self._latest - CLOCK_MS:
                raise error("CLOCK", "the pod's clock went backwards", hint="set the pod's clock")
            # One write a minute is enough to notice a clock that is set back by more.
            if now > self._latest + CLOCK_MS:
                self._base.execute("DELETE FROM clock")
                self._base.execute("INSERT INTO clock VALUES (?)", (now,))
                self._latest = now

    def close(self) -> None:
        """Close the file."""
        self._base.close()
