"""``podsql sql "…"``: run statements and print their rows, one result after another."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podsql.cli.options import FederationPath, passphrase
from podsql.cli.progress import Progress, shown
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import say
from podsql.errors import Error, error

if TYPE_CHECKING:
    import pyarrow as pa

    from podsql.cursor import Cursor

Statement = Annotated[
    str, typer.Argument(help="SQL, a file that holds it (query.sql), or - for stdin.")
]
Purpose = Annotated[str, typer.Option(help="Why you ask; stands in the custodians' audit.")]
Project = Annotated[str, typer.Option(help="For which project you ask.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds until a statement is given up.")]


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
    progress: Annotated[
        Progress,
        typer.Option(help="How far a TRAIN MODEL is, on stderr; json: a line for each step."),
    ] = Progress.AUTO,
) -> None:
    """Run statements (separated by ;) over the federation; rows on stdout, what they cost on stderr.

    The first error ends it; the results before it have been printed.
    """
    from podsql.driver import connect
    from podsql.engine.no_pandas import leave_pandas_out
    from podsql.planner.tokens import split_statements

    leave_pandas_out()
    form = Format.JSON if as_json else form
    text = read_statement(statement)
    statements = split_statements(text) or [text]
    _require_room(statements, form, output)
    with connect(
        federation, purpose=purpose, project=project, timeout=timeout, passphrase=passphrase()
    ) as connection:
        for number, one in enumerate(statements, 1):
            try:
                with shown(progress) as connection.on_progress:
                    cursor = connection.execute(one)
                _write(cursor, form, output, limit)
            except Error:
                if len(statements) > 1:
                    say(f"statement {number} of {len(statements)}:")
                raise


def _write(cursor: "Cursor", form: Format, output: Path | None, limit: int) -> None:
    if cursor.description is None:
        rows = cursor.rowcount
    else:
        rows = write_result(with_bars(cursor), form, output, limit=limit)
    # What only the policy services answered has no pods and no release.
    asked = f", {cursor.release}, pods: {', '.join(cursor.pods)}" if cursor.pods else ""
    say(f"{rows} rows{asked}")


def _require_room(statements: list[str], form: Format, output: Path | None) -> None:
    """A file, and a stream of a format that ends with it, holds one result."""
    from podsql.planner.statements import has_result

    one = output is not None or form not in (Format.TABLE, Format.JSON)
    if one and sum(map(has_result, statements)) > 1:
        raise error(
            "ARGUMENT",
            "several results do not fit into one file",
            hint="COPY (SELECT …) TO 'file', one for each",
        )


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
    """The argument; all of stdin for ``-``; the content of a file that it names."""
    if text == "-":
        return sys.stdin.read()
    if text.endswith(".sql") and "\n" not in text:
        return Path(text).read_text(encoding="utf-8")
    return text
