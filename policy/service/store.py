"""What every decision needs, read once a change; and the log of decisions.

Rule to keep: other processes write the same file, so nothing is kept past a change of it.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from podsql.policy.service.database import Database, Row
from podsql.policy.service.granting import Granted, grants_to
from podsql.policy.service.history import epoch
from podsql.policy.service.people import Project, person, projects
from podsql.policy.service.settings import frozen, switched


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one analyst was granted, and when the person may not ask any more (ms)."""

    grants: tuple[Granted, ...]
    ends: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for everybody: frozen pods, known projects, and the number of the last change."""

    epoch: int
    frozen: frozenset[str]
    projects: dict[str, Project]
    projects_required: bool


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
    """The file, as the deciding process sees it. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._standing: dict[bytes, Standing] = {}
        self._rules: Rules | None = None

    def standing(self, analyst: bytes) -> Standing:
        """Grants of ``analyst`` that are not revoked (their times are the caller's to check)."""
        with self._lock:
            self._forget()
            known = self._standing.get(analyst)
            if known is None:
                entry = person(self.database, analyst)
                ends = [] if entry is None else [entry.ended, entry.trained_until]
                known = self._standing[analyst] = Standing(
                    grants=grants_to(self.database, analyst),
                    ends=min((one for one in ends if one is not None), default=None),
                )
            return known

    def rules(self) -> Rules:
        """What holds for everybody now."""
        with self._lock:
            self._forget()
            if self._rules is None:
                self._rules = Rules(
                    epoch=epoch(self.database),
                    frozen=frozenset(frozen(self.database)),
                    projects={one.name: one for one in projects(self.database)},
                    projects_required=switched(self.database, "projects_required"),
                )
            return self._rules

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def _forget(self) -> None:
        change = self.database.change()
        if change != self._seen:
            # Before it is read again: a change in between is then seen the next time.
            self._seen, self._rules = change, None
            self._standing.clear()


def log_decision(database: Database, decided: Decided) -> None:
    """Log a decision."""
    database.log(
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


def search_decisions(
    database: Database,
    *,
    text: str = "",
    allowed: bool | None = None,
    since: int = 0,
    until: int = 1 << 62,
    limit: int = 100,
) -> list[tuple[str, Decided]]:
    """Decisions with the analyst's name, newest first; ``text`` finds names of anything."""
    rows = database.read(
        "SELECT d.*, coalesce(p.name, '') AS name FROM decisions d"
        " LEFT JOIN people p ON p.identity = d.analyst WHERE d.time >= ? AND d.time < ?"
        " AND (? IS NULL OR allow = ?) AND (? = '' OR instr(lower(coalesce(p.name, '') || ' ' || pod"
        " || ' ' || tables || ' ' || d.purpose || ' ' || d.project || ' ' || reason), lower(?)))"
        " ORDER BY number DESC LIMIT ?",
        since,
        until,
        allowed,
        allowed,
        text,
        text,
        limit,
    )
    return [(row["name"], _decided(row)) for row in rows]


def _decided(row: Row) -> Decided:
    return Decided(
        time=row["time"],
        pod=row["pod"],
        analyst=row["analyst"],
        tables=tuple(row["tables"].split("\n")) if row["tables"] else (),
        purpose=row["purpose"],
        project=row["project"],
        allow=bool(row["allow"]),
        reason=row["reason"],
        query_hash=row["query_hash"],
    )
