"""``podsql sql "…"``: run one statement and print its rows."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import FederationPath, passphrase
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import say

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
            cursor.fetch_record_batch(), Format.JSON if as_json else form, output, limit=limit
        )
        say(f"{rows} rows, {cursor.release}, pods: {', '.join(cursor.pods)}")


def read_statement(text: str) -> str:
    """The argument, or all of stdin for ``-``."""
    return sys.stdin.read() if text == "-" else text
