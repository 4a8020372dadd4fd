"""Engines driven by a small real I/O loop: what an Endpoint's loop offers a pool."""

import heapq
import itertools
import os
import selectors
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podsql.engine.job import Chunk, Event, Failed, Finished, Job, JobHandle, Started
from podsql.engine.limits import Limits
from podsql.engine.pool import WorkerPool
from podsql.engine.snapshot import Snapshot, TableSource, build_snapshot
from podsql.engine.thread_pool import ThreadPool

CANARY = "canary-7f3a"


class Loop:
    """post, later, watch_fd, unwatch_fd; ``until`` runs it on the calling thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._posted: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(
            self._wake_read, selectors.EVENT_READ, lambda: os.read(self._wake_read, 65536)
        )

    def post(self, fn: Callable[[], None]) -> None:
        self._posted.append(fn)
        os.write(self._wake_write, b"x")

    def later(self, seconds: float, fn: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), fn))

    def watch_fd(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, on_readable)

    def unwatch_fd(self, fd: int) -> None:
        try:
            self._selector.unregister(fd)
        except KeyError:
            return

    def until(self, true: Callable[[], object], seconds: float = 30.0) -> None:
        """Run until ``true()``; fails when it takes longer than ``seconds``."""
        deadline = time.monotonic() + seconds
        while not true():
            now = time.monotonic()
            assert now < deadline, "the condition did not come true"
            wait = min(deadline, self._timers[0][0] if self._timers else deadline) - now
            for key, _ in self._selector.select(max(0.0, wait)):
                key.data()
            while self._posted:
                self._posted.popleft()()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()


class Running:
    """A job under way and all it said so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.handle: JobHandle | None = None

    @property
    def over(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], Finished | Failed)

    @property
    def code(self) -> str:
        last = self.events[-1]
        return last.code if isinstance(last, Failed) else "FINISHED"

    @property
    def withheld(self) -> int:
        last = self.events[-1]
        assert isinstance(last, Finished), last
        return last.withheld

    def table(self) -> pa.Table:
        assert isinstance(self.events[-1], Finished), self.events[-1]
        assert isinstance(self.events[0], Started)
        stream = b"".join(event.data for event in self.events if isinstance(event, Chunk))
        return pa.ipc.open_stream(stream).read_all()


@dataclass
class Engine:
    """A pool, its loop, and a snapshot to ask about."""

    pool: WorkerPool | ThreadPool
    loop: Loop
    snapshot: Snapshot

    def begin(
        self,
        sql: str,
        *,
        owner: str = "analyst",
        seconds: float = 20.0,
        on_event: Callable[[Event], None] | None = None,
        **more: object,
    ) -> Running:
        running = Running()

        def hear(event: Event) -> None:
            running.events.append(event)
            if on_event is not None:
                on_event(event)

        more.setdefault("datasets", self.snapshot.datasets)
        job = Job(
            sql=sql,
            database=self.snapshot.path,
            owner=owner,
            deadline=time.monotonic() + seconds,
            **more,
        )
        running.handle = self.pool.run(job, hear)
        return running

    def run(self, sql: str, **more: object) -> Running:
        running = self.begin(sql, **more)
        self.loop.until(lambda: running.over)
        return running


@pytest.fixture(scope="session")
def visits() -> pa.Table:
    rows = 1000
    return pa.table(
        {
            "visit_id": pa.array(range(rows), pa.int64()),
            "patient": [f"{CANARY}-{i % 97}" for i in range(rows)],
            "age": pa.array([i % 90 for i in range(rows)], pa.int32()),
        }
    )


@pytest.fixture(scope="session")
def snapshot(visits: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("data")
    pq.write_table(visits, folder / "visits.parquet")
    path = str(folder / "visits.parquet")
    return build_snapshot(
        [
            TableSource(name="clinic.visits", path=path, privacy_unit="patient"),
            TableSource(name="clinic.live", path=path, mode="in_place", columns={"age": "BIGINT"}),
        ],
        [],
        folder / "state",
    )


def open_engine(
    kind: type[WorkerPool] | type[ThreadPool],
    snapshot: Snapshot,
    *,
    limits: Limits | None = None,
    size: int = 2,
) -> Iterator[Engine]:
    if kind is ThreadPool:
        # DuckDB shares one instance per file and process: another pool's settings would hold here.
        own = snapshot.path.with_name(f"{os.urandom(8).hex()}.duckdb")
        shutil.copyfile(snapshot.path, own)
        snapshot = replace(snapshot, path=own)
    loop = Loop()
    pool = kind(limits=limits or Limits(memory_mb=400), size=size, io=loop)
    pool.start()
    yield Engine(pool, loop, snapshot)
    pool.close()


@pytest.fixture(scope="module", params=[WorkerPool, ThreadPool], ids=["process", "thread"])
def engine(request: pytest.FixtureRequest, snapshot: Snapshot) -> Iterator[Engine]:
    """Either pool: what both must do alike."""
    yield from open_engine(request.param, snapshot)


@pytest.fixture(scope="module")
def processes(snapshot: Snapshot) -> Iterator[Engine]:
    """The sandboxed pool."""
    yield from open_engine(WorkerPool, snapshot)


def engine_pids() -> list[int]:
    """Processes forked for engines of this test run: grandchildren of this process."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    children = {pid for pid, parent in parents.items() if parent == os.getpid()}
    return sorted(pid for pid, parent in parents.items() if parent in children)


@pytest.fixture
def pids() -> Callable[[], list[int]]:
    return engine_pids
