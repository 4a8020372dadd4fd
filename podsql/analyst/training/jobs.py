"""Where an analyst's training jobs are: one record each beside the models, or in memory.

``<id>.json`` is the record, replaced as a whole after each round; ``<id>.log`` has a line for each step; who
holds ``<id>.lock`` is at work on the job, so that a killed process leaves a job that waits.
Rule to keep: every change of a record is made here, under one lock, and never to a job that has ended.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from podsql.analyst.training.locks import locked, try_lock
from podsql.analyst.training.recorded import Job, Line
from podsql.errors import Error, error
from podsql.relay.keys import replace_file

_ID: Final = re.compile(r"[0-9a-f]{4,32}")
_WHOLE_ID: Final = re.compile(r"[0-9a-f]{32}")
"""It becomes the name of files, and may come from a modeller."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to work on one job, until ``release``."""

    job: str
    release: Callable[[], None]


class Jobs:
    """Thread-safe, and safe with other processes at the same place. ``place`` None: in memory."""

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._kept: dict[str, Job] = {}
        self._lines: dict[str, list[Line]] = {}
        self._cancels: dict[str, Callable[[], None]] = {}
        """Of the jobs that this process works on."""
        self._lock = threading.RLock()

    def all(self) -> tuple[Job, ...]:
        """Every job, the oldest first."""
        if self._place is None:
            found = list(self._kept.values())
        elif self._place.is_dir():
            found = [self._read(path) for path in self._place.glob("*.json")]
        else:
            found = []
        return tuple(sorted(map(self._as_it_is, found), key=lambda job: (job.started, job.id)))

    def get(self, text: str) -> Job:
        """The job of this id, or of its first digits; UNKNOWN_JOB."""
        names = self._names()
        found = [one for one in names if one.startswith(text.lower())]
        if _ID.fullmatch(text.lower()) is None or len(found) != 1:
            raise error(
                "UNKNOWN_JOB",
                f"no job {text!r}" if len(found) < 2 else f"{len(found)} jobs begin with {text!r}",
                hint="SHOW JOBS",
            )
        return self._as_it_is(self._load(found[0]))

    def lines(self, job: str) -> tuple[Line, ...]:
        """What happened, in order; a line that a killed process left unfinished is no line."""
        with self._lock:
            if self._place is None:
                return tuple(self._lines.get(job, ()))
        try:
            written = (self._place / f"{job}.log").read_bytes()
        except FileNotFoundError:
            return ()
        return tuple(line for one in written.split(b"\n") if (line := _line(one)) is not None)

    def add(self, job: Job, cancel: Callable[[], None]) -> Hold:
        """Keep a new job and work on it; CONFLICT if its id is taken, UNKNOWN_JOB if it is none."""
        if _WHOLE_ID.fullmatch(job.id) is None:
            raise error("UNKNOWN_JOB", "the id of a job is 32 hexadecimal digits")
        with self._changing():
            if job.id in self._names():
                raise error("CONFLICT", "there is a job of this id", hint=f"RESUME JOB '{job.id}'")
            hold = self._hold(job.id, cancel)
            self._save(job)
        return hold

    def take(self, job: str, cancel: Callable[[], None]) -> tuple[Job, Hold]:
        """Work on a job that was left; MODEL_STATE if it has ended, CONFLICT if somebody is at it."""
        with self._changing():
            found = self._load(job)
            if found.over:
                raise _ended(found)
            hold = self._hold(job, cancel)
        if self._place is not None:
            # Whatever a killed process did not finish writing ends here.
            _append(self._place / f"{job}.log", b"")
        return found, hold

    def change(self, job: str, change: Callable[[Job], Job]) -> Job:
        """Replace a job's record; MODEL_STATE (CANCELLED if it was cancelled) if it has ended."""
        with self._changing():
            found = self._load(job)
            if found.over:
                raise _ended(found)
            made = change(found)
            self._save(made)
            return made

    def cancel(self, text: str, ended: int) -> Job:
        """End a job for good, whoever works on it; MODEL_STATE if it has ended."""
        job = self.get(text).id
        made = self.change(job, lambda old: replace(old, state="cancelled", ended=ended))
        with self._lock:
            stop = self._cancels.get(job)
        if stop is not None:
            stop()
        return made

    def note(self, hold: Hold, line: Line) -> None:
        """Append to the log of a job that is held."""
        if self._place is None:
            with self._lock:
                self._lines.setdefault(hold.job, []).append(line)
            return
        _append(self._place / f"{hold.job}.log", msgspec.json.encode(line))

    # -- inside --------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if self._place is None:
                yield
                return
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self._place / "jobs.lock"):
                yield

    def _hold(self, job: str, cancel: Callable[[], None]) -> Hold:
        unlock = None
        if self._place is not None:
            unlock = try_lock(self._place / f"{job}.lock")
        if job in self._cancels or (self._place is not None and unlock is None):
            raise error("CONFLICT", "somebody works on this job", hint="SHOW JOBS")
        self._cancels[job] = cancel

        def done() -> None:
            with self._lock:
                self._cancels.pop(job, None)
            if unlock is not None:
                unlock()

        return Hold(job, done)

    def _as_it_is(self, job: Job) -> Job:
        """A job that nobody works on waits, whatever its last worker had to say."""
        if job.state != "running" or job.modeller or self._worked_on(job.id):
            return job
        return replace(job, state="waiting")

    def _worked_on(self, job: str) -> bool:
        with self._lock:
            if job in self._cancels:
                return True
        if self._place is None:
            return False
        # A look must not be taken for work by who wants to take the job up.
        with self._changing():
            unlock = try_lock(self._place / f"{job}.lock")
            if unlock is not None:
                unlock()
        return unlock is None

    def _names(self) -> tuple[str, ...]:
        if self._place is None:
            with self._lock:
                return tuple(self._kept)
        return tuple(path.stem for path in self._place.glob("*.json"))

    def _load(self, job: str) -> Job:
        with self._lock:
            if self._place is None:
                return self._kept[job]
        return self._read(self._place / f"{job}.json")

    def _read(self, path: Path) -> Job:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Job)
        except OSError as fault:
            raise error("FILE", f"cannot read {path.name!r}: {fault.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise error("DATA", f"{path.name!r} is not a job of podsql") from None

    def _save(self, job: Job) -> None:
        if self._place is None:
            self._kept[job.id] = job
            return
        path = self._place / f"{job.id}.json"
        try:
            replace_file(path, msgspec.json.encode(job), mode=0o600)
        except OSError as fault:
            raise error("FILE", f"cannot write {path.name!r}: {fault.strerror}") from None


def _append(log: Path, line: bytes) -> None:
    with log.open("ab", buffering=0) as file:
        file.write(line + b"\n")


def _line(written: bytes) -> Line | None:
    try:
        return msgspec.json.decode(written, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _ended(job: Job) -> Error:
    if job.state == "cancelled":
        return error("CANCELLED", "the job was cancelled", hint="train the model again")
    return error("MODEL_STATE", f"the job is {job.state}", hint="train the model again")
