"""``podsql sql "…"``: run one statement and print its rows."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podsql.cli.options import FederationPath, passphrase
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from podsql.driver import Cursor

Statement = Annotated[str, typer.Argument(help="The statement; - reads it from stdin.")]
Purpose = Annotated[str, typer.Option(help="Why you ask; stands in the custodians' audit.")]
Project = Annotated[str, typer.Option(help="For which project you ask.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds until the statement is given up.")]


def sql(
    statement: Statement,
    federation: FederationPath = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write to a file instead of stdout.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows that a table shows.")] = 200,
    purpose: Purpose = "",
    project: Project = "",
    timeout: Timeout = 60.0,
) -> None:
    """Run a statement over the federation; rows on stdout, what it cost on stderr."""
    from podsql.driver import connect

    with connect(
        federation, purpose=purpose, project=project, timeout=timeout, passphrase=passphrase()
    ) as connection:
        cursor = connection.execute(read_statement(statement))
        rows = write_result(
            with_bars(cursor), Format.JSON if as_json else form, output, limit=limit
        )
        say(f"{rows} rows, {cursor.release}, pods: {', '.join(cursor.pods)}")


def with_bars(cursor: "Cursor") -> "pa.RecordBatchReader":
    """The rows, and after each column that has error bars a column ``± name``."""
    bars = cursor.error_bars
    if not bars:
        return cursor.fetch_record_batch()
    import pyarrow as pa

    table = cursor.fetch_arrow_table()
    for name, widths in bars.items():
        place = table.column_names.index(name) + 1
        table = table.add_column(place, f"± {name}", pa.array(widths, pa.float64()))
    return table.to_reader()


def read_statement(text: str) -> str:
    """The argument, or all of stdin for ``-``."""
    return sys.stdin.read() if text == "-" else text
