"""The ledger file: every charge before its release, exact integers, a hash chain, a witness.

Rule to keep: a charge is on disk before anything is computed, and is never given back. The chain
shows an edited row, the witness (a few bytes kept on another disk) a restored backup; a pod does
not start on either. Time never runs backwards here: a clock set back revives nothing.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec

from podsql.errors import Error, error
from podsql.policy.ledger.cost import NOTHING, Cap, Cost

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS charge (
  number INTEGER PRIMARY KEY, request BLOB UNIQUE NOT NULL, body BLOB NOT NULL, chain BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS spent (scope TEXT PRIMARY KEY, cost BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answer (fingerprint BLOB PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS quota (scope TEXT, day INTEGER, used INTEGER NOT NULL, PRIMARY KEY (scope, day));
CREATE TABLE IF NOT EXISTS member (scope TEXT, unit INTEGER, row INTEGER, place INTEGER,
  PRIMARY KEY (scope, unit, row));
CREATE INDEX IF NOT EXISTS by_place ON member (scope, place);
CREATE TABLE IF NOT EXISTS cell (scope TEXT, digest BLOB, body BLOB NOT NULL, PRIMARY KEY (scope, digest));
CREATE TABLE IF NOT EXISTS past (scope TEXT, name BLOB, settled INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (scope, name));
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY CHECK (one = 1), mark INTEGER NOT NULL);
"""
_START: Final = b"\0" * 32
_MARK_MS: Final = 60_000
DAY_MS: Final = 86_400_000


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """One line of the chain. ``kind`` ``reset``: ``scopes`` start again, by a custodian's act."""

    kind: Literal["charge", "reset"]
    fingerprint: bytes
    request: bytes
    scopes: tuple[str, ...]
    renyi: tuple[int, ...]
    delta: int
    time: int
    note: str

    @property
    def cost(self) -> Cost:
        """What it took of each scope."""
        return Cost(self.renyi, self.delta)


class Ledger:
    """One pod's ledger. Methods may be called from any thread."""

    def __init__(self, path: Path, *, witness: Path | None = None, adopt: bool = False) -> None:
        """Open and verify ``path``; LEDGER if it was edited, or is older than its witness.

        ``adopt`` accepts a ledger whose witness is lost (a custodian's decision, noted nowhere else).
        """
        self._path = path
        self._witness = witness
        self._lock = threading.RLock()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(descriptor)
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self.verify()
            self._verify_witness(adopt=adopt)
        except sqlite3.DatabaseError:
            self._db.close()
            raise _broken("cannot be read") from None
        except Error:
            self._db.close()
            raise
        self._seen_mark = 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # -- budget ----------------------------------------------------------------------------------

    def charge(
        self,
        fingerprint: bytes,
        request: bytes,
        scopes: Mapping[str, Cap],
        cost: Cost,
        *,
        now: int,
        note: str = "",
        answer: bytes | None = None,
    ) -> Literal["charged", "replayed"]:
        """Take ``cost`` of every scope or of none; BUDGET if one would exceed its cap.

        ``replayed``: the same statement was released before, which costs nothing. A request id
        that was charged already is refused: its noise may have been seen. ``answer`` is kept with
        the charge, so that what it pays for is paid once, whatever happens next.
        """
        with self._write() as db:
            moment = self._advance(db, now)
            known = db.execute("SELECT 1 FROM charge WHERE request = ?", [request]).fetchone()
            if self._answer(db, fingerprint) is not None:
                return "replayed"
            if known is not None:
                raise error("EXPIRED_RESULT", "this request id was charged before", hint="ask anew")
            for scope, cap in scopes.items():
                total = self._spent(db, scope) + cost
                if not cap.admits(total):
                    raise error("BUDGET", "the privacy budget does not cover this statement")
                self._set_spent(db, scope, total)
            line = Charge(
                kind="charge",
                fingerprint=fingerprint,
                request=request,
                scopes=tuple(scopes),
                renyi=cost.renyi,
                delta=cost.delta,
                time=moment,
                note=note,
            )
            self._append(db, line)
            if answer is not None:
                db.execute("INSERT INTO answer VALUES (?, ?)", [fingerprint, answer])
        self._write_witness()
        return "charged"

    def reset(self, scope: str, *, now: int, note: str) -> None:
        """Start ``scope`` again; the act and its reason stay in the chain."""
        with self._write() as db:
            moment = self._advance(db, now)
            self._set_spent(db, scope, NOTHING)
            line = Charge(
                kind="reset",
                fingerprint=b"",
                request=os.urandom(16),
                scopes=(scope,),
                renyi=NOTHING.renyi,
                delta=0,
                time=moment,
                note=note,
            )
            self._append(db, line)
        self._write_witness()

    def spent(self, scope: str) -> Cost:
        """What was taken of ``scope`` so far."""
        with self._lock:
            return self._spent(self._db, scope)

    def scopes(self) -> dict[str, Cost]:
        """Every scope that was ever charged."""
        with self._lock:
            rows = self._db.execute("SELECT scope, cost FROM spent ORDER BY scope").fetchall()
        return {scope: _cost(body) for scope, body in rows}

    def charges(self) -> list[Charge]:
        """The chain's lines, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM charge ORDER BY number").fetchall()
        return [msgspec.msgpack.decode(body, type=Charge) for (body,) in rows]

    # -- answers ---------------------------------------------------------------------------------

    def keep_answer(self, fingerprint: bytes, body: bytes) -> None:
        """Keep what was released, so that the same statement gets the same answer for nothing."""
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO answer VALUES (?, ?)", [fingerprint, body])

    def answer(self, fingerprint: bytes) -> bytes | None:
        """What the same statement was answered before."""
        with self._lock:
            return self._answer(self._db, fingerprint)

    # -- quotas ----------------------------------------------------------------------------------

    def take(
        self,
        scope: str,
        amount: int,
        *,
        now: int,
        per_day: int | None = None,
        total: int | None = None,
    ) -> bool:
        """Count ``amount`` against the day and for ever; False (and nothing counted) if over."""
        with self._write() as db:
            day = self._advance(db, now) // DAY_MS
            for which, limit in ((day, per_day), (-1, total)):
                row = db.execute(
                    "SELECT used FROM quota WHERE scope = ? AND day = ?", [scope, which]
                ).fetchone()
                used = (row[0] if row else 0) + amount
                if limit is not None and used > limit:
                    db.execute("ROLLBACK TO start")
                    return False
                db.execute(
                    "INSERT INTO quota VALUES (?, ?, ?)"
                    " ON CONFLICT (scope, day) DO UPDATE SET used = excluded.used",
                    [scope, which, used],
                )
        return True

    def used(self, scope: str, now: int) -> tuple[int, int]:
        """What was counted for ``scope`` today, and ever."""
        with self._lock:
            day = max(now, self._mark(self._db)) // DAY_MS
            rows = dict(
                self._db.execute(
                    "SELECT day, used FROM quota WHERE scope = ? AND day IN (?, -1)", [scope, day]
                ).fetchall()
            )
        return rows.get(day, 0), rows.get(-1, 0)

    # -- trust -----------------------------------------------------------------------------------

    def moment(self, now: int) -> int:
        """``now``, or the latest time ever seen if the clock was set back (ms since the epoch)."""
        with self._lock:
            mark = self._mark(self._db)
            if now > mark + _MARK_MS:
                with self._write() as db:
                    return self._advance(db, now)
            return max(now, mark)

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last line."""
        with self._lock:
            return self._head(self._db)

    def verify(self) -> None:
        """LEDGER unless the chain is whole and the sums are those of its lines."""
        sums: dict[str, Cost] = {}
        last, expected = _START, 1
        with self._lock:
            self._db.execute("BEGIN")  # one snapshot: another process may be charging
            try:
                lines = self._db.execute(
                    "SELECT number, request, body, chain FROM charge ORDER BY number"
                ).fetchall()
                kept = self.scopes()
            finally:
                self._db.execute("COMMIT")
        for number, request, body, chain in lines:
            last = _link(last, body)
            if number != expected or chain != last:
                raise _broken("was edited")
            line = msgspec.msgpack.decode(body, type=Charge)
            if line.request != request:
                raise _broken("was edited")
            for scope in line.scopes:
                sums[scope] = (
                    NOTHING if line.kind == "reset" else sums.get(scope, NOTHING) + line.cost
                )
            expected += 1
        if sums != kept:
            raise _broken("was edited")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("SAVEPOINT start")
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """For what compares with earlier figures, whose tables lie in the same file."""
        with self._write() as db:
            yield db

    def _append(self, db: sqlite3.Connection, line: Charge) -> None:
        number, last = self._head(db)
        body = msgspec.msgpack.encode(line)
        db.execute(
            "INSERT INTO charge VALUES (?, ?, ?, ?)",
            [number + 1, line.request, body, _link(last, body)],
        )

    def _head(self, db: sqlite3.Connection) -> tuple[int, bytes]:
        row = db.execute("SELECT number, chain FROM charge ORDER BY number DESC LIMIT 1").fetchone()
        return (row[0], row[1]) if row else (0, _START)

    def _answer(self, db: sqlite3.Connection, fingerprint: bytes) -> bytes | None:
        row = db.execute("SELECT body FROM answer WHERE fingerprint = ?", [fingerprint]).fetchone()
        return row[0] if row else None

    def _spent(self, db: sqlite3.Connection, scope: str) -> Cost:
        row = db.execute("SELECT cost FROM spent WHERE scope = ?", [scope]).fetchone()
        return _cost(row[0]) if row else NOTHING

    def _set_spent(self, db: sqlite3.Connection, scope: str, cost: Cost) -> None:
        body = msgspec.msgpack.encode((cost.renyi, cost.delta))
        db.execute("INSERT OR REPLACE INTO spent VALUES (?, ?)", [scope, body])

    def _mark(self, db: sqlite3.Connection) -> int:
        row = db.execute("SELECT mark FROM clock").fetchone()
        return row[0] if row else 0

    def _advance(self, db: sqlite3.Connection, now: int) -> int:
        moment = max(now, self._mark(db))
        db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", [moment])
        return moment

    def _verify_witness(self, *, adopt: bool) -> None:
        """The witness may lag behind (a crash between the two writes), never lead."""
        if self._witness is None:
            return
        number, _ = self.head()
        try:
            seen, chain = msgspec.msgpack.decode(self._witness.read_bytes(), type=tuple[int, bytes])
        except FileNotFoundError:
            if number and not adopt:
                raise _broken("has no witness") from None
            self._write_witness()
            return
        except (OSError, msgspec.MsgspecError):
            raise _broken("has a witness that cannot be read") from None
        if seen:
            row = self._db.execute("SELECT chain FROM charge WHERE number = ?", [seen]).fetchone()
            if row is None or row[0] != chain:
                raise _broken("is older than its witness: a restored backup?")

    def _write_witness(self) -> None:
        if self._witness is None:
            return
        with self._lock:
            fresh = self._witness.with_name(f"{self._witness.name}.{os.getpid()}.new")
            with fresh.open("wb") as file:
                file.write(msgspec.msgpack.encode(self.head()))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._witness)


def _cost(body: bytes) -> Cost:
    renyi, delta = msgspec.msgpack.decode(body, type=tuple[tuple[int, ...], int])
    return Cost(renyi, delta)


def _link(last: bytes, body: bytes) -> bytes:
    return blake2b(last + body, digest_size=32, person=b"ps-ledger").digest()


def _broken(what: str) -> Error:
    return error(
        "LEDGER",
        f"the privacy ledger {what}",
        hint="restore the newest copy; to go on without it is the custodian's decision",
    )
