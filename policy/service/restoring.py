"""Backup and restore of the service's store. A restore gives back no right that was taken.

It goes into the store that is there, in one transaction, and the result is what both hold
(``reconciling``); a store that is lost vouches for nothing, so every grant ends unless the custodian
says why not. Rule to keep: the restore's own number is higher than any that a pod has seen, or the
pods would take the service for one that was set back, and refuse it.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podsql.errors import Error, error
from podsql.policy.service import history
from podsql.policy.service.database import Database
from podsql.policy.service.granting import all_grants
from podsql.policy.service.history import Change
from podsql.policy.service.reconciling import ACTOR, Rules, reconcile
from podsql.policy.service.schema import MIGRATIONS
from podsql.policy.service.waking import listens

JUMP: Final = 1_000_000
"""More acts than a service makes between two backups: where nobody knows how far it had got."""
HIGHEST: Final = 1 << 53
MARK: Final = "federation"
"""Setting of a backup: whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of a restore. ``kept``: a copy of the store as it was, or the damaged file."""

    epoch: int
    in_force: int
    ended: int
    kept: Path | None


def write_backup(database: Database, target: Path, federation: str) -> int:
    """Copy the store to a new file that knows its federation; the number of its last act."""
    database.backup(target)
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (MARK, federation))
        ((number,),) = copy.execute("SELECT coalesce(max(number), 0) FROM history").fetchall()
    return int(number)


def restore(
    path: Path,
    backup: Path,
    *,
    federation: str,
    now: int,
    keep_grants: str = "",
    epoch: int | None = None,
) -> Restored:
    """Bring ``backup`` into the store at ``path``.

    ``keep_grants``: why grants hold that only the backup knows. ``epoch``: the number of this act,
    if the highest that a pod has seen is known. CONFLICT while a service runs on the store; CONFIG
    for a file that is no backup of this federation's service, of this version or an earlier one.
    """
    if listens(path):
        raise error("CONFLICT", "a policy service runs on this store", hint="stop it first")
    with _opened(backup, federation) as old:
        kept = _set_aside(path, now)
        fresh = not path.exists()
        path.touch(mode=0o600)
        with closing(Database(path)) as database:
            if not fresh:
                kept = path.with_name(f"{path.stem}.before-{now}{path.suffix}")
                database.backup(kept)
            return _into(
                database, old, backup.name, now=now, keep_grants=keep_grants, epoch=epoch, kept=kept
            )


def _into(
    database: Database,
    old: Database,
    name: str,
    *,
    now: int,
    keep_grants: str,
    epoch: int | None,
    kept: Path | None,
) -> Restored:
    with database.write() as db:
        ours, theirs = all_history(database), all_history(old)
        believed = _verifies(database)
        follows = believed and bool(ours) and (not theirs or theirs[-1] in ours)
        number = _number(ours, theirs, follows=follows, epoch=epoch)
        reconcile(db, old, Rules(now=now, keep=bool(keep_grants.strip()), believed=believed))
        if not follows:
            _join_history(db, theirs, ours if believed else [])
        found = all_grants(database)
        done = Restored(
            epoch=number,
            in_force=sum(one.in_force(now) for one in found),
            ended=sum(one.revoked == now and one.revoked_by == ACTOR for one in found),
            kept=kept,
        )
        words = [f"{done.in_force} grants in force", f"{done.ended} ended"]
        words += [f"kept grants: {keep_grants}"] if keep_grants.strip() else []
        words += [] if believed else ["the history there did not verify"]
        history.note(
            db, time=now, actor="console", act=history.RESTORE, object=name,
            detail="; ".join(words), number=number,
        )  # fmt: skip
    return done


def _number(ours: list[Change], theirs: list[Change], *, follows: bool, epoch: int | None) -> int:
    last = max((rows[-1].number for rows in (ours, theirs) if rows), default=0)
    if epoch is None:
        return last + 1 if follows else last + JUMP
    if not last + (0 if follows else len(ours)) < epoch < HIGHEST:
        raise error("ARGUMENT", f"the number of this act must be above {last + len(ours)}")
    return epoch


def _join_history(db: sqlite3.Connection, theirs: list[Change], ours: list[Change]) -> None:
    """The backup's record, then what this store has beyond it, hashed anew."""
    db.execute("DELETE FROM history")
    for one in theirs:
        db.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)",
            (one.number, one.time, one.actor, one.act, one.object, one.detail, one.hash),
        )
    known = set(theirs)
    for one in ours:
        if one not in known:
            history.note(
                db, time=one.time, actor=one.actor, act=one.act, object=one.object,
                detail=one.detail,
            )  # fmt: skip


def all_history(database: Database) -> list[Change]:
    """The whole record, oldest first."""
    return history.changes(database, limit=-1)[::-1]


def _verifies(database: Database) -> bool:
    try:
        history.verify(database)
    except Error:
        return False
    return True


@contextmanager
def _opened(backup: Path, federation: str) -> Iterator[Database]:
    """A copy of the backup, brought to this version; the file itself stays as it is."""
    if not backup.is_file():
        raise error("CONFIG", f"no file {str(backup)!r}")
    with tempfile.TemporaryDirectory(prefix="podsql-restore-") as place:
        copy = Path(place) / "backup.sqlite"
        for ending in ("", "-wal"):
            part = backup.with_name(backup.name + ending)
            if part.exists():
                shutil.copyfile(part, copy.with_name(copy.name + ending))
        if _state(copy, backup.name) != "whole":
            raise error("CONFIG", f"{backup.name!r} is no backup of a policy service")
        with closing(Database(copy)) as old:
            marks = [
                row["value"] for row in old.read("SELECT value FROM settings WHERE name = ?", MARK)
            ]
            if marks not in ([], [federation]):
                raise error("CONFIG", f"{backup.name!r} is of another federation")
            if not _verifies(old):
                raise error("CONFIG", f"the history in {backup.name!r} was changed")
            yield old


def _set_aside(path: Path, now: int) -> Path | None:
    """Move a damaged store out of the way; None if it is whole, or not there."""
    if not path.exists() or _state(path, path.name) != "damaged":
        return None
    kept = path.with_name(f"{path.stem}.damaged-{now}{path.suffix}")
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            os.replace(part, kept.with_name(kept.name + ending))
    return kept


def _state(path: Path, name: str) -> str:
    """``whole`` or ``damaged``; CONFIG for a file of a newer version, or of something else."""
    try:
        with closing(sqlite3.connect(path)) as db:
            ((version,),) = db.execute("PRAGMA user_version").fetchall()
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            whole = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as fault:
        # In use, or not ours to read: that is no damage.
        if fault.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise error("CONFIG", f"{name!r} cannot be read") from None
        return "damaged"
    if version > len(MIGRATIONS):
        raise error(
            "CONFIG",
            f"{name!r} was written by a newer version of podsql",
            hint="restore it with that version",
        )
    if not whole:
        return "damaged"
    if not version or not {"people", "grants", "decisions"} <= tables:
        raise error("CONFIG", f"{name!r} is no store of a policy service")
    return "whole"
