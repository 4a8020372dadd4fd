"""One DuckDB over everybody's rows: what a federated answer is compared with.

Only for places that hold all rows (the demo, tests, benchmarks); no pod ever uses it.
"""

import math
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from podsql.planner.settings import PINNED_SETTINGS

RELATIVE = 1e-9
"""Doubles are equal within this, relative; everything else must be identical."""


class Pooled:
    """A DuckDB with the union of each table's parts, under the settings pods pin."""

    def __init__(self, tables: Mapping[str, Sequence[pa.Table]]) -> None:
        self._connection = duckdb.connect()
        for setting in PINNED_SETTINGS:
            self._connection.execute(setting)
        for name, parts in tables.items():
            whole = pa.concat_tables(parts, promote_options="default")
            self._connection.register("incoming", whole)
            schema, _, table = name.rpartition(".")
            if schema and schema != "main":
                self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            target = f'"{schema or "main"}"."{table}"'
            self._connection.execute(f"CREATE TABLE {target} AS SELECT * FROM incoming")
            self._connection.unregister("incoming")

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """The answer."""
        return self._connection.execute(sql).fetchall()


def same_rows(
    left: Sequence[tuple[object, ...]], right: Sequence[tuple[object, ...]], *, ordered: bool
) -> bool:
    """Equal as lists, or as multisets; doubles within ``RELATIVE``, NaN equal to NaN."""
    if len(left) != len(right):
        return False
    if not ordered:
        left, right = sorted(left, key=_sort_key), sorted(right, key=_sort_key)
    return all(len(a) == len(b) and all(map(_same, a, b)) for a, b in zip(left, right, strict=True))


def _sort_key(row: tuple[object, ...]) -> tuple[object, ...]:
    """Doubles last and rounded, so that rows that differ by rounding only sort alike."""
    exact = tuple(repr(v) for v in row if not isinstance(v, float))
    return (exact, tuple(f"{v:.6g}" for v in row if isinstance(v, float)))


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or abs(a - b) <= RELATIVE * max(1.0, abs(a), abs(b))
    return type(a) is type(b) and a == b
