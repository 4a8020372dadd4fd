"""A large result while the relay is killed again and again: one execution, every byte right."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podsql.demo.stage import Stage

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


@pytest.mark.timeout(900)
def test_attack_18_a_relay_killed_mid_stream_costs_nothing_but_time(stage):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("reader.py"), stage.home, str(ROWS), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    if BIG:
        print(seen)
    assert seen["kills"] == KILLS
    assert seen["rows"] == seen["promised"] == ROWS
    assert seen["executed"] == 1
    assert seen["ids"] == ROWS * (ROWS - 1) // 2
    assert seen["wrong"] == 0
    assert max(seen["analyst_mb"], seen["pod_mb"]) < 300
