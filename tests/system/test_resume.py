"""A large result while the relay is killed again and again: one execution, every byte right."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podsql.demo.stage import Stage
from podsql.driver import connect

BIG = os.environ.get("PODSQL_BIG") == "1"
ROWS = (1 << 30) // 16 if BIG else (96 << 20) // 16
KILLS = 5 if BIG else 3

MAKE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
rows, at = int(sys.argv[2]), np.random.default_rng(7)
schema = pa.schema([("id", pa.int64()), ("noise", pa.int64())])
with pq.ParquetWriter(sys.argv[1], schema) as out:
    for start in range(0, rows, 1 << 20):
        count = min(1 << 20, rows - start)
        ids = np.arange(start, start + count, dtype=np.int64)
        out.write_table(pa.table([ids, (ids * 2654435761) % (1 << 61)], schema=schema))
"""


@pytest.fixture
def stage(tmp_path) -> Iterator[Stage]:
    path = tmp_path / "t.parquet"
    # In a process of its own: this one's memory is what the test measures.
    subprocess.run([sys.executable, "-c", MAKE, str(path), str(ROWS)], check=True)
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
def test_attack_18_a_relay_killed_mid_stream_costs_nothing_but_time(stage):
    (pod,) = pids(f"podsql pod serve --config {stage.home}/north/pod.toml")
    with connect(stage.analyst, timeout=800) as con:
        cursor = con.execute("SELECT id, noise FROM t")
        rows, kills, most, total = 0, 0, [0.0, 0.0], 0
        for batch in cursor.fetch_record_batch():
            ids, noise = (column.to_numpy() for column in batch.columns)
            total += int(ids.sum())
            assert (noise == (ids * 2654435761) % (1 << 61)).all()
            rows += batch.num_rows
            most = [max(most[0], rss_mb(os.getpid())), max(most[1], rss_mb(pod))]
            if kills < KILLS and rows > ROWS * (kills + 1) // (KILLS + 1):
                kills += 1
                for relay in pids(f"podsql.relayd {stage.home}"):
                    os.kill(relay, signal.SIGKILL)
        (receipt,) = cursor.receipt
    assert kills == KILLS
    assert rows == receipt.rows == ROWS
    assert receipt.executed == 1
    assert total == ROWS * (ROWS - 1) // 2
    assert max(most) < 300
    if BIG:
        print(f"peak RSS: analyst {most[0]:.0f} MB, pod parent {most[1]:.0f} MB")
