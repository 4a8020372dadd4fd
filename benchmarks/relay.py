"""Sealed 64-byte round trips through the relay, beside a bare Python ROUTER without CURVE or seals."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import zmq

from benchmarks.pair import BARE, Pair
from benchmarks.rows import Row

SECONDS = 4.0
BODY = bytes(64)


def run() -> list[Row]:
    """One in flight, then a hundred."""
    bare = {window: _bare(window) for window in (1, 100)}
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder, Pair(Path(folder)) as pair:
        ours = {window: _ours(pair, window) for window in (1, 100)}
    return [
        Row(
            name=f"sealed 64-byte round trips through the relay, {window} in flight",
            value=ours[window],
            unit="1/s",
            reference=bare[window],
            against="bare Python ROUTER",
        )
        for window in (1, 100)
    ]


def _ours(pair: Pair, window: int) -> float:
    done: SimpleQueue[object] = SimpleQueue()

    def ask() -> None:
        pair.analyst.call(pair.pod, BODY, timeout=30, on_reply=done.put)

    return _rate(window, ask, done.get)


def _bare(window: int) -> float:
    with _router() as port:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        made = context.socket(zmq.DEALER)
        made.linger = 0
        made.connect(f"tcp://127.0.0.1:{port}")
        try:
            return _rate(window, lambda: made.send(BODY), made.recv)
        finally:
            made.close()
            context.term()


def _rate(window: int, ask: object, take: object) -> float:
    assert callable(ask)
    assert callable(take)
    for _ in range(window):
        ask()
    for _ in range(200):
        take()
        ask()
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < SECONDS:
        take()
        ask()
        count += 1
    for _ in range(window):
        take()
    return count / (now - began)


@contextmanager
def _router() -> Iterator[int]:
    """A ROUTER between two DEALERs: the echo peer and the one that asks."""
    process = subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
