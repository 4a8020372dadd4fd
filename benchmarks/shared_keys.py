"""Keys that pods share: what one costs of a core, and how long a count over three pods takes."""

import os
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.rows import Row
from podsql.engine.psi.points import hide, multiply_points, new_secret
from podsql.local_federation import local

POLICY = """
version = 1
name = "shared"
people = "*"
[joins]
kinds = ["co_located", "reference", "psi_count"]
[tables.visit.columns]
person = {roles = ["entity_key", "join_key"]}
"""
KEYS = 4_000
SAMPLE = 2_000


def run() -> list[Row]:
    """One core's work, measured in its own time, then a whole count on all cores."""
    secret, other, domain = new_secret(), new_secret(), os.urandom(32)
    began = time.thread_time()
    points = hide(secret, domain, [b"%d" % key for key in range(SAMPLE)])
    hidden = time.thread_time()
    multiply_points(other, points)
    done = time.thread_time()
    pods = {
        pod: {"visit": pa.table({"person": range(at, at + KEYS)})}
        for pod, at in (("north", 0), ("south", KEYS // 2), ("west", KEYS))
    }
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as name:
        policy = Path(name) / "policy.toml"
        policy.write_text(POLICY)
        wall, spent = _count(pods, policy)
    return [
        Row(name="own keys hashed and blinded", value=SAMPLE / (hidden - began), unit="/s/core"),
        Row(name="keys of another pod multiplied", value=SAMPLE / (done - hidden), unit="/s/core"),
        Row(name=f"count of 3 pods with {KEYS} keys each", value=wall, unit="s"),
        Row(
            name="keys of 3 pods counted, all pods' work, a core",
            value=3 * KEYS / spent,
            unit="/s/core",
            reference=SAMPLE / (hidden - began + 2 * (done - hidden)),
            against="bare group operations",
        ),
    ]


def _count(pods: dict[str, dict[str, pa.Table]], policy: Path) -> tuple[float, float]:
    """Seconds that a count takes, and that all processors of this process worked for it."""
    with local(pods, privacy_unit={"visit": "person"}, policy=policy) as federation:
        connection = federation.connect(timeout=600)
        start, busy = time.perf_counter(), time.process_time()
        found = connection.execute("SELECT count(DISTINCT person) FROM visit").fetchall()
        wall, spent = time.perf_counter() - start, time.process_time() - busy
    assert found == [(2 * KEYS,)]
    return wall, spent
