"""How an officer proves who he is with a password, and the one-time link that lets him set it.

Rule to keep: an unknown name, a wrong password and a locked name are answered alike, after the same
work. A lock ends by itself, and never holds where the officer signed in before (``devices``), so
strangers who guess cannot keep anybody out.
"""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from nacl.exceptions import InvalidkeyError
from nacl.pwhash import argon2id

from podsql.errors import Error, error
from podsql.policy.service.database import Database
from podsql.policy.service.history import note
from podsql.policy.service.officers import Officer, by_name, unknown

LINK_MS: Final = 24 * 3600 * 1000
SHORTEST: Final = 12
LONGEST: Final = 256
FREE_TRIES: Final = 5
"""Wrong passwords before the first lock."""
FIRST_LOCK_MS: Final = 30_000
LONGEST_LOCK_MS: Final = 15 * 60_000
DEVICE_MS: Final = 180 * 24 * 3600 * 1000
ROUNDS: Final = 2
MEMORY: Final = 32 << 20
PATIENCE: Final = 10.0
"""Seconds that a comparison waits for its turn."""

_hashing = threading.BoundedSemaphore(2)
"""Each hash takes 32 MiB: a flood of guesses waits here and does not fill the memory."""


def token_hash(token: str) -> bytes:
    """What is stored of a token of 256 random bits."""
    return blake2b(token.encode(), digest_size=32, person=b"ps-page-token").digest()


@contextmanager
def _turn() -> Iterator[None]:
    if not _hashing.acquire(timeout=PATIENCE):
        raise error("BUSY", "too many people sign in at once", hint="try again")
    try:
        yield
    finally:
        _hashing.release()


def hash_password(password: str) -> str:
    """Argon2id, with its own salt."""
    with _turn():
        return argon2id.str(password.encode(), opslimit=ROUNDS, memlimit=MEMORY).decode()


def _same(stored: str, password: str) -> bool:
    with _turn():
        try:
            return argon2id.verify(stored.encode(), password.encode())
        except InvalidkeyError:
            return False


_NOBODY: Final = f"$argon2id$v=19$m={MEMORY >> 10},t={ROUNDS},p=1${'A' * 22}${'A' * 43}"
"""A hash that no password has: takes as long to compare as any."""


def compare_with_nobody(password: str) -> None:
    """Take as long as any comparison, where there is nothing to compare with."""
    _same(_NOBODY, password[:LONGEST])


def new_link(db: sqlite3.Connection, name: str, now: int) -> str:
    """A one-time link's token for an active officer; an earlier one ends."""
    if not db.execute(
        "SELECT 1 FROM officers WHERE name = ? AND ended IS NULL", (name,)
    ).fetchone():
        raise unknown(name)
    token = secrets.token_urlsafe(32)
    db.execute("DELETE FROM links WHERE officer = ? OR expires <= ?", (name, now))
    db.execute("INSERT INTO links VALUES (?, ?, ?)", (token_hash(token), name, now + LINK_MS))
    return token


class Accounts:
    """The ways in that this service keeps itself. ``clock``: ms since the epoch."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def take_link(self, token: str, password: str) -> Officer:
        """Set the password that a link is for, and end it; ARGUMENT if it is none."""
        check_password(password)
        name = self._linked(token)
        if name is None:
            raise no_link()
        stored, now = hash_password(password), self._clock()
        with self._database.write() as db:
            gone = db.execute("DELETE FROM links WHERE token_hash = ?", (token_hash(token),))
            if not gone.rowcount:
                raise no_link()
            _store(db, name, stored)
            note(db, time=now, actor=name, act="password", object=name, detail="by link")
        officer = by_name(self._database, name)
        if officer is None:
            raise no_link()
        return officer

    def change_password(self, officer: Officer, password: str) -> None:
        """Another password; every session of the officer ends."""
        check_password(password)
        stored, now = hash_password(password), self._clock()
        with self._database.write() as db:
            _store(db, officer.name, stored)
            note(db, time=now, actor=officer.name, act="password", object=officer.name)

    def sign_in(self, name: str, password: str, *, device: str = "") -> Officer | None:
        """The officer of a name, if the password is right and guesses have not locked it."""
        now = self._clock()
        rows = self._database.read(
            "SELECT password, locked_until FROM officers WHERE name = ? AND ended IS NULL", name
        )
        known = bool(rows) and self._count_device(name, device, now)
        locked = bool(rows) and not known and rows[0]["locked_until"] > now
        stored = rows[0]["password"] if rows and not locked else ""
        if stored and not known:
            self._count(name, now)  # before the comparison: guesses at once count all the same
        good = _same(stored or _NOBODY, password[:LONGEST])
        if not (good and stored):
            return None
        with self._database.write() as db:
            db.execute("UPDATE officers SET failed = 0, locked_until = 0 WHERE name = ?", (name,))
            db.execute("UPDATE devices SET failed = 0 WHERE token_hash = ?", (token_hash(device),))
        return by_name(self._database, name)

    def new_device(self, name: str) -> str:
        """A token for a browser in which an officer signed in."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._database.write() as db:
            db.execute("DELETE FROM devices WHERE created < ?", (now - DEVICE_MS,))
            db.execute(
                "INSERT INTO devices (token_hash, officer, created) VALUES (?, ?, ?)",
                (token_hash(token), name, now),
            )
        return token

    def knows_device(self, name: str, device: str) -> bool:
        """Whether ``name`` signed in with this browser before."""
        return bool(
            self._database.read(
                "SELECT 1 FROM devices WHERE token_hash = ? AND officer = ? AND created >= ?",
                token_hash(device),
                name,
                self._clock() - DEVICE_MS,
            )
        )

    def has_password(self, name: str) -> bool:
        """Whether the officer set one."""
        return bool(
            self._database.read("SELECT 1 FROM officers WHERE name = ? AND password <> ''", name)
        )

    def _linked(self, token: str) -> str | None:
        rows = self._database.read(
            "SELECT officer FROM links WHERE token_hash = ? AND expires > ?",
            token_hash(token),
            self._clock(),
        )
        return rows[0]["officer"] if rows else None

    def _count(self, name: str, now: int) -> None:
        self._database.log(
            "UPDATE officers SET failed = failed + 1, locked_until = CASE WHEN failed + 1 < ? THEN 0"
            " ELSE ? + min(?, ? << min(failed + 1 - ?, 8)) END WHERE name = ?",
            (FREE_TRIES, now, LONGEST_LOCK_MS, FIRST_LOCK_MS, FREE_TRIES, name),
        )

    def _count_device(self, name: str, device: str, now: int) -> bool:
        """Whether a known browser tries; it has a few wrong tries of its own."""
        if not self.knows_device(name, device):
            return False
        self._database.log(
            "UPDATE devices SET failed = failed + 1 WHERE token_hash = ?", (token_hash(device),)
        )
        self._database.log(
            "DELETE FROM devices WHERE token_hash = ? AND failed > ?",
            (token_hash(device), FREE_TRIES),
        )
        return self.knows_device(name, device)


def check_password(password: str) -> None:
    """ARGUMENT for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise error("ARGUMENT", f"a password has {SHORTEST} to {LONGEST} characters")
    if len(set(password)) < 5:
        raise error("ARGUMENT", "a password needs at least 5 different characters")


def no_link() -> Error:
    """The link was used, is too old or never was."""
    return error(
        "ARGUMENT",
        "this link is not valid any more",
        hint="an administrator makes another one: podsql policy officer NAME --link",
    )


def _store(db: sqlite3.Connection, name: str, stored: str) -> None:
    db.execute(
        "UPDATE officers SET password = ?, failed = 0, locked_until = 0"
        " WHERE name = ? AND ended IS NULL",
        (stored, name),
    )
    for table in ("sessions", "devices", "links"):
        db.execute(f"DELETE FROM {table} WHERE officer = ?", (name,))
