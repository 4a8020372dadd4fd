"""One federation's file at the policy service: opened, migrated, written in transactions.

Other processes (page, command line) write the same file. Rule to keep: what is acknowledged is on
the disk (``synchronous = FULL``); only ``log`` waits for no disk. A commit survives a kill anyway.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from podsql.errors import Error, error
from podsql.policy.service.schema import MIGRATIONS
from podsql.policy.service.waking import ring

Row = sqlite3.Row
BUSY_MS: Final = 5_000


class Database:
    """The file. Safe to use from several threads and beside other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            self._slow = _open(path, "FULL")
            self._fast = _open(path, "NORMAL")
            _migrate(self._slow, path)
        except sqlite3.Error as fault:
            raise _failed(path, fault) from None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk when it ends, or did not happen."""
        with self._lock, _named(self.path), _transaction(self._slow):
            yield self._slow
        ring(self.path)

    def log(self, sql: str, values: Sequence[Any]) -> None:
        """One row that a loss of power may take: decisions, and what pods report again anyway."""
        with self._lock, _named(self.path):
            self._fast.execute(sql, values)

    def read(self, sql: str, *values: Any) -> list[Row]:
        """Rows of a SELECT."""
        with self._lock, _named(self.path):
            return self._slow.execute(sql, values).fetchall()

    def change(self) -> int:
        """Differs from an earlier one if anything but this log of decisions was written since."""
        with self._lock, _named(self.path):
            (version,) = self._fast.execute("PRAGMA data_version").fetchone()
            return int(version)

    def backup(self, target: Path) -> None:
        """Copy the whole file, consistent, while others use it."""
        if target.exists():
            raise error("ARGUMENT", f"{target.name!r} exists", hint="choose another name")
        target.touch(mode=0o600)
        with self._lock, _named(target):
            copy = sqlite3.connect(target)
            try:
                self._slow.backup(copy)
            finally:
                copy.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._fast.close()
            self._slow.close()


def _open(path: Path, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    with _transaction(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise error(
                "CONFIG",
                f"{path.name!r} was written by a newer version of podsql",
                hint="install that version, or restore a backup from before it",
            )
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as fault:
        raise _failed(path, fault) from None


def _failed(path: Path, fault: sqlite3.Error) -> Error:
    kind = getattr(fault, "sqlite_errorname", "")
    if kind.startswith("SQLITE_FULL") or kind.startswith("SQLITE_IOERR"):
        return error("DISK_FULL", f"{path.name!r} cannot be written")
    if kind.startswith("SQLITE_BUSY"):
        return error("BUSY", f"{path.name!r} is in use", hint="try again")
    return error(
        "CONFIG",
        f"{path.name!r} cannot be used",
        hint="podsql policy restore BACKUP brings it back",
    )
