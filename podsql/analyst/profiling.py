"""``SUMMARIZE t``: a federated profile of one table, as far as the pods' policies allow.

One statement a column, each judged by every pod like any other; what is refused or withheld is
NULL, and the note says why. Rule to keep: nothing is asked that an analyst could not ask himself.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from podsql.analyst.federation import Federation
from podsql.analyst.statement import Statement
from podsql.engine.merge import Merger
from podsql.errors import Error, error
from podsql.planner.catalog import CatalogColumn, CatalogTable
from podsql.planner.fragment import Binned
from podsql.planner.naming import table_named
from podsql.planner.statements import Summarize
from podsql.planner.wire_types import FLOATS, INTEGERS

SHARES: Final = ("0.25", "0.5", "0.75")
COLUMNS: Final = pa.schema(
    [
        ("column_name", pa.string()),
        ("column_type", pa.string()),
        ("rows", pa.int64()),
        ("count", pa.int64()),
        ("null_percentage", pa.float64()),
        ("avg", pa.float64()),
        ("std", pa.float64()),
        ("q25", pa.float64()),
        ("q50", pa.float64()),
        ("q75", pa.float64()),
        (
            "histogram",
            pa.list_(pa.struct([("low", pa.float64()), ("high", pa.float64()), ("n", pa.int64())])),
        ),
        ("note", pa.string()),
    ]
)
"""Quantiles are middles of the intervals they lie in; ``histogram`` has edges all pods share."""
Ask = Callable[[str], tuple[dict[str, Any], Statement]]
_PASSED: Final = frozenset(
    {"DENIED", "WITHHELD", "NOT_EXACT", "NOT_SUPPORTED", "QUOTA", "DATA", "OVERFLOW"}
)


def summarize(
    command: Summarize,
    federation: Federation,
    merger: Merger,
    *,
    purpose: str,
    project: str,
    timeout: float,
) -> pa.Table:
    """The profile of ``command.table``, one row a column, as a table of ``COLUMNS``."""

    def ask(sql: str) -> tuple[dict[str, Any], Statement]:
        statement = Statement(
            federation=federation, sql=sql, purpose=purpose, project=project, timeout=timeout
        )
        found = statement.rows(merger)
        return found.to_pylist()[0], statement

    table = _table(command, federation, purpose, project)
    return pa.Table.from_pylist([_row(table, c, ask) for c in table.columns], schema=COLUMNS)


def _table(command: Summarize, federation: Federation, purpose: str, project: str) -> CatalogTable:
    probe = Statement(federation=federation, sql="SELECT 1", purpose=purpose, project=project)
    table = table_named(command.table, probe.bound()[1].catalog)
    if command.options.masking is not None:
        raise error("OPTION", "SUMMARIZE takes no secure_aggregation")
    if "dp" in table.releases or command.options.privacy == "dp":
        raise error(
            "NOT_SUPPORTED",
            "SUMMARIZE would pay for each column from the privacy budget",
            hint="ask for the figures you need, WITH (privacy = 'dp')",
        )
    return table


def _row(table: CatalogTable, column: CatalogColumn, ask: Ask) -> dict[str, Any]:
    row: dict[str, Any] = {"column_name": column.name, "column_type": column.type}
    notes: Counter[str] = Counter()
    for figures in _figures(column):
        try:
            answer, statement = ask(f"SELECT {figures} FROM {_quoted(table.name)}")
        except Error as fault:
            if fault.code not in _PASSED:
                raise
            notes[fault.code] += 1
            continue
        row |= answer
        if column.bins is not None and "q50" in answer:
            row["histogram"] = _histogram(statement, column.bins)
    if row.get("rows") and row.get("count") is not None:
        row["null_percentage"] = 100.0 * (row["rows"] - row["count"]) / row["rows"]
    row["note"] = ", ".join(sorted(notes)) or None
    return row


def _figures(column: CatalogColumn) -> list[str]:
    """What may be worth asking of a column: in one statement what is refused together."""
    name = _quoted(column.name)
    found = ["count(*) AS rows", f"count({name}) AS count"]
    if column.type in (*INTEGERS, *FLOATS) or column.type.startswith("DECIMAL"):
        found.append(f"avg({name})::DOUBLE AS avg, stddev_samp({name})::DOUBLE AS std")
    if column.bins is not None:
        asked = (f"quantile_cont({name}, {q})::DOUBLE AS q{int(float(q) * 100)}" for q in SHARES)
        found.append(", ".join(asked))
    return found


def _histogram(statement: Statement, bins: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Counts between the edges that every pod's joined bins share: exact, as no bin is split."""
    parts = [
        list(zip(*(table[name].to_pylist() for name in ("low", "high", "n")), strict=True))
        for stage in statement.bound()[0].stages
        if isinstance(stage.fragment, Binned)
        for table in statement.partials.get(stage.name, {}).values()
    ]
    parts = [[bar for bar in part if bar[0] is not None] for part in parts]
    parts = [part for part in parts if part]
    if not parts:
        return []
    start, end, width = bins
    shared = set.intersection(*({high for _, high, _ in part} for part in parts))
    counts: dict[int, int] = Counter()
    for part in parts:
        for _, high, n in part:
            counts[min(edge for edge in shared if edge >= high)] += n
    found, low = [], start
    for edge in sorted(shared):
        high = min(start + (edge + 1) * width, end)
        found.append({"low": low, "high": high, "n": counts[edge]})
        low = high
    return found


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
