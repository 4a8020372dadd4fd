"""A result in the format that was asked for: table, json, csv, parquet or arrow.

Rule to keep: cells in a table pass ``visible``; the other formats hold the values as they are.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def write_result(table: "pa.Table", form: Format, output: Path | None, *, limit: int = 200) -> None:
    """Write a result to ``output`` or stdout; at most ``limit`` rows of a table are drawn."""
    match form:
        case Format.TABLE:
            _text(draw(table, limit), output)
        case Format.JSON:
            _text(json.dumps(table.to_pylist(), default=_plain) + "\n", output)
        case Format.CSV:
            import pyarrow.csv

            _bytes(lambda sink: pyarrow.csv.write_csv(table, sink), output)
        case Format.PARQUET:
            import pyarrow.parquet

            _bytes(lambda sink: pyarrow.parquet.write_table(table, sink), output)
        case Format.ARROW:
            _bytes(lambda sink: _arrow(table, sink), output)


def draw(table: "pa.Table", limit: int) -> str:
    """The first rows as a drawn table; counts beyond ``limit`` are said below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD)
    numeric = [_is_number(field.type) for field in table.schema]
    for name, right in zip(table.column_names, numeric, strict=True):
        drawn.add_column(Text(visible(name)), justify="right" if right else "left", no_wrap=True)
    columns = [column.to_pylist() for column in table.slice(0, limit).columns]
    for row in zip(*columns, strict=True):
        drawn.add_row(*(Text(visible("NULL" if cell is None else str(cell))) for cell in row))
    width = max(80, Console(file=sys.stdout).width)
    console = Console(width=width, color_system=None, markup=False)
    with console.capture() as capture:
        console.print(drawn)
    rest = table.num_rows - limit
    lines = [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]
    more = f"… {rest} more rows: --limit N or --format csv\n" if rest > 0 else ""
    return "\n".join(lines) + "\n" + more


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _arrow(table: "pa.Table", sink: Any) -> None:
    import pyarrow.ipc

    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _text(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


def _bytes(write: Any, output: Path | None) -> None:
    if output is not None:
        with output.open("wb") as sink:
            write(sink)
        return
    if sys.stdout.isatty():
        raise error(
            "ARGUMENT", "this format is not for a terminal", hint="--output FILE, or a pipe"
        )
    write(sys.stdout.buffer)
    sys.stdout.buffer.flush()
