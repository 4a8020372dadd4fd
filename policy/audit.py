"""The custodian's log at the pod: append-only lines, each holding the hash of the one before.

Rule to keep: who, what, why, decision, cost, result hash; never a value of a row, and no literal
but those inside the statement's own text. A line is never rewritten.
"""

import os
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec

from podsql.errors import error

GENESIS: Final = "0" * 64
LINE_BYTES: Final = 4 * 1024 * 1024


Event = Literal[
    "query", "offer", "start", "stop", "pause", "resume", "data", "recovered", "explain",
    "frozen", "thawed", "revoked", "service", "held", "dropped",
]  # fmt: skip


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event. Hashes and keys are hexadecimal or fingerprints; times ms since the epoch."""

    time: int
    event: Event
    decision: Literal["allow", "deny", "none"] = "none"
    reason: str = ""
    """A code of the gate, the services' words, or an error code."""
    analyst: str = ""
    fingerprint: str = ""
    statement: str = ""
    request_id: str = ""
    statement_id: str = ""
    head_hash: str = ""
    purpose: str = ""
    project: str = ""
    tables: tuple[str, ...] = ()
    release: str = ""
    data_version: str = ""
    policy_hash: str = ""
    rows: int = 0
    withheld: int = 0
    bytes: int = 0
    micros: int = 0
    brought: int = 0
    """Own keys that went, blinded, into a count across pods, or to an analyst."""
    met: int = 0
    """Blinded keys of others that they met."""
    result_hash: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the file."""

    number: int
    previous: str
    entry: Entry
    hash: str


class Audit:
    """The log file of one pod; one process writes it. ``head`` is the hash of the last line."""

    def __init__(self, path: Path, *, now: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.count, self.head, sound = _last(self._file)
        if sound < os.fstat(self._file).st_size:
            # A kill tore the last line: nobody was answered on its strength.
            os.ftruncate(self._file, sound)
            self.append(Entry(time=now, event="recovered"))

    def append(self, entry: Entry) -> str:
        """Write one event; its hash. It survives a kill of the process at once, of power after ``sync``."""
        with self._lock:
            number, previous = self.count, self.head
            found = _hash(number, previous, entry)
            line = Line(number=number, previous=previous, entry=entry, hash=found)
            data = msgspec.json.encode(line) + b"\n"
            if len(data) > LINE_BYTES:
                raise error("INTERNAL", "an audit line is too long")
            _write(self._file, data)
            self.count, self.head = number + 1, found
            return found

    def tip(self) -> tuple[int, str]:
        """Number of lines and hash of the last, of one moment."""
        with self._lock:
            return self.count, self.head

    def sync(self) -> None:
        """Force what was appended to the disk; call it off the statement's path."""
        os.fsync(self._file)

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._file)


def lines(path: Path) -> Iterator[Line]:
    """Read the log in order; INTERNAL on a line that is not one."""
    with path.open("rb") as file:
        for data in file:
            try:
                yield msgspec.json.decode(data, type=Line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise error("INTERNAL", "the audit log holds a damaged line") from None


def verify(path: Path, *, head: str | None = None) -> int:
    """Check the whole chain (and that it reaches ``head``); the number of lines, or INTERNAL."""
    previous, count, seen = GENESIS, 0, head is None or head == GENESIS
    for line in lines(path):
        if (
            line.number != count
            or line.previous != previous
            or line.hash != _hash(count, previous, line.entry)
        ):
            raise error("INTERNAL", f"the audit log was changed at line {count + 1}")
        previous, count = line.hash, count + 1
        seen = seen or previous == head
    if not seen:
        raise error("INTERNAL", f"the audit log was cut after line {count}")
    return count


def _hash(number: int, previous: str, entry: Entry) -> str:
    body = msgspec.json.encode((number, previous, entry), order="deterministic")
    return blake2b(body, digest_size=32, person=b"ps-audit").hexdigest()


def _write(file: int, data: bytes) -> None:
    written = 0
    try:
        while written < len(data):
            written += os.write(file, data[written:])
    except OSError:
        # A torn line is cut off at the next start; without a log nothing may be answered.
        raise error("DISK_FULL", "the audit log cannot be written") from None


def _last(file: int) -> tuple[int, str, int]:
    """Number of lines, hash of the last whole one, and where it ends."""
    size = os.fstat(file).st_size
    back = min(size, LINE_BYTES * 2)
    tail = os.pread(file, back, size - back)
    end = tail.rfind(b"\n") + 1
    if end == 0:
        return 0, GENESIS, 0
    start = tail.rfind(b"\n", 0, end - 1) + 1
    try:
        line = msgspec.json.decode(tail[start:end], type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("INTERNAL", "the last line of the audit log is damaged") from None
    return line.number + 1, line.hash, size - back + end
