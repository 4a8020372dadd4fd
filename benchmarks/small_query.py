"""A small grouped query over three pod processes, a relay and a policy service, beside DuckDB alone.

Warm: plan, offer and gate caches hold the statement. Cold: every statement has a new text.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.rows import Row, percentile
from podsql.demo.flights import FEDERATED, REFERENCE, pod_tables, read_all, write_parts
from podsql.demo.stage import Stage
from podsql.driver import Connection, connect
from podsql.engine.pooled import Pooled, same_rows

SQL = "SELECT month, count(temp) AS hours, avg(temp) AS mean FROM weather GROUP BY month"
RUNS = 400
COLD = 60


def run() -> list[Row]:
    """Time both in turn, so that the machine's mood is shared."""
    tables = read_all()
    pooled = Pooled({name: [tables[name]] for name in (*FEDERATED, *REFERENCE)})
    with tempfile.TemporaryDirectory(prefix="podsql-bench-") as folder:
        write_parts(tables, Path(folder) / "data")
        stage = Stage(home=Path(folder), pods=pod_tables(Path(folder) / "data"))
        try:
            stage.build()
            with connect(stage.analyst) as connection:
                return _measure(connection, pooled)
        finally:
            stage.close()


def _measure(connection: Connection, pooled: Pooled) -> list[Row]:
    assert same_rows(connection.execute(SQL).fetchall(), pooled.rows(SQL), ordered=False)
    for _ in range(30):
        connection.execute(SQL).fetchall()
    ours, alone, cold = [], [], []
    for _ in range(RUNS):
        ours.append(_time(lambda: connection.execute(SQL).fetchall()))
        alone.append(_time(lambda: pooled.rows(SQL)))
    for i in range(COLD):
        text = SQL.replace("GROUP", f"WHERE temp > {-100 - i} GROUP")
        cold.append(_time(lambda text=text: connection.execute(text).fetchall()))
    base50, base99 = percentile(alone, 50), percentile(alone, 99)
    return [
        Row(
            name="small query, 3 pods, service asked: p50",
            value=percentile(ours, 50),
            unit="ms",
            reference=base50,
            against="DuckDB alone",
        ),
        Row(
            name="small query, 3 pods, service asked: p99",
            value=percentile(ours, 99),
            unit="ms",
            reference=base99,
            against="DuckDB alone",
        ),
        Row(
            name="small query beyond DuckDB, warm: p50",
            value=percentile(ours, 50) - base50,
            unit="ms",
            reference=4,
            against="goal",
        ),
        Row(
            name="small query beyond DuckDB, warm: p99",
            value=percentile(ours, 99) - base99,
            unit="ms",
            reference=12,
            against="goal",
        ),
        Row(
            name="small query beyond DuckDB, new text: p50",
            value=percentile(cold, 50) - base50,
            unit="ms",
            reference=8,
            against="goal",
        ),
    ]


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
