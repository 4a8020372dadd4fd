"""Grants in the store: written, ended, read. A grant that ended stays, as the record of it."""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error, error
from podsql.policy.document import Release
from podsql.policy.service.database import Database, Row
from podsql.service_messages import Grant

FOREVER: Final = 253_402_300_799_000
"""Ms since the epoch at the end of year 9999."""
RELEASES: Final[tuple[Release, ...]] = ("sdc_local", "sdc_merged", "dp", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A grant as the custodian sees it: also revoked and past ones."""

    grant: Grant
    name: str
    created: int
    revoked: int | None
    given_by: str = ""
    revoked_by: str = ""

    @property
    def review(self) -> bool:
        """Whether results wait for a second person before they leave the pod."""
        return self.grant.review

    def in_force(self, now: int) -> bool:
        """Whether it holds at ``now`` (ms)."""
        return self.revoked is None and self.grant.since <= now < self.grant.until


def make_grant(
    *,
    analyst: bytes,
    now: int,
    pod: str = "*",
    tables: Sequence[str] = ("*",),
    purpose: str = "*",
    project: str = "*",
    release: Release = "sdc_local",
    since: int | None = None,
    until: int | None = None,
) -> Grant:
    """A grant of ``tables`` of ``pod`` (names or patterns) to a key; ARGUMENT if it says nothing."""
    start, end = now if since is None else since, FOREVER if until is None else until
    if len(analyst) != 32 or end <= start or not tables or not all(map(_is_name, tables)):
        raise error(
            "ARGUMENT", "a grant needs a key of 32 bytes, tables, and an end after its start"
        )
    if release not in RELEASES:
        raise error(
            "ARGUMENT", f"unknown release {release!r}", hint=f"one of {', '.join(RELEASES)}"
        )
    if not all(map(_is_name, (pod, purpose, project))):
        raise error("ARGUMENT", "pod, purpose and project are names or '*'")
    return Grant(
        grant_id=secrets.token_hex(6),
        analyst=analyst,
        pod=pod,
        tables=tuple(one if "." in one or "*" in one else f"main.{one}" for one in tables),
        purpose=purpose,
        project=project,
        release=release,
        since=start,
        until=end,
    )


def insert(
    db: sqlite3.Connection, grant: Grant, *, now: int, actor: str, review: bool = False
) -> None:
    """Write a grant."""
    db.execute(
        "INSERT INTO grants (grant_id, analyst, pod, tables, purpose, project, release, since,"
        " until, created, review, given_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
            review,
            actor,
        ),
    )


def end(db: sqlite3.Connection, grant_id: str, *, now: int, actor: str) -> None:
    """Revoke a grant; ARGUMENT if there is none in force under that id."""
    done = db.execute(
        "UPDATE grants SET revoked = ?, revoked_by = ? WHERE grant_id = ? AND revoked IS NULL",
        (now, actor, grant_id),
    )
    if not done.rowcount:
        raise error("ARGUMENT", f"no grant {grant_id!r} is in force", hint="podsql grant --list")


def all_grants(database: Database) -> tuple[Granted, ...]:
    """Every grant ever written, newest first."""
    return _read(database, "ORDER BY created DESC, grant_id")


def grants_to(database: Database, analyst: bytes) -> tuple[Granted, ...]:
    """Grants of ``analyst`` that are not revoked (their times are the caller's to check)."""
    return _read(database, "WHERE analyst = ? AND revoked IS NULL ORDER BY grant_id", analyst)


def one_grant(database: Database, grant_id: str) -> Granted:
    """The grant of an id; ARGUMENT if there is none."""
    found = _read(database, "WHERE grant_id = ?", grant_id)
    if not found:
        raise unknown_grant(grant_id)
    return found[0]


def unknown_grant(grant_id: str) -> Error:
    """No grant has that id."""
    return error("ARGUMENT", f"no grant {grant_id!r}", hint="podsql grant --list")


def _read(database: Database, where: str, *values: object) -> tuple[Granted, ...]:
    rows = database.read(
        f"SELECT g.*, p.name FROM grants g JOIN people p ON p.identity = g.analyst {where}",
        *values,
    )
    return tuple(
        Granted(
            grant=_grant(row),
            name=row["name"],
            created=row["created"],
            revoked=row["revoked"],
            given_by=row["given_by"],
            revoked_by=row["revoked_by"],
        )
        for row in rows
    )


def _grant(row: Row) -> Grant:
    return Grant(
        grant_id=row["grant_id"],
        analyst=row["analyst"],
        pod=row["pod"],
        tables=tuple(row["tables"].split("\n")),
        purpose=row["purpose"],
        project=row["project"],
        release=row["release"],
        since=row["since"],
        until=row["until"],
        review=bool(row["review"]),
    )


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= 256 and text.isprintable()
