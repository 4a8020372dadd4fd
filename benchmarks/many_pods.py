"""1,000 pods on one relay (real sockets, sessions, signatures), and 10,000 idle connections."""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.rows import Row
from benchmarks.swarm import ROWS_EACH
from podsql.demo.stage import free_port
from podsql.driver import connect
from podsql.membership import (
    FederationSection,
    MembershipFile,
    MeSection,
    RelaySection,
    key_text,
    membership_text,
)
from podsql.relay.cards import make_card
from podsql.relay.keys import (
    PeerKeys,
    fingerprint,
    generate_signing,
    replace_file,
    save_keys,
    save_seed,
    signing_public,
)
from podsql.relay.manifest import Manifest, sign_manifest
from podsql.relay.places import manifest_path

PODS = 1000
PROCESSES = 2
COUNTS = 7
READY_SECONDS = 300.0


def run() -> list[Row]:
    """Count over all pods again and again; the relay's memory meanwhile."""
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as name:
        folder = Path(name)
        found(folder)
        with processes(folder) as relay, connect(folder / "ana" / "federation.toml") as connection:
            sql = "SELECT count(*) FROM t"
            expected = [(PODS * ROWS_EACH,)]
            assert connection.execute(sql, timeout=300).fetchall() == expected
            times = []
            for _ in range(COUNTS):
                began = time.perf_counter()
                assert connection.execute(sql).fetchall() == expected
                times.append(time.perf_counter() - began)
            memory = rss_mb(relay)
    return [
        Row(
            name=f"federated count over {PODS} pods: p50",
            value=statistics.median(times),
            unit="s",
            reference=2,
            against="goal",
        ),
        Row(
            name=f"relay memory with {PODS} pods",
            value=memory,
            unit="MB",
            reference=200,
            against="goal",
        ),
    ]


def found(folder: Path) -> None:
    """Keys, manifest, relay and the analyst's membership."""
    now = time.time_ns() // 1_000_000
    seed, relay, ana = generate_signing(), PeerKeys.generate(), PeerKeys.generate()
    mark, place = fingerprint(signing_public(seed)), f"tcp://127.0.0.1:{free_port()}"
    cards = [make_card(ana, name="ana", role="analyst", now=now)]
    (folder / "pods").mkdir()
    (folder / "ana").mkdir()
    for number in range(PODS):
        keys, name = PeerKeys.generate(), f"pod{number:04}"
        save_keys(folder / "pods" / f"{name}.json", keys)
        cards.append(make_card(keys, name=name, role="pod", now=now))
    manifest = Manifest(
        federation=mark, version=1, issued=now, expires=now + 86_400_000, cards=tuple(cards)
    )
    replace_file(manifest_path(folder, mark), sign_manifest(manifest, seed), mode=0o600)
    save_seed(folder / "relay.key", relay.curve)
    (folder / "relay.toml").write_text(f'[relay]\nlisten = "{place}"\nfederations = ["{mark}"]\n')
    key = key_text(relay.curve_public)
    (folder / "federation").write_text(f"{mark} {place} {key}")
    save_keys(folder / "ana" / "keys.json", ana)
    file = MembershipFile(
        federation=FederationSection(name="swarm", fingerprint=mark),
        relay=RelaySection(endpoint=place, key=key),
        me=MeSection(name="ana", role="analyst"),
    )
    (folder / "ana" / "federation.toml").write_text(membership_text(file))


@contextmanager
def processes(folder: Path) -> Iterator[int]:
    """The relay and the pods' processes, all ready; gives the relay's process id."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.bind(str(folder / "ready"))
    door.settimeout(READY_SECONDS)
    environ = {**os.environ, "NOTIFY_SOCKET": str(folder / "ready")}
    share = PODS // PROCESSES
    commands = [["podsql.relayd", str(folder / "relay.toml")]] + [
        ["benchmarks.swarm", str(folder), str(n * share), str((n + 1) * share)]
        for n in range(PROCESSES)
    ]
    running = []
    try:
        for number, command in enumerate(commands):
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command], env=environ, stderr=subprocess.DEVNULL
                )
            )
            if number == 0:
                door.recv(64)
        for _ in range(PROCESSES):
            door.recv(64)
        yield running[0].pid
    finally:
        for process in running:
            process.kill()
            process.wait()
        door.close()


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
