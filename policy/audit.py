"""The custodian's log at the pod: append-only lines, each holding the hash of the one before.

Rule to keep: who, what, why, decision, cost, result hash; never a value of a row, and no literal
but those inside the statement's own text. A line is never rewritten; old ones leave from the front
only, and a checkpoint then says so (``policy.pruning``).
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec

from podsql.errors import error
from podsql.policy.checkpoint import Checkpoint, is_checkpoint, read_checkpoint

FILE: Final = "audit.jsonl"
"""Its name in a pod's state."""
GENESIS: Final = "0" * 64
LINE_BYTES: Final = 4 * 1024 * 1024


Event = Literal[
    "query", "offer", "start", "stop", "pause", "resume", "data", "recovered", "explain",
    "frozen", "thawed", "withdrawn", "revoked", "prune", "service", "held", "dropped",
    "local",
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
    modeller: str | msgspec.UnsetType = msgspec.UNSET
    """Who asked in the analyst's place; left out where the analyst did."""
    modeller_key: str | msgspec.UnsetType = msgspec.UNSET
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
    round: str | msgspec.UnsetType = msgspec.UNSET
    """Of a round of a model: which sums it was; left out of other lines."""

    @property
    def of_a_model(self) -> str:
        """Which sums of a model it was about; else empty."""
        return "" if self.round is msgspec.UNSET else self.round

    @property
    def asked_by(self) -> str:
        """Name of the modeller that asked in the analyst's place; else empty."""
        return "" if self.modeller is msgspec.UNSET else self.modeller


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the file."""

    number: int
    previous: str
    entry: Entry
    hash: str


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the whole file found. ``removed`` lines left before the first one there."""

    lines: int
    removed: int
    head: str
    checkpoint: Checkpoint | None

    @property
    def count(self) -> int:
        """Lines that were ever written."""
        return self.removed + self.lines


class Audit:
    """The log file of one pod; one process writes it. ``head`` is the hash of the last line."""

    def __init__(self, path: Path, *, now: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = _open(path)
        try:
            self.count, self.head, sound = _last(self._file)
        except BaseException:
            os.close(self._file)
            raise
        if sound < os.fstat(self._file).st_size:
            # A kill tore the last line: nobody was answered on its strength.
            os.ftruncate(self._file, sound)
            self.append(Entry(time=now, event="recovered"))

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

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

    def rewrite(self, make: Callable[[int], None]) -> None:
        """Put what ``make`` writes into a new file in the place of this one, durably.

        Appends wait meanwhile. INTERNAL, and nothing changed, unless it ends with the same line.
        """
        fresh = self._path.with_name(f".{self._path.name}.new")
        with self._lock:
            fresh.unlink(missing_ok=True)
            file = _open(fresh)
            try:
                make(file)
                os.fsync(file)
                if _last(file) != (self.count, self.head, os.fstat(file).st_size):
                    raise error("INTERNAL", "a rewritten audit log must end as the old one")
                os.replace(fresh, self._path)
            except BaseException:
                os.close(file)
                fresh.unlink(missing_ok=True)
                raise
            os.close(self._file)
            self._file = file
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def sync(self) -> None:
        """Force what was appended to the disk; call it off the statement's path."""
        with self._lock:
            file = os.dup(self._file)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._file)


def lines(path: Path) -> Iterator[Line]:
    """Read the log in order; INTERNAL on a line that is not one."""
    for line in _read(path):
        if isinstance(line, Line):
            yield line


def verify(path: Path, *, head: str | None = None) -> int:
    """Check the whole chain (and that it reaches ``head``); the number of lines, or INTERNAL."""
    return check(path, head=head).lines


def check(path: Path, *, head: str | None = None, signer: bytes | None = None) -> Chain:
    """Check every line, the checkpoint (by ``signer``, the pod's key, if given), and ``head``.

    INTERNAL names the first line that was edited, removed or moved, or says that the end was cut.
    """
    checkpoint: Checkpoint | None = None
    previous, count, first = GENESIS, 0, 0
    seen, announced = head is None or head == GENESIS, False
    for line in _read(path):
        if isinstance(line, Checkpoint):
            checkpoint = line.require_signed(signer)
            previous, count, first = line.last, line.removed, line.removed
            seen = seen or previous == head
            continue
        if (
            line.number != count
            or line.previous != previous
            or line.hash != _hash(count, previous, line.entry)
        ):
            raise error("INTERNAL", f"the audit log was changed at line {count + 1}")
        previous, count = line.hash, count + 1
        seen = seen or previous == head
        announced = announced or (checkpoint is not None and _announces(line.entry, checkpoint))
    if checkpoint is not None and not announced:
        raise error(
            "INTERNAL", "the audit log begins with a checkpoint that no line of it announces"
        )
    if not seen:
        raise error("INTERNAL", f"the audit log was cut after line {count}")
    return Chain(lines=count - first, removed=first, head=previous, checkpoint=checkpoint)


def _announces(entry: Entry, checkpoint: Checkpoint) -> bool:
    return (entry.event, entry.rows, entry.result_hash) == (
        "prune",
        checkpoint.removed,
        checkpoint.last,
    )


def _read(path: Path) -> Iterator[Line | Checkpoint]:
    with path.open("rb") as file:
        for at, data in enumerate(file):
            if not data.endswith(b"\n"):
                return  # being written, or torn by a kill: nobody was answered on its strength
            if at == 0 and is_checkpoint(data):
                yield read_checkpoint(data)
                continue
            try:
                line = msgspec.json.decode(data, type=Line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise error("INTERNAL", "the audit log holds a damaged line") from None
            yield line


def _open(path: Path) -> int:
    """The file for appending, held by this process alone."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise error(
            "BUSY", "another process writes this audit log", hint="stop the pod, or ask it to do it"
        ) from None
    return file


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
