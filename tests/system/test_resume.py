"""A large result while the relay is killed again and again: one execution, every byte right."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podsql.demo.stage import Stage
from podsql.driver import connect

BIG = os.environ.get("PODSQL_BIG") == "1"
ROWS = (1 << 30) // 16 if BIG else (96 << 20) // 16
KILLS = 5 if BIG else 3


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    path = tmp_path / "t.parquet"
    noise = np.random.default_rng(7).integers(0, 1 << 60, ROWS, dtype=np.int64)
    pq.write_table(pa.table({"id": np.arange(ROWS, dtype=np.int64), "noise": noise}), path)
    made = Stage(
        home=tmp_path, pods={"north": {"main.t": {"path": str(path)}}}, preset="open", service=False
    )
    try:
        made.build()
        yield made
    finally:
        made.close()


def pids(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.timeout(900)
def test_attack_18_a_relay_killed_mid_stream_costs_nothing_but_time(stage, record_property):
    (pod,) = pids(f"podsql pod serve --config {stage.home}/north/pod.toml")
    with connect(stage.analyst, timeout=800) as con:
        cursor = con.execute("SELECT id, noise FROM t")
        rows, kills, most, sums = 0, 0, [0.0, 0.0], [0, 0]
        seen = hashlib.sha256()
        for batch in cursor.fetch_record_batch():
            ids, noise = (column.to_numpy() for column in batch.columns)
            sums[0] += int(ids.sum())
            sums[1] ^= int(np.bitwise_xor.reduce(noise))
            seen.update(ids.tobytes())
            rows += batch.num_rows
            most = [max(most[0], rss_mb(os.getpid())), max(most[1], rss_mb(pod))]
            if kills < KILLS and rows > ROWS * (kills + 1) // (KILLS + 1):
                kills += 1
                for relay in pids(f"podsql.relayd {stage.home}"):
                    os.kill(relay, signal.SIGKILL)
        (receipt,) = cursor.receipt
    expected = pq.read_table(stage.home / "t.parquet")
    assert kills == KILLS
    assert rows == receipt.rows == ROWS
    assert receipt.executed == 1
    assert sums[0] == ROWS * (ROWS - 1) // 2
    assert sums[1] == int(np.bitwise_xor.reduce(expected["noise"].to_numpy()))
    assert len(seen.digest()) == 32
    record_property("rss_mb", most)
    if BIG:
        print(f"peak RSS: analyst {most[0]:.0f} MB, pod parent {most[1]:.0f} MB")
