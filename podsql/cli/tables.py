"""A result in the format that was asked for: table, json, csv, parquet or arrow.

Batches are written as they come, so a result may be larger than memory. Rule to keep: cells in a
table pass ``visible``; the other formats hold the values as they are.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from podsql.cli.terminal import visible
from podsql.errors import error

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """Formats of a result."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


def write_result(
    reader: "pa.RecordBatchReader", form: Format, output: Path | None, *, limit: int = 200
) -> int:
    """Write a result to ``output`` or stdout; the number of rows. A table draws ``limit`` of them."""
    with _sink(output, binary=form not in (Format.TABLE, Format.JSON)) as sink:
        match form:
            case Format.TABLE:
                return _draw(reader, sink, limit)
            case Format.JSON:
                return _json(reader, sink)
            case Format.CSV:
                import pyarrow.csv

                return _batches(reader, pyarrow.csv.CSVWriter(sink, reader.schema))
            case Format.PARQUET:
                import pyarrow.parquet

                return _batches(reader, pyarrow.parquet.ParquetWriter(sink, reader.schema))
            case Format.ARROW:
                import pyarrow.ipc

                return _batches(reader, pyarrow.ipc.new_stream(sink, reader.schema))


@contextmanager
def _sink(output: Path | None, *, binary: bool) -> Iterator[IO[Any]]:
    if output is not None:
        with output.open("wb") if binary else output.open("w", encoding="utf-8") as file:
            yield file
    elif not binary:
        yield sys.stdout
    elif sys.stdout.isatty():
        raise error(
            "ARGUMENT", "this format is not for a terminal", hint="--output FILE, or a pipe"
        )
    else:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def _batches(reader: "pa.RecordBatchReader", writer: Any) -> int:
    rows = 0
    with writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _json(reader: "pa.RecordBatchReader", sink: IO[str]) -> int:
    rows = 0
    sink.write("[")
    for batch in reader:
        for row in batch.to_pylist():
            sink.write((", " if rows else "") + json.dumps(row, default=_plain))
            rows += 1
    sink.write("]\n")
    return rows


def _draw(reader: "pa.RecordBatchReader", sink: IO[str], limit: int) -> int:
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        if rows < limit:
            kept.append(batch.slice(0, limit - rows))
        rows += batch.num_rows
    sink.write(draw(reader.schema, kept, rows))
    return rows


def draw(schema: "pa.Schema", batches: "list[pa.RecordBatch]", rows: int) -> str:
    """Rows as a drawn table; how many of ``rows`` it leaves out is said below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD)
    for field in schema:
        side = "right" if _is_number(field.type) else "left"
        drawn.add_column(Text(visible(field.name)), justify=side, no_wrap=True)  # type: ignore[arg-type]
    shown = 0
    for batch in batches:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            drawn.add_row(*(Text(visible("NULL" if cell is None else str(cell))) for cell in row))
            shown += 1
    console = Console(width=max(80, Console().width), color_system=None, markup=False)
    with console.capture() as capture:
        console.print(drawn)
    lines = [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]
    rest = rows - shown
    more = f"… {rest} more rows: --limit N or --format csv\n" if rest > 0 else ""
    return "\n".join(lines) + "\n" + more


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    tests: tuple[Callable[[Any], bool], ...] = (
        types.is_integer,
        types.is_floating,
        types.is_decimal,
    )
    return any(test(kind) for test in tests)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
