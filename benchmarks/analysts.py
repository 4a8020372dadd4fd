"""Twenty analysts at once over three pods: statements a second, and how evenly they are served."""

import threading
import time

import pyarrow as pa

import podsql
from benchmarks.rows import Row

ANALYSTS = 20
SECONDS = 10.0
SQL = "SELECT g, count(*), avg(x) FROM t GROUP BY g"


def run() -> list[Row]:
    """Every analyst has its own keys, endpoint and thread; pods run sandboxed workers."""
    part = pa.table({"g": [i % 20 for i in range(20_000)], "x": [i * 0.5 for i in range(20_000)]})
    names = tuple(f"ana{i:02}" for i in range(ANALYSTS))
    with podsql.local({n: {"t": part} for n in ("a", "b", "c")}, analysts=names) as federation:
        connections = [federation.connect(name) for name in names]
        for connection in connections:
            connection.execute(SQL).fetchall()
        counts = [0] * ANALYSTS
        end = time.perf_counter() + SECONDS

        def ask(at: int) -> None:
            while time.perf_counter() < end:
                connections[at].execute(SQL).fetchall()
                counts[at] += 1

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(ANALYSTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()
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
