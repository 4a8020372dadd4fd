"""The pod's engine processes: who runs what, on which, until when. Event driven on the I/O loop.

An engine serves one owner in its life. ``size`` statements run at once, owners take turns; engines
stay warm for their owner until the memory or number that may be kept is used up, oldest first out.
Rule to keep: every job ends in exactly one ``Finished`` or ``Failed``, no later than its deadline
plus ``GRACE_SECONDS``, whatever its process does.
"""

import heapq
import itertools
import time
from collections import OrderedDict, deque
from pathlib import Path
from typing import Final

import msgspec

from podsql.engine.faults import INTERRUPTED, message_of
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
from podsql.engine.pipe import Done, Fault, Kind, Run
from podsql.engine.process import EngineProcess, ForkParent, Serves, code_of_exit, try_sandbox
from podsql.engine.sandbox import SandboxReport
from podsql.errors import CODES, Error, error

START_SECONDS: Final = 20.0
_REFILL_SECONDS: Final = 0.02
"""A spare is forked a little after one was taken, off the statement's path."""
_RESTART_SECONDS: Final = 1.0


class Task:
    """A job in the pool; the caller's handle on it."""

    def __init__(self, pool: "WorkerPool", number: int, job: Job, on_event: OnEvent) -> None:
        self.pool = pool
        self.number = number
        self.job = job
        self.on_event = on_event
        self.engine: EngineProcess | None = None
        self.paused = False
        self.over = False
        self.ending = ""
        """Why it was interrupted: TIMEOUT or CANCELLED."""

    def cancel(self) -> None:
        """End the job."""
        self.pool.stop(self, "CANCELLED")

    def pause(self) -> None:
        """Deliver nothing more until ``resume``."""
        self.paused = True
        self.pool.listen(self)

    def resume(self) -> None:
        """Deliver again."""
        self.paused = False
        self.pool.listen(self)


class WorkerPool:
    """Runs jobs in sandboxed processes. All methods but start and close: I/O thread."""

    def __init__(self, *, limits: Limits, size: int, io: IoLoop) -> None:
        self.limits = limits
        self.sandbox = SandboxReport(())
        self._size = size
        self._io = io
        self._parent = ForkParent(io, self._exited)
        self._engines: OrderedDict[int, EngineProcess] = OrderedDict()
        """By number, the longest unused first."""
        self._tasks: dict[int, Task] = {}
        """Running ones by the number of their engine."""
        self._waiting: OrderedDict[str, deque[Task]] = OrderedDict()
        """By owner, whose turn is next first."""
        self._queued = 0
        self._deadlines: list[tuple[float, int, Task]] = []
        self._armed = float("inf")
        self._numbers = itertools.count(1)
        self._serves: Serves | None = None
        self._refilling = False
        self._failed_spares = 0
        self._closed = False

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the fork parent and learn which sandbox layers hold (blocking)."""
        self._parent.start(START_SECONDS)
        report = try_sandbox(self._parent, self.limits, START_SECONDS)
        self.sandbox = msgspec.msgpack.decode(report, type=SandboxReport)
        self._io.post(lambda: self._parent.watch(self._parent_lost))

    def close(self) -> None:
        """Fail what waits and runs with CANCELLED, end every process (I/O thread, or loop over)."""
        self._closed = True
        for task in [*self._tasks.values(), *itertools.chain(*self._waiting.values())]:
            self._conclude(task, Failed("CANCELLED", message_of("CANCELLED")))
        for engine in list(self._engines.values()):
            self._discard(engine)
        self._parent.close()

    def warm(self, database: Path, datasets: tuple[Dataset, ...] = ()) -> None:
        """Serve a new snapshot: spares move to it, idle engines of the old one end."""
        self._serves = (database, datasets)
        for engine in list(self._engines.values()):
            if engine.serves != self._serves and engine.number not in self._tasks:
                self._discard(engine)
        self._refill_later()

    # -- jobs ----------------------------------------------------------------------------------

    def run(self, job: Job, on_event: OnEvent) -> Task:
        """Queue a job; BUSY if too many wait."""
        if self._closed:
            raise error("CLOSED", "the engine is closed")
        if self._queued >= self.limits.queue:
            raise error("BUSY", message_of("BUSY"))
        if self._serves is None:
            self._serves = (job.database, job.datasets)
        task = Task(self, next(self._numbers), job, on_event)
        self._waiting.setdefault(job.owner, deque()).append(task)
        self._queued += 1
        heapq.heappush(self._deadlines, (job.deadline, task.number, task))
        self._arm()
        self._schedule()
        return task

    def stop(self, task: Task, why: str) -> None:
        """Interrupt a task; kill its process if it has not ended a moment later."""
        if task.over or task.ending:
            return
        if task.engine is None:
            self._waiting[task.job.owner].remove(task)
            self._queued -= 1
            self._conclude(task, Failed(why, message_of(why)))
            return
        task.ending = why
        task.paused = False
        self.listen(task)
        task.engine.interrupt(task.number)
        self._io.later(GRACE_SECONDS, lambda: self._kill(task))

    def listen(self, task: Task) -> None:
        """Watch or leave alone the pipe of a task's engine, as ``paused`` says."""
        if task.engine is None or task.over:
            return
        self._io.unwatch_fd(task.engine.pipe.fileno())
        if not task.paused:
            self._watch(task.engine)
            if task.engine.pending:
                engine = task.engine
                self._io.post(lambda: self._deliver(engine))

    def _schedule(self) -> None:
        while len(self._tasks) < self._size and self._waiting:
            owner, tasks = self._waiting.popitem(last=False)
            if not tasks:
                continue
            task = tasks.popleft()
            if tasks:
                self._waiting[owner] = tasks
            self._queued -= 1
            try:
                engine = self._engine_for(task.job)
            except Error as fault:
                self._conclude(task, Failed(fault.code, fault.message))
                continue
            self._begin(task, engine)

    def _begin(self, task: Task, engine: EngineProcess) -> None:
        job = task.job
        engine.owner = job.owner
        engine.served += 1
        task.engine = engine
        self._tasks[engine.number] = task
        run = Run(
            task.number, job.sql, job.inputs, job.guard, job.max_rows, job.max_bytes, job.work
        )
        engine.send(Kind.RUN, msgspec.msgpack.encode(run))
        self.listen(task)

    def _conclude(self, task: Task, event: Finished | Failed) -> None:
        if task.over:
            return
        task.over = True
        if task.engine is not None:
            self._tasks.pop(task.engine.number, None)
        task.on_event(event)
        if not self._closed:
            self._io.post(self._schedule)

    # -- engines -------------------------------------------------------------------------------

    def _engine_for(self, job: Job) -> EngineProcess:
        serves = (job.database, job.datasets)
        spare = None
        for engine in reversed(self._engines.values()):
            if engine.gone or engine.number in self._tasks or engine.serves != serves:
                continue
            if job.work and not engine.torch:
                continue
            if engine.owner == job.owner:
                self._engines.move_to_end(engine.number)
                return engine
            if not (engine.owner or engine.torch) and (spare is None or engine.ready):
                spare = engine
        self._refill_later()
        if spare is not None:
            self._engines.move_to_end(spare.number)
            return spare
        return self._fork(serves, torch=bool(job.work))

    def _fork(self, serves: Serves, *, torch: bool = False) -> EngineProcess:
        idle = [e for e in self._engines.values() if e.number not in self._tasks]
        for engine in idle[: max(0, len(self._engines) + 1 - self.limits.kept)]:
            self._discard(engine)
        engine = self._parent.fork(serves, self.limits, torch=torch)
        self._engines[engine.number] = engine
        self._watch(engine)
        return engine

    def _watch(self, engine: EngineProcess) -> None:
        self._io.watch_fd(engine.pipe.fileno(), lambda: self._readable(engine))

    def _discard(self, engine: EngineProcess) -> None:
        if self._engines.pop(engine.number, None) is None:
            return
        self._io.unwatch_fd(engine.pipe.fileno())
        engine.close()
        self._parent.kill(engine.number)

    def _refill_later(self, seconds: float = _REFILL_SECONDS) -> None:
        if not self._refilling:
            self._refilling = True
            self._io.later(seconds, self._refill)

    def _refill(self) -> None:
        self._refilling = False
        if self._closed or self._serves is None:
            return
        if any(not e.owner and e.serves == self._serves for e in self._engines.values()):
            return
        try:
            self._fork(self._serves)
        except Error:
            self._refill_later(_RESTART_SECONDS)

    def _trim(self) -> None:
        """Let the longest unused engines go while the idle ones hold too much memory."""
        idle = [e for e in self._engines.values() if e.number not in self._tasks]
        held = sum(e.resident_mb for e in idle)
        for engine in idle:
            if held <= self.limits.kept_mb:
                return
            held -= engine.resident_mb
            self._discard(engine)

    # -- what engines say ----------------------------------------------------------------------

    def _readable(self, engine: EngineProcess) -> None:
        try:
            alive = engine.receive()
        except Error:  # it broke the protocol: treat it as hostile
            alive = False
            self._parent.kill(engine.number)
        self._deliver(engine)
        if not alive and engine.number in self._engines:
            # Its end is reported by the fork parent, with the reason; a live one that closed its
            # pipe is of no use either.
            engine.gone = True
            self._io.unwatch_fd(engine.pipe.fileno())
            self._parent.kill(engine.number)

    def _deliver(self, engine: EngineProcess) -> None:
        task = self._tasks.get(engine.number)
        while engine.pending and not (task and task.paused):
            kind, payload = engine.pending.popleft()
            if kind == Kind.READY:
                engine.ready = True
                self._failed_spares = 0
            elif task is None or task.over:
                continue
            elif kind == Kind.CHUNK or kind == Kind.STARTED:
                if not task.ending:
                    event: Event = Chunk(payload) if kind == Kind.CHUNK else Started(payload)
                    task.on_event(event)
            else:
                self._ended(engine, task, kind, payload)

    def _ended(self, engine: EngineProcess, task: Task, kind: int, payload: bytes) -> None:
        try:
            if kind == Kind.FINISHED and not task.ending:
                done = msgspec.msgpack.decode(payload, type=Done)
                self._finished(engine, task, done)
                return
            code = task.ending or msgspec.msgpack.decode(payload, type=Fault).code
        except (msgspec.MsgspecError, UnicodeDecodeError):
            code = task.ending or "POD_FAILED"
        if code == INTERRUPTED:  # DuckDB's own clock was faster than ours
            code = "TIMEOUT"
        if code not in CODES:
            code = "POD_FAILED"
        self._discard(engine)
        self._conclude(task, Failed(code, message_of(code)))

    def _finished(self, engine: EngineProcess, task: Task, done: Done) -> None:
        engine.resident_mb = done.resident_mb
        spent = engine.served >= self.limits.statements or engine.serves != self._serves
        self._conclude(task, Finished(done.rows, done.withheld))
        if spent:
            self._discard(engine)
        self._trim()

    def _exited(self, number: int, status: int, peak_kb: int) -> None:
        task = self._tasks.get(number)
        engine = self._engines.get(number)
        if engine is not None:
            while engine.receive() and task is not None and not task.over and engine.pending:
                self._deliver(engine)
            self._discard(engine)
            if not engine.ready and not engine.owner:
                self._failed_spares += 1
                self._refill_later(min(30.0, 2.0**self._failed_spares))
        if task is not None:
            code = task.ending or code_of_exit(status, peak_kb, self.limits)
            self._conclude(task, Failed(code, message_of(code)))

    def _parent_lost(self) -> None:
        for task in list(self._tasks.values()):
            code = task.ending or "POD_FAILED"
            self._conclude(task, Failed(code, message_of(code)))
        for engine in list(self._engines.values()):
            self._discard(engine)
        if not self._closed:
            self._parent.close()
            self._io.later(_RESTART_SECONDS, self._restart)

    def _restart(self) -> None:
        if self._closed:
            return
        try:
            self._parent.start(START_SECONDS)
        except Error:
            self._io.later(_RESTART_SECONDS, self._restart)
            return
        self._parent.watch(self._parent_lost)
        self._refill_later()

    # -- time ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        while self._deadlines and self._deadlines[0][2].over:
            heapq.heappop(self._deadlines)
        if self._deadlines and self._deadlines[0][0] < self._armed:
            self._armed = self._deadlines[0][0]
            self._io.later(max(0.0, self._armed - time.monotonic()), self._due)

    def _due(self) -> None:
        self._armed = float("inf")
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].over):
            task = heapq.heappop(self._deadlines)[2]
            self.stop(task, "TIMEOUT")
        self._arm()

    def _kill(self, task: Task) -> None:
        if task.over or task.engine is None:
            return
        self._discard(task.engine)
        self._conclude(task, Failed(task.ending, message_of(task.ending)))
