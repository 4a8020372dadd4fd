"""The orders that a modeller has taken, in its home: a folder for each.

``work/<analyst's fingerprint>/<job>/`` holds ``order.bin`` (the analyst's signed order), ``jobs/`` (record
and log, as an analyst keeps them) and ``models/`` (the model, once it is finished).
Rule to keep: an order counts once ``order.bin`` is there, which is written last.
"""

import shutil
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from podsql.analyst.bench import Bench
from podsql.analyst.training.recorded import Job, Line
from podsql.errors import error
from podsql.job_messages import Delegation, JobOrder, statement_hash
from podsql.messages import decode_as, encode
from podsql.planner.statements import classify
from podsql.planner.training.orders import Train
from podsql.relay.cards import Card
from podsql.relay.keys import fingerprint, replace_file

ORDER: Final = "order.bin"
ORDER_BYTES: Final = 1 << 20
"""Of what an analyst signed, and of the job's record; larger ones are refused."""
MOST_KEPT: Final = 500
"""Orders of one analyst; of more the oldest that ended are removed."""
DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One order. ``bench`` has its one job and its one model."""

    told: Delegation
    order: JobOrder
    folder: Path
    bench: Bench

    @property
    def id(self) -> str:
        """The job's."""
        return self.told.job.hex()

    @property
    def job(self) -> Job:
        """The record as it is now."""
        return self.bench.jobs.get(self.id)


class Orders:
    """Thread-safe. Reads what is there when it is made."""

    def __init__(self, home: Path) -> None:
        self._place = home / "work"
        self._lock = threading.Lock()
        self._kept: dict[tuple[bytes, str], Work] = {}
        found = self._place.glob(f"*/*/{ORDER}")
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns):
            order = decode_as(JobOrder, path.read_bytes())
            work = _work(order, path.parent)
            self._kept[work.told.analyst, work.id] = work

    def all(self) -> tuple[Work, ...]:
        """Every order, as they came in."""
        with self._lock:
            return tuple(self._kept.values())

    def of(self, analyst: Card) -> tuple[Work, ...]:
        """Those of one analyst, as they came in."""
        return tuple(work for work in self.all() if work.told.analyst == analyst.identity)

    def get(self, analyst: Card, job: str) -> Work:
        """The analyst's order of this id; UNKNOWN_JOB."""
        with self._lock:
            found = self._kept.get((analyst.identity, job))
        if found is None:
            raise error("UNKNOWN_JOB", "the modeller has no such job of yours", hint="SHOW JOBS")
        return found

    def add(self, order: JobOrder, told: Delegation, federation: str, now: int) -> Work:
        """Keep a new order, or find it again; DELEGATION if its record is not what was signed."""
        key = told.analyst, told.job.hex()
        with self._lock:
            known = self._kept.get(key)
        if known is not None:
            return known
        job = _record(order, told, federation, now)
        folder = self._place / fingerprint(told.analyst) / job.id
        # What a killed process left of this order is no order.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        work = _work(order, folder)
        hold = work.bench.jobs.add(job, lambda: None)
        line = Line(job=job.id, model=job.model, at=now, event="started", pods=job.pods)
        work.bench.jobs.note(hold, line)
        hold.release()
        replace_file(folder / ORDER, encode(order), mode=0o600)
        with self._lock:
            self._kept[key] = work
        return work

    def sweep(self, keep_days: float, now: int) -> None:
        """Remove what ended so long ago, and of each analyst what ended before ``MOST_KEPT`` newer orders:
        who orders and cancels again and again would else fill the disk."""
        last = now - int(keep_days * DAY_MS)
        newer: Counter[bytes] = Counter()
        for work in reversed(self.all()):
            newer[work.told.analyst] += 1
            job = work.job
            if job.over and ((job.ended or 0) < last or newer[work.told.analyst] > MOST_KEPT):
                with self._lock:
                    del self._kept[work.told.analyst, work.id]
                (work.folder / ORDER).unlink()
                shutil.rmtree(work.folder, ignore_errors=True)


def _work(order: JobOrder, folder: Path) -> Work:
    told = decode_as(Delegation, order.delegation.body)
    return Work(told=told, order=order, folder=folder, bench=Bench(folder / "models"))


def _record(order: JobOrder, told: Delegation, federation: str, now: int) -> Job:
    """The job before its first round, as far as it is what the analyst signed."""
    if max(len(order.record), len(order.delegation.body)) > ORDER_BYTES:
        raise error("BAD_MESSAGE", f"an order or its record is larger than {ORDER_BYTES} bytes")
    try:
        job = msgspec.json.decode(order.record, type=Job)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "the record of an order does not decode") from None
    asked = (job.id, statement_hash(job.statement), job.purpose, job.project, job.federation)
    signed = (told.job.hex(), told.statement, told.purpose, told.project, federation)
    if len(told.job) != 16 or asked != signed:
        raise error("DELEGATION", "the record of an order is not what its analyst signed")
    if not isinstance(classify(job.statement), Train):
        raise error("STATEMENT", "a modeller takes TRAIN MODEL only")
    return replace(
        job,
        state="waiting",
        checkpoint=b"",
        rounds=0,
        data_versions={},
        started=now,
        ended=None,
        error="",
        modeller="",
    )
