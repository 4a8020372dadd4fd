"""A person's own file as an Arrow table, by the connector that reads its kind."""

from pathlib import Path

import duckdb
import pyarrow as pa

from podsql.connectors.registry import open_source
from podsql.connectors.source import unreadable


def read_file(path: Path) -> pa.Table:
    """All rows of ``path`` (Parquet, CSV, JSON, Arrow, DuckDB); SOURCE if it cannot be read."""
    source = open_source(path)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as con:
        try:
            return con.sql(f"FROM {source.attach(con)}").to_arrow_table()
        except duckdb.Error:
            raise unreadable(source) from None
