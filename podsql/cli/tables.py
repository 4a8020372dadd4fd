"""A result in the format that was asked for: table, json, csv, parquet or arrow.

Batches are written as they come, so a result may be larger than memory. Rule to keep: cells in a
table pass ``visible``; the other formats hold the values as they are.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from podsql.cli.terminal import visible
from podsql.errors import error

if TYPE_CHECKING:
    import pyarrow as pa


_ALL_COLUMNS: Final = 1 << 20


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
    from podsql.analyst.writing import write_batches

    if form is Format.TABLE:
        text, rows = _drawn(reader, limit)
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, encoding="utf-8")
        return rows
    with _sink(output, on_terminal=form is Format.JSON) as sink:
        match form:
            case Format.JSON:
                return write_batches(reader, "json", sink)
            case Format.CSV:
                return write_batches(reader, "csv", sink)
            case Format.PARQUET:
                return write_batches(reader, "parquet", sink)
            case Format.ARROW:
                return write_batches(reader, "arrow", sink)


@contextmanager
def _sink(output: Path | None, *, on_terminal: bool) -> Iterator[IO[bytes]]:
    if output is not None:
        with output.open("wb") as file:
            yield file
    elif sys.stdout.isatty() and not on_terminal:
        raise error(
            "ARGUMENT", "this format is not for a terminal", hint="--output FILE, or a pipe"
        )
    else:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


def _drawn(reader: "pa.RecordBatchReader", limit: int) -> tuple[str, int]:
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        if rows < limit:
            kept.append(batch.slice(0, limit - rows))
        rows += batch.num_rows
    return draw(reader.schema, kept, rows), rows


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
    # Wider than any terminal: a row that wraps there is better than a column that is left out.
    console = Console(width=_ALL_COLUMNS, color_system=None, markup=False)
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
