"""``podsql federation serve``: the relay and the registrar as two supervised processes.

Rule to keep: the federation key and its passphrase are never in the relay's process or environment;
each process is restarted with growing pauses, and both end with this one on SIGTERM.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from podsql.convener.changes import MANIFEST_LIFE, extend
from podsql.convener.desk import Desk
from podsql.convener.editing import edit_if, load_federation_key
from podsql.convener.relay_files import install_manifest

log = logging.getLogger("podsql.convener")

PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the n-th restart in a row; the last one repeats."""
STEADY_SECONDS: Final = 60.0
"""A process that lived this long starts again with the first pause."""
GRACE_SECONDS: Final = 10.0


@dataclass(slots=True, kw_only=True)
class Supervised:
    """One process that is kept running until ``stop``; ``run`` blocks until then."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start, wait, pause, start again."""
        failures = 0
        while not self.stopping.is_set():
            began = time.monotonic()
            process = self._start()
            if process is None:
                return
            code = process.wait()
            if self.stopping.is_set():
                return
            failures = 0 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            pause = PAUSES[min(failures, len(PAUSES)) - 1] if failures else PAUSES[0]
            log.warning("%s ended with %d, starts again in %.1f s", self.name, code, pause)
            self.stopping.wait(pause)

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:  # stop() sees either no process yet, or this one
            if self.stopping.is_set():
                return None
            self._process = subprocess.Popen(
                self.command, env=dict(self.environ), stdin=subprocess.DEVNULL
            )
            log.info("%s runs as process %d", self.name, self._process.pid)
            return self._process

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL after the grace."""
        self.stopping.set()
        with self._lock:
            process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def commands(desk: Desk, environ: Mapping[str, str], passphrase: str | None) -> list[Supervised]:
    """The processes of a federation: the relay, if it is ours, and the registrar."""
    hidden = ("PODSQL_PASSPHRASE", "NOTIFY_SOCKET")
    bare = {key: value for key, value in environ.items() if key not in hidden}
    secret = {**bare, "PODSQL_PASSPHRASE": passphrase} if passphrase else dict(bare)
    if "NOTIFY_SOCKET" in environ:
        # Ready is who can admit: the registrar, once it has reached the relay.
        secret["NOTIFY_SOCKET"] = environ["NOTIFY_SOCKET"]
    run = [sys.executable, "-m"]
    found = []
    if desk.relay_file.exists():
        found.append(
            Supervised(
                name="relay",
                command=[*run, "podsql.relayd", str(desk.relay_file)],
                environ=bare,
            )
        )
    found.append(
        Supervised(
            name="registrar",
            command=[*run, "podsql.convener.registrar", str(desk.home)],
            environ=secret,
        )
    )
    return found


def prepare(desk: Desk, *, passphrase: str | None, now: int) -> int:
    """Hand the relay the newest manifest, renewed if its life is half over; returns its version."""
    seed = load_federation_key(desk, passphrase)
    edition = edit_if(
        desk, seed, lambda manifest: manifest.expires - now < MANIFEST_LIFE // 2, extend, now=now
    )
    if desk.relay_file.exists():
        install_manifest(desk.relay, edition.raw, edition.manifest)
    return edition.manifest.version


def serve(
    desk: Desk, *, passphrase: str | None, now: int, environ: Mapping[str, str] | None = None
) -> int:
    """Run until SIGTERM or SIGINT; the exit code of the command."""
    prepare(desk, passphrase=passphrase, now=now)
    processes = commands(desk, os.environ if environ is None else environ, passphrase)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [threading.Thread(target=each.run, name=each.name, daemon=True) for each in processes]
    for thread in threads:
        thread.start()
    stop.wait()
    for each in reversed(processes):  # the registrar first: it may have an answer to send
        each.stop()
    for thread in threads:
        thread.join()
    return 0
