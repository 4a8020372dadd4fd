"""A federation that runs: the real relay and registrar processes, on a loopback port of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podsql.convener.desk import Desk
from podsql.convener.founding import Founded, RelayChoice, found
from podsql.convener.joining import Joined, WayOut, join
from podsql.convener.relay_files import plan_relay

WAY = WayOut(environ={})


def _now() -> int:
    return time.time_ns() // 1_000_000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _found(home: Path, *invites: tuple[str, str]) -> Founded:
    endpoint = f"tcp://127.0.0.1:{_free_port()}"
    choice = RelayChoice(endpoint=endpoint, plan=plan_relay(endpoint))
    return found("clinics", home, choice, now=_now(), invites=invites)


@contextmanager
def _serve(desk: Desk) -> Iterator[subprocess.Popen[bytes]]:
    """``podsql federation serve`` of a directory, ended by SIGTERM."""
    command = [sys.executable, "-m", "podsql", "federation", "serve", "--dir", str(desk.home)]
    process = subprocess.Popen(
        [*command, "--verbose"], env={**os.environ, "PODSQL_PROXY": "direct"}
    )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _join(line: str, home: Path) -> Joined:
    return join(line, home, way=WAY, now=_now(), timeout=30.0)


@pytest.fixture(scope="session")
def founded():
    """``founded(home, ("ana", "analyst"), …)``: a federation's directory with invites."""
    return _found


@pytest.fixture(scope="session")
def serving():
    """``with serving(desk):`` the relay and the registrar run."""
    return _serve


@pytest.fixture(scope="session")
def joined():
    """``joined(line, home)``: redeem an invite."""
    return _join
