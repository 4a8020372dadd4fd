"""The fork parent of engine processes: ``python -m podsql.engine.zygote FD``.

It imports the engine, holds no key and no socket but the control pair, and forks a process for
each request. Rule to keep: it never starts a thread (it checks before each fork), so a fork is a
clean copy; it reaps its children and kills them by request, so no process id is ever reused
between a decision and its kill.

Control messages: ``S u32`` with two descriptors (start), ``K u32`` (kill) to it; ``H`` (here),
``X u32 i32 u64`` (exit status, peak resident KiB) from it.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from struct import Struct
from typing import Final

import duckdb  # noqa: F401 - imported once here, inherited by every fork

from podsql.engine.no_pandas import leave_pandas_out
from podsql.engine.worker import serve

START: Final = Struct("<cI")
EXITED: Final = Struct("<cIiQ")


def main() -> None:
    """Serve the control socket whose descriptor is the only argument."""
    leave_pandas_out()
    importlib.import_module("pyarrow.dataset")  # inherited too: an engine can load nothing more
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.collect()
    gc.freeze()
    children: dict[int, tuple[int, int]] = {}
    poller = select.poll()
    poller.register(control, select.POLLIN)
    control.send(b"H")
    while True:
        for fd, _ in poller.poll():
            if fd != control.fileno():
                poller.unregister(fd)
                _reap(control, fd, *children.pop(fd))
                continue
            message, fds, _, _ = socket.recv_fds(control, 64, 2)
            if not message:
                return _end(children)
            kind, engine = START.unpack(message)
            if kind == b"S":
                pid = _fork(fds)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = (engine, pid)
                poller.register(pidfd, select.POLLIN)
            else:
                for number, pid in children.values():
                    if number == engine:
                        os.kill(pid, signal.SIGKILL)


def _fork(fds: list[int]) -> int:
    if len(os.listdir("/proc/self/task")) != 1:
        raise SystemExit("the fork parent has a thread")
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        return pid
    # The child never returns into the parent's stack, nor runs its exit handlers.
    try:
        serve(socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1]))
    finally:
        os._exit(0)


def _reap(control: socket.socket, pidfd: int, engine: int, pid: int) -> None:
    _, status, usage = os.wait4(pid, 0)
    os.close(pidfd)
    control.send(EXITED.pack(b"X", engine, os.waitstatus_to_exitcode(status), usage.ru_maxrss))


def _end(children: dict[int, tuple[int, int]]) -> None:
    for _, pid in children.values():
        os.kill(pid, signal.SIGKILL)
    for _, pid in children.values():
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
