"""What the parent hands the engine and hears back. Rule to keep: exactly one ``Finished`` or
``Failed`` ends a job, and no event carries engine text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec


class Dataset(msgspec.Struct, frozen=True, array_like=True):
    """A table served in place: the engine registers ``paths`` under the opaque ``name``."""

    name: str
    format: str
    """``parquet`` or ``ipc``."""
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One regenerated statement over one snapshot, for one owner."""

    sql: str
    database: Path
    owner: str
    """Analyst and policy version: an engine process serves one owner in its life."""
    deadline: float
    """``time.monotonic()`` at which the engine is interrupted."""
    datasets: tuple[Dataset, ...] = ()
    inputs: tuple[tuple[str, bytes], ...] = ()
    """Relations of earlier stages: name and Arrow IPC stream."""
    work: bytes = b""
    """Of a round of a network (``planner/training/local_steps.py``): what follows ``sql``, which checks
    and counts the rows; then the engine needs torch."""
    guard: bool = False
    """The last column is BOOLEAN ``_ok``: rows where it is not true are withheld."""
    max_rows: int = 1_000_000_000
    max_bytes: int = 64 << 30


@dataclass(frozen=True, slots=True)
class Started:
    """The statement yields rows of this schema (an Arrow IPC schema message)."""

    schema: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next piece of the result; all pieces joined are one Arrow IPC stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The result is complete: rows sent, rows withheld by the guard."""

    rows: int
    withheld: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a result; pieces already delivered are void."""

    code: str
    message: str


Event = Started | Chunk | Finished | Failed
OnEvent = Callable[[Event], None]


class JobHandle(Protocol):
    """What the I/O thread holds of a running job."""

    def cancel(self) -> None:
        """End the job; ``Failed`` with CANCELLED follows unless it is over already."""

    def pause(self) -> None:
        """Deliver no more events until ``resume``; the engine blocks when its pipe is full."""

    def resume(self) -> None:
        """Deliver events again."""


class IoLoop(Protocol):
    """The part of the process's one I/O loop that a pool needs."""

    def post(self, fn: Callable[[], None], /) -> None:
        """Run ``fn`` on the I/O thread; callable from any thread."""

    def later(self, seconds: float, fn: Callable[[], None], /) -> None:
        """Run ``fn`` on the I/O thread after ``seconds``."""

    def watch_fd(self, fd: int, on_readable: Callable[[], None], /) -> None:
        """Call ``on_readable`` whenever ``fd`` can be read."""

    def unwatch_fd(self, fd: int, /) -> None:
        """Stop watching ``fd``."""


class Pool(Protocol):
    """Runs jobs: in sandboxed processes, or in threads for trials."""

    def start(self) -> None:
        """Begin; blocks until the engine is known to work."""

    def close(self) -> None:
        """End every engine; running jobs fail with CANCELLED."""

    def run(self, job: Job, on_event: OnEvent) -> JobHandle:
        """Queue ``job`` (I/O thread); events arrive on the I/O thread, in order."""

    def warm(self, database: Path, datasets: tuple[Dataset, ...]) -> None:
        """Keep spares ready on this snapshot (I/O thread); call after every refresh."""
