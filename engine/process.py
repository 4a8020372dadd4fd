"""Processes as the parent sees them: the fork parent, and one engine process at the end of a pipe.

Rule to keep: nothing here blocks; the I/O thread calls it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from podsql.engine.job import Dataset, IoLoop
from podsql.engine.limits import Limits
from podsql.engine.pipe import NUMBER, Configure, FrameBuffer, Kind, send_to_engine
from podsql.engine.sandbox import ENVIRONMENT
from podsql.engine.zygote import EXITED, START
from podsql.errors import error

Serves = tuple[Path, tuple[Dataset, ...]]
"""What an engine process was opened on."""

_RECEIVE = 1 << 20


@dataclass(slots=True, kw_only=True, eq=False)
class EngineProcess:
    """One engine process; ``owner`` is empty while it is a spare."""

    number: int
    serves: Serves
    torch: bool = False
    """It can take the local steps of networks."""
    pipe: socket.socket
    interrupts: socket.socket
    owner: str = ""
    served: int = 0
    resident_mb: int = 0
    ready: bool = False
    gone: bool = False
    """Its pipe has ended; the fork parent will say why."""
    frames: FrameBuffer = field(default_factory=FrameBuffer)
    pending: deque[tuple[int, bytes]] = field(default_factory=deque)

    def configure(self, limits: Limits) -> None:
        """Say what to serve; the process answers READY."""
        database, datasets = self.serves
        text = str(database) if database.name else ""
        first = Configure(text, datasets, limits, self.torch)
        send_to_engine(self.pipe, Kind.CONFIGURE, msgspec.msgpack.encode(first))
        self.pipe.setblocking(False)

    def send(self, kind: Kind, payload: bytes) -> None:
        """Send one short frame; a dead process is noticed at its pipe's end, not here."""
        try:
            send_to_engine(self.pipe, kind, payload)
        except OSError:
            return

    def interrupt(self, statement: int) -> None:
        """Ask DuckDB to stop this statement."""
        try:
            self.interrupts.send(NUMBER.pack(statement))
        except OSError:
            return

    def receive(self) -> bool:
        """Read what is there into ``pending``; False at the end of the pipe."""
        try:
            data = self.pipe.recv(_RECEIVE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.pending.extend(self.frames.feed(data))
        return bool(data)

    def close(self) -> None:
        """Close both pipes."""
        self.pipe.close()
        self.interrupts.close()


class ForkParent:
    """The keyless process that forks engines (``podsql.engine.zygote``)."""

    def __init__(self, io: IoLoop, exited: Callable[[int, int, int], None]) -> None:
        self._io = io
        self._exited = exited
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = 0

    def start(self, timeout: float) -> None:
        """Start it and wait until it answers (blocking: only at start and after its death)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "podsql.engine.zygote", str(theirs.fileno())],
                env=dict(ENVIRONMENT),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(timeout)
        try:
            hello = ours.recv(16)
        except TimeoutError:
            hello = b""
        if hello != b"H":
            self.close()
            raise error(
                "POD_FAILED",
                "the engine's fork parent did not start",
                hint="podsql doctor tries it alone",
            )
        ours.setblocking(False)

    def watch(self, lost: Callable[[], None]) -> None:
        """Begin to hear of ended engines (I/O thread); ``lost`` when the fork parent is gone."""
        control = self._open()
        self._io.watch_fd(control.fileno(), lambda: self._hear(lost))

    def fork(self, serves: Serves, limits: Limits, *, torch: bool = False) -> EngineProcess:
        """Fork an engine for ``serves``; it gets ready while the caller goes on."""
        pipe, theirs = socket.socketpair()
        interrupts, theirs_too = socket.socketpair()
        self._numbers += 1
        engine = EngineProcess(
            number=self._numbers, serves=serves, torch=torch, pipe=pipe, interrupts=interrupts
        )
        with theirs, theirs_too:
            fds = [theirs.fileno(), theirs_too.fileno()]
            try:
                socket.send_fds(self._open(), [START.pack(b"S", engine.number)], fds)
            except OSError:
                engine.close()
                raise error("POD_FAILED", "the engine's fork parent is gone") from None
        engine.configure(limits)
        return engine

    def kill(self, number: int) -> None:
        """Kill engine ``number`` if it still lives."""
        try:
            self._open().send(START.pack(b"K", number))
        except OSError:
            return  # a dead fork parent took its children along

    def close(self) -> None:
        """End it and every engine."""
        if self._control is not None:
            if self._control.fileno() >= 0:
                self._io.unwatch_fd(self._control.fileno())
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _open(self) -> socket.socket:
        if self._control is None:
            raise error("CLOSED", "the engine is not started")
        return self._control

    def _hear(self, lost: Callable[[], None]) -> None:
        control = self._open()
        while True:
            try:
                message = control.recv(EXITED.size)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if len(message) != EXITED.size:
                self._io.unwatch_fd(control.fileno())
                lost()
                return
            _, number, status, peak_kb = EXITED.unpack(message)
            self._exited(number, status, peak_kb)


def code_of_exit(status: int, peak_kb: int, limits: Limits) -> str:
    """Why an engine ended that did not say: the size it reached tells memory from the rest."""
    if status == -signal.SIGXCPU:
        return "TIMEOUT"
    if status < 0 and peak_kb // 1024 > limits.memory_mb // 2:
        return "OUT_OF_MEMORY"
    return "POD_FAILED"


def try_sandbox(parent: ForkParent, limits: Limits, timeout: float) -> bytes:
    """One engine without a database: restricts itself, says what holds, ends (blocking)."""
    engine = parent.fork((Path(), ()), limits)
    deadline = time.monotonic() + timeout
    try:
        while not engine.pending:
            engine.pipe.settimeout(max(0.01, deadline - time.monotonic()))
            if not engine.receive():
                break
        kind, payload = engine.pending[0] if engine.pending else (0, b"")
    finally:
        engine.close()
    if kind != Kind.READY:
        raise error("POD_FAILED", "an engine process could not restrict itself")
    return payload


def has_processes() -> bool:
    """Whether this system can fork engines."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")
