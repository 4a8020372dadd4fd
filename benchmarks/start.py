"""How long the front door takes: import of podsql, ``podsql --version``, a local federation."""

import subprocess
import sys
import time

import pyarrow as pa

from benchmarks.rows import Row

RUNS = 7


def run() -> list[Row]:
    """Best of several runs, each in a process of its own."""
    bare = _best([sys.executable, "-c", "pass"])
    imported = _best([sys.executable, "-c", "import podsql"])
    version = _best([sys.executable, "-m", "podsql", "--version"])
    return [
        Row(
            name="import podsql, beyond the interpreter",
            value=imported - bare,
            unit="ms",
            reference=150,
            against="goal",
        ),
        Row(
            name="podsql --version, whole process",
            value=version,
            unit="ms",
            reference=200,
            against="goal",
        ),
        Row(
            name="podsql.local of three pods, until it answers",
            value=_local(),
            unit="ms",
            reference=2000,
            against="goal",
        ),
    ]


def _best(command: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append((time.perf_counter() - began) * 1000)
    return min(times)


def _local() -> float:
    import podsql

    parts = {name: {"t": pa.table({"x": [1, 2, 3]})} for name in ("a", "b", "c")}
    began = time.perf_counter()
    with podsql.local(parts) as federation, federation.connect() as connection:
        assert connection.execute("SELECT sum(x) FROM t").fetchall() == [(18,)]
        return (time.perf_counter() - began) * 1000
