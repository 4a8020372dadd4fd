"""The pool's twin with threads, for trials in one process (``isolation = 'thread'``).

Same jobs, same events, same DuckDB lock; no process to kill: a statement that does not heed its
interrupt is abandoned to its thread, and its job is told the truth on time. Rule to keep: no
custodian's pod that serves strangers runs on this.
"""

import itertools
import queue
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb

from podsql.engine.faults import INTERRUPTED, code_of, message_of
from podsql.engine.job import (
    Chunk,
    Dataset,
    Event,
    Failed,
    Finished,
    IoLoop,
    Job,
    OnEvent,
    Started,
)
from podsql.engine.limits import GRACE_SECONDS, Limits
from podsql.engine.pipe import Configure, Run
from podsql.engine.sandbox import SandboxReport
from podsql.engine.statement import run_statement
from podsql.engine.worker import open_database, register
from podsql.errors import CODES, Error, error

_AHEAD: Final = 8
"""Events a statement may be ahead of its reader: this bounds memory while paused."""


@dataclass(slots=True, eq=False)
class ThreadTask:
    """A job in the pool; the caller's handle on it."""

    pool: "ThreadPool"
    number: int
    job: Job
    on_event: OnEvent
    connection: duckdb.DuckDBPyConnection | None = None
    paused: bool = False
    over: bool = False
    running: bool = False
    ending: str = ""
    held: deque[Event] = field(default_factory=deque)
    room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AHEAD))

    def cancel(self) -> None:
        """End the job."""
        self.pool.stop(self, "CANCELLED")

    def pause(self) -> None:
        """Deliver nothing more until ``resume``."""
        self.paused = True

    def resume(self) -> None:
        """Deliver again."""
        self.paused = False
        self.pool.deliver(self)


class ThreadPool:
    """Runs jobs in threads over one locked DuckDB a snapshot. Methods: I/O thread."""

    def __init__(self, *, limits: Limits, size: int, io: IoLoop) -> None:
        self.limits = limits
        self.sandbox = SandboxReport((), (("process", "statements run in threads"),))
        self._size = size
        self._io = io
        self._work: queue.SimpleQueue[ThreadTask | None] = queue.SimpleQueue()
        self._waiting: OrderedDict[str, deque[ThreadTask]] = OrderedDict()
        self._running: set[ThreadTask] = set()
        self._numbers = itertools.count(1)
        self._databases: dict[tuple[Path, tuple[Dataset, ...]], duckdb.DuckDBPyConnection] = {}
        self._opening = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self._size):
            self._thread()

    def close(self) -> None:
        """Fail what waits and runs; threads end when their statement does."""
        self._closed = True
        for task in [*self._running, *itertools.chain(*self._waiting.values())]:
            self._interrupt(task)
            self._conclude(task, "CANCELLED")
        for _ in range(self._size):
            self._work.put(None)
        with self._opening:
            self._databases.clear()  # each is closed when its last statement lets go of it

    def warm(self, database: Path, datasets: tuple[Dataset, ...] = ()) -> None:
        """Nothing to prepare: databases open at their first statement, old ones are let go."""
        with self._opening:
            for key in [k for k in self._databases if k != (database, datasets)]:
                del self._databases[key]

    def run(self, job: Job, on_event: OnEvent) -> ThreadTask:
        """Queue a job; BUSY if too many wait."""
        if self._closed:
            raise error("CLOSED", "the engine is closed")
        if sum(map(len, self._waiting.values())) >= self.limits.queue:
            raise error("BUSY", message_of("BUSY"))
        task = ThreadTask(self, next(self._numbers), job, on_event)
        self._waiting.setdefault(job.owner, deque()).append(task)
        self._io.later(
            max(0.0, job.deadline - time.monotonic()), lambda: self.stop(task, "TIMEOUT")
        )
        self._schedule()
        return task

    def stop(self, task: ThreadTask, why: str) -> None:
        """Interrupt a task; tell its caller the end a moment later whatever the thread does."""
        if task.over or task.ending:
            return
        task.ending = why
        if not task.running:
            self._waiting[task.job.owner].remove(task)
            self._conclude(task, why)
            return
        self._interrupt(task)
        self._io.later(GRACE_SECONDS, lambda: self._abandon(task, why))

    def deliver(self, task: ThreadTask) -> None:
        """Hand on what the thread produced."""
        while task.held and not task.paused and not task.over:
            event = task.held.popleft()
            task.room.release()
            if isinstance(event, Finished | Failed):
                self._end(task, event)
            elif not task.ending:
                task.on_event(event)

    def _schedule(self) -> None:
        while len(self._running) < self._size and self._waiting:
            owner, tasks = self._waiting.popitem(last=False)
            if not tasks:
                continue
            task = tasks.popleft()
            if tasks:
                self._waiting[owner] = tasks
            task.running = True
            self._running.add(task)
            self._work.put(task)

    def _conclude(self, task: ThreadTask, code: str) -> None:
        self._end(task, Failed(code, message_of(code)))

    def _end(self, task: ThreadTask, event: Finished | Failed) -> None:
        if task.over:
            return
        task.over = True
        task.held.clear()
        task.room.release(_AHEAD)
        self._running.discard(task)
        if task.ending:
            event = Failed(task.ending, message_of(task.ending))
        task.on_event(event)
        if not self._closed:
            self._io.post(self._schedule)

    def _interrupt(self, task: ThreadTask) -> None:
        task.paused = False
        task.held.clear()
        task.room.release(_AHEAD)
        if task.connection is not None:
            task.connection.interrupt()

    def _abandon(self, task: ThreadTask, why: str) -> None:
        if not task.over:
            self._conclude(task, why)
            self._thread()  # its own is lost to the statement

    # -- in the threads ------------------------------------------------------------------------

    def _thread(self) -> None:
        threading.Thread(target=self._serve, name="engine", daemon=True).start()

    def _serve(self) -> None:
        while (task := self._work.get()) is not None:
            event = self._statement(task)
            abandoned = task.over
            self._say(task, event)
            if abandoned:
                return

    def _statement(self, task: ThreadTask) -> Finished | Failed:
        job = task.job
        try:
            con = self._database(job).cursor()
            for dataset in job.datasets:
                register(con, dataset)
            task.connection = con
            if task.ending or task.over:
                # It was interrupted before there was anything to interrupt.
                return Failed("CANCELLED", message_of("CANCELLED"))
            run = Run(
                task.number, job.sql, job.inputs, job.guard, job.max_rows, job.max_bytes, job.work
            )
            rows, withheld = run_statement(
                con,
                run,
                started=lambda schema: self._say(task, Started(schema)),
                piece=lambda data: self._say(task, Chunk(data)),
            )
            return Finished(rows, withheld)
        except Exception as fault:  # noqa: BLE001 - the thread's top: a code and no text
            code = fault.code if isinstance(fault, Error) else code_of(fault)
            if code == INTERRUPTED:
                code = task.ending or "TIMEOUT"
            if code not in CODES:
                code = "POD_FAILED"
            return Failed(code, message_of(code))

    def _database(self, job: Job) -> duckdb.DuckDBPyConnection:
        key = (job.database, job.datasets)
        with self._opening:
            if key not in self._databases:
                configure = Configure(str(job.database), job.datasets, self.limits)
                self._databases[key] = open_database(configure)
            return self._databases[key]

    def _say(self, task: ThreadTask, event: Event) -> None:
        if not task.ending and not task.over:
            task.room.acquire()

        def arrive() -> None:
            task.held.append(event)
            self.deliver(task)

        self._io.post(arrive)
