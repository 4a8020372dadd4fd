"""Twenty analysts at once over three pod processes: statements a second, and how evenly served."""

import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rows import Row
from podsql.demo.stage import Stage
from podsql.driver import connect

ANALYSTS = 20
SECONDS = 10.0
SQL = "SELECT g, count(*), avg(x) FROM t GROUP BY g"


def run() -> list[Row]:
    """Every analyst has its own keys, endpoint and thread; the service is asked each time."""
    names = tuple(f"ana{i:02}" for i in range(ANALYSTS))
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder:
        path = Path(folder) / "t.parquet"
        part = {"g": [i % 20 for i in range(20_000)], "x": [i * 0.5 for i in range(20_000)]}
        pq.write_table(pa.table(part), path)
        tables = {"main.t": {"path": str(path)}}
        stage = Stage(home=Path(folder), pods=dict.fromkeys("abc", tables), analysts=names)
        try:
            stage.build()
            counts = _ask(stage, names)
        finally:
            stage.close()
    return [
        Row(
            name="20 analysts at once, 3 pods",
            value=sum(counts) / SECONDS,
            unit="queries/s",
            reference=100,
            against="goal (at least)",
        ),
        Row(
            name="20 analysts at once, largest share / smallest",
            value=max(counts) / max(1, min(counts)),
            unit="x",
            reference=2,
            against="goal (at most)",
        ),
    ]


def _ask(stage: Stage, names: tuple[str, ...]) -> list[int]:
    connections = [connect(stage.membership(name)) for name in names]
    for connection in connections:
        connection.execute(SQL).fetchall()
    counts = [0] * len(names)
    end = time.perf_counter() + SECONDS

    def ask(at: int) -> None:
        while time.perf_counter() < end:
            connections[at].execute(SQL).fetchall()
            counts[at] += 1

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    return counts
