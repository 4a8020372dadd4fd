"""The policy service's memory: people, grants, decisions, in one SQLite file.

Rule to keep: other processes (the command line) write the same file, so nothing read from it is
kept past a change of ``PRAGMA data_version``.
"""

import secrets
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from podsql.errors import error
from podsql.messages import Grant
from podsql.policy.document import Release

SCHEMA: Final = 1
FOREVER: Final = 253_402_300_799_000
"""Ms since the epoch at the end of year 9999."""
_TABLES: Final = f"""
CREATE TABLE IF NOT EXISTS people (identity BLOB PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS grants (
  grant_id TEXT PRIMARY KEY, analyst BLOB NOT NULL, pod TEXT NOT NULL, tables TEXT NOT NULL,
  purpose TEXT NOT NULL, project TEXT NOT NULL, release TEXT NOT NULL,
  since INTEGER NOT NULL, until INTEGER NOT NULL, created INTEGER NOT NULL, revoked INTEGER);
CREATE INDEX IF NOT EXISTS by_analyst ON grants (analyst);
CREATE TABLE IF NOT EXISTS decisions (
  number INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, pod TEXT NOT NULL,
  analyst BLOB NOT NULL, tables TEXT NOT NULL, purpose TEXT NOT NULL, project TEXT NOT NULL,
  allow INTEGER NOT NULL, reason TEXT NOT NULL, query_hash BLOB NOT NULL);
PRAGMA user_version = {SCHEMA};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A grant as the custodian sees it: also revoked and past ones."""

    grant: Grant
    name: str
    created: int
    revoked: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision as it was taken."""

    time: int
    pod: str
    analyst: bytes
    tables: tuple[str, ...]
    purpose: str
    project: str
    allow: bool
    reason: str
    query_hash: bytes


class Store:
    """The file, opened. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA busy_timeout = 5000")
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise error("CONFIG", f"{path.name!r} was written by another version of podsql")
        if version == 0:
            self._base.executescript(_TABLES)
        self._seen = -1
        self._by_analyst: dict[bytes, tuple[Grant, ...]] = {}

    def add(self, grant: Grant, *, name: str, now: int) -> None:
        """Write a grant."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute(
                "INSERT INTO people VALUES (?, ?) ON CONFLICT (identity) DO UPDATE SET name = excluded.name",
                (grant.analyst, name),
            )
            self._base.execute(
                "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    grant.grant_id,
                    grant.analyst,
                    grant.pod,
                    "\n".join(grant.tables),
                    grant.purpose,
                    grant.project,
                    grant.release,
                    grant.since,
                    grant.until,
                    now,
                ),
            )
            self._base.execute("COMMIT")
            self._by_analyst.clear()

    def end(self, grant_id: str, now: int) -> bool:
        """Revoke a grant; False if there is none in force."""
        with self._lock:
            changed = self._base.execute(
                "UPDATE grants SET revoked = ? WHERE grant_id = ? AND revoked IS NULL",
                (now, grant_id),
            ).rowcount
            self._by_analyst.clear()
            return changed > 0

    def grants_of(self, analyst: bytes) -> tuple[Grant, ...]:
        """Grants of ``analyst`` that are not revoked (their times are the caller's to check)."""
        with self._lock:
            seen = self._base.execute("PRAGMA data_version").fetchone()[0]
            if seen != self._seen:
                self._by_analyst.clear()
                self._seen = seen
            known = self._by_analyst.get(analyst)
            if known is None:
                rows = self._base.execute(
                    "SELECT grant_id, analyst, pod, tables, purpose, project, release, since, until"
                    " FROM grants WHERE analyst = ? AND revoked IS NULL ORDER BY grant_id",
                    (analyst,),
                ).fetchall()
                known = self._by_analyst[analyst] = tuple(_grant(row) for row in rows)
            return known

    def all_grants(self) -> tuple[Granted, ...]:
        """Every grant ever written, newest first."""
        with self._lock:
            rows = self._base.execute(
                "SELECT grant_id, analyst, pod, tables, purpose, project, release, since, until,"
                " name, created, revoked FROM grants JOIN people ON identity = analyst"
                " ORDER BY created DESC, grant_id"
            ).fetchall()
        return tuple(
            Granted(grant=_grant(row[:9]), name=row[9], created=row[10], revoked=row[11])
            for row in rows
        )

    def note(self, decided: Decided) -> None:
        """Log a decision."""
        with self._lock:
            self._base.execute(
                "INSERT INTO decisions (time, pod, analyst, tables, purpose, project, allow, reason,"
                " query_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    decided.time,
                    decided.pod,
                    decided.analyst,
                    "\n".join(decided.tables),
                    decided.purpose,
                    decided.project,
                    decided.allow,
                    decided.reason,
                    decided.query_hash,
                ),
            )

    def decisions(self, limit: int = 100) -> tuple[Decided, ...]:
        """The last decisions, newest first."""
        with self._lock:
            rows = self._base.execute(
                "SELECT time, pod, analyst, tables, purpose, project, allow, reason, query_hash"
                " FROM decisions ORDER BY number DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return tuple(
            Decided(
                time=row[0],
                pod=row[1],
                analyst=row[2],
                tables=tuple(row[3].split("\n")) if row[3] else (),
                purpose=row[4],
                project=row[5],
                allow=bool(row[6]),
                reason=row[7],
                query_hash=row[8],
            )
            for row in rows
        )

    def close(self) -> None:
        """Close the file."""
        self._base.close()


def grant(
    store: Store,
    *,
    analyst: bytes,
    name: str,
    now: int,
    pod: str = "*",
    tables: Sequence[str] = ("*",),
    purpose: str = "*",
    project: str = "*",
    release: Release = "sdc_local",
    since: int | None = None,
    until: int | None = None,
) -> str:
    """Grant ``tables`` of ``pod`` (names or patterns) to an analyst's key; the grant's id."""
    start, end = now if since is None else since, FOREVER if until is None else until
    if len(analyst) != 32 or end <= start or not tables or any("\n" in table for table in tables):
        raise error(
            "ARGUMENT", "a grant needs a key of 32 bytes, tables, and an end after its start"
        )
    named = tuple(table if "." in table or "*" in table else f"main.{table}" for table in tables)
    grant_id = secrets.token_hex(6)
    store.add(
        Grant(
            grant_id=grant_id,
            analyst=analyst,
            pod=pod,
            tables=named,
            purpose=purpose,
            project=project,
            release=release,
            since=start,
            until=end,
        ),
        name=name,
        now=now,
    )
    return grant_id


def revoke(store: Store, grant_id: str, *, now: int) -> None:
    """Revoke a grant; ARGUMENT if there is none in force under that id."""
    if not store.end(grant_id, now):
        raise error("ARGUMENT", f"no grant {grant_id!r} is in force", hint="podsql grant --list")


def list_grants(store: Store) -> tuple[Granted, ...]:
    """Every grant, newest first."""
    return store.all_grants()


def _grant(row: tuple[Any, ...]) -> Grant:
    grant_id, analyst, pod, tables, purpose, project, release, since, until = row
    return Grant(
        grant_id=grant_id,
        analyst=analyst,
        pod=pod,
        tables=tuple(tables.split("\n")),
        purpose=purpose,
        project=project,
        release=release,
        since=since,
        until=until,
    )
