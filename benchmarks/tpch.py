"""TPC-H at scale 1 over four pods of one machine, beside one DuckDB with all rows.

Orders and their lines are kept with the customer; both sides use every core, and take turns.
"""

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa

import podsql
from benchmarks.rows import Row
from podsql.driver import Connection
from podsql.planner.settings import PINNED_SETTINGS

ROOT = Path(__file__).parents[1]
STATEMENTS = ROOT / ".suites" / "tpch"
GENERATOR = ROOT / ".suites-venv" / "bin" / "tpchgen-cli"
PODS = ("alpha", "beta", "delta", "gamma")
REFERENCE = ("nation", "region", "part", "supplier", "partsupp")
LOCAL_KEYS = {
    "lineitem": ("l_orderkey as order_no",),
    "orders": ("o_orderkey as order_no", "o_custkey as customer_no"),
    "customer": ("c_custkey as customer_no",),
}
UNITS = {"lineitem": "l_orderkey", "orders": "o_custkey", "customer": "c_custkey"}
RUNS = 3


def run() -> list[Row]:
    """One row a statement: the best of three, and how often DuckDB's own that is."""
    with tempfile.TemporaryDirectory(prefix="podsql-tpch-") as folder:
        home = Path(folder)
        scale = os.environ.get("PODSQL_TPCH_SCALE", "1")
        subprocess.run([GENERATOR, "parquet", "-s", scale, f"--output-dir={home}"], check=True)
        pooled = duckdb.connect()
        for setting in PINNED_SETTINGS:
            pooled.execute(setting)
        for file in home.glob("*.parquet"):
            pooled.execute(f"CREATE TABLE {file.stem} AS FROM '{file}'")
        with podsql.local(
            pods=_split(pooled, home),
            reference={name: home / f"{name}.parquet" for name in REFERENCE},
            local_keys=LOCAL_KEYS,
            privacy_unit=UNITS,
        ) as federation:
            return _measure(federation.connect(timeout=600), pooled)


def _split(pooled: duckdb.DuckDBPyConnection, home: Path) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for place, pod in enumerate(PODS):
        at = f"hash(o_custkey) % 4 = {place}"
        wheres = {
            "orders": at,
            "customer": f"hash(c_custkey) % 4 = {place}",
            "lineitem": f"l_orderkey IN (SELECT o_orderkey FROM orders WHERE {at})",
        }
        found[pod] = {}
        for table, where in wheres.items():
            file = home / f"{pod}.{table}.parquet"
            pooled.execute(f"COPY (SELECT * FROM {table} WHERE {where}) TO '{file}'")
            found[pod][table] = file
    return found


def _measure(connection: Connection, pooled: duckdb.DuckDBPyConnection) -> list[Row]:
    rows, ratios = [], []
    for file in sorted(STATEMENTS.glob("q*.sql")):
        sql = file.read_text()

        def ours(sql: str = sql) -> pa.Table:
            return connection.execute(sql).fetch_arrow_table()

        def alone(sql: str = sql) -> pa.Table:
            return pooled.sql(sql).to_arrow_table()

        assert ours().num_rows == alone().num_rows
        pairs = [(_time(ours), _time(alone)) for _ in range(RUNS)]
        mine, base = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
        ratios.append(mine / base)
        rows.append(
            Row(name=f"TPC-H {file.stem}", value=mine, unit="ms", reference=base, against="DuckDB")
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    rows.append(
        Row(name="TPC-H: geometric mean", value=mean, unit="x", reference=1.2, against="goal")
    )
    rows.append(Row(name="TPC-H: worst", value=max(ratios), unit="x", reference=2, against="goal"))
    return rows


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000
