"""What a job at work writes down and tells: its checkpoint after each round, a line for each step.

Rule to keep: the record is changed before a line says so, and a job that was cancelled in between
is never brought back.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from podsql.analyst.statement import Statement
from podsql.analyst.training.jobs import Hold, Jobs
from podsql.analyst.training.lasting import PASSING
from podsql.analyst.training.recorded import Event, Job, Line, State
from podsql.analyst.training.shelf import Kept, Shelf
from podsql.engine.training.fitting import Fitting
from podsql.engine.training.registry import encode_snapshot
from podsql.errors import Error


class Reporter:
    """Reports one job to its record, its log and ``Statement.on_progress``."""

    def __init__(self, jobs: Jobs, hold: Hold, job: Job, statement: Statement) -> None:
        self._jobs = jobs
        self._hold = hold
        self._job = job
        self._statement = statement
        self._since = time.monotonic()
        self._waits = False

    def tell(self, event: Event, note: str = "", **values: Any) -> None:
        """A line to the log and to who listens."""
        line = self._log(event, note, **values)
        if self._statement.on_progress is not None:
            self._statement.on_progress(line)

    def _log(self, event: Event, note: str = "", **values: Any) -> Line:
        line = Line(
            job=self._job.id,
            model=self._job.model,
            at=_now(),
            event=event,
            round=self._job.rounds,
            pods=self._job.pods,
            note=note,
            **values,
        )
        self._jobs.note(self._hold, line)
        return line

    def round(self, fit: Fitting[Any], versions: Mapping[str, str], n: int | None) -> None:
        """A round is taken, of ``n`` rows (None: nobody knows how many): the job goes on from here."""
        progress = fit.progress
        self._change(
            rounds=progress.rounds,
            checkpoint=encode_snapshot(fit.snapshot()),
            data_versions=dict(sorted(versions.items())),
        )
        now = time.monotonic()
        took, self._since = now - self._since, now
        self.tell("round", n=n, objective=progress.objective, change=progress.change, seconds=took)

    def waiting(self, fault: Error, pods: Collection[str] = ()) -> None:
        """Somebody is not there: told once until it goes on."""
        if not self._waits:
            self._waits = True
            self._change(state="waiting")
            self.tell("waiting", _said(fault.code, ", ".join(pods) or fault.pod))

    def back(self) -> None:
        """Everybody is there."""
        if self._job.state != "running":
            self._change(state="running")
        if self._waits:
            self._waits = False
            self.tell("back")

    def restarted(self, pods: tuple[str, ...], lost: Collection[str]) -> None:
        """From the first round again, of fewer pods."""
        self._waits = False
        self._change(state="running", rounds=0, checkpoint=b"", data_versions={}, pods=pods)
        self.tell("restarted", f"without {', '.join(sorted(lost))}")

    def finished(self, kept: Kept, shelf: Shelf) -> None:
        """The model is on the shelf, unless the job was cancelled in between."""

        def done(job: Job) -> Job:
            shelf.put(kept)
            return replace(job, state="finished", ended=_now(), checkpoint=b"", error="")

        self._job = self._jobs.change(self._job.id, done)
        self.tell("finished")

    def stopped(self, fault: BaseException) -> None:
        """It ends here: for good, or until it is resumed."""
        if self._jobs.get(self._job.id).state == "cancelled":
            self._log("cancelled")
            return
        known = isinstance(fault, Error)
        code = fault.code if isinstance(fault, Error) else type(fault).__name__
        failed = known and code not in PASSING and code not in ("CANCELLED", "CLOSED", "REPLACED")
        state: State = "failed" if failed else "waiting"
        said = fault.message if isinstance(fault, Error) else "the statement was interrupted"
        self._change(state=state, ended=_now() if failed else None, error=f"{code}: {said}")
        if isinstance(fault, Error) and not failed:
            fault.hint = f"RESUME JOB '{self._job.id}' goes on after round {self._job.rounds}"
        line: Event = "failed" if failed else "waiting"
        named = fault.pod if isinstance(fault, Error) else None
        self._log(line, _said(code, named))

    def release(self) -> None:
        """Others may take it up."""
        self._hold.release()

    def _change(self, **values: Any) -> None:
        self._job = self._jobs.change(self._job.id, lambda job: replace(job, **values))


def _said(code: str, pods: str | None) -> str:
    return f"{code} {pods or ''}".strip()


def _now() -> int:
    return time.time_ns() // 1_000_000
