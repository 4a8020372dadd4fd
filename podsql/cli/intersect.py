"""``podsql intersect``: which keys of your own file a pod has, or how many; nobody shows a key."""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import FederationPath, passphrase
from podsql.cli.sql import Project, Purpose, Timeout
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import put, say


def intersect(
    file: Annotated[Path, typer.Argument(help="Your own table: Parquet, CSV, JSON, Arrow.")],
    table: Annotated[str, typer.Argument(help="TABLE, SCHEMA.TABLE or POD.SCHEMA.TABLE.")],
    key: Annotated[str, typer.Option(help="Column of the pod's table that is compared.")],
    own_key: Annotated[str | None, typer.Option(help="Column of yours. Default: --key.")] = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Print your rows that matched, not their number.")
    ] = False,
    federation: FederationPath = None,
    form: Annotated[Format, typer.Option("--format", help="How to print rows.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write rows to a file.")] = None,
    purpose: Purpose = "",
    project: Project = "",
    timeout: Timeout = 60.0,
) -> None:
    """Compare your keys with a pod's; the number of matches, or your rows that matched, on stdout."""
    from podsql.driver import connect
    from podsql.engine.reading import read_file

    mine = read_file(file)
    with connect(
        federation, purpose=purpose, project=project, timeout=timeout, passphrase=passphrase()
    ) as connection:
        if not rows:
            put(str(connection.intersect(mine, table, key=key, own_key=own_key)))
            return
        found = connection.intersect(mine, table, key=key, own_key=own_key, mode="rows")
        count = write_result(found.to_reader(), form, output)
        say(f"{count} of {mine.num_rows} rows matched")
