"""``podsql pod tables [list|remove NAME]``: predictions that were written here and stay here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson
from podsql.cli.terminal import put, put_json, say
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.pod.local_tables import LocalTables, TableCard

app = typer.Typer(help="Predictions that were written at this pod and stay here.")
PodFile = Annotated[Path, typer.Option("--config", help="The pod's configuration.")]
HERE = Path("pod.toml")


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Predictions that were written at this pod and stay here."""
    if context.invoked_subcommand is None:
        list_tables()


@app.command("list")
def list_tables(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Every local table: who had it written, of what, how large, until when it is kept."""
    from podsql.pod.local_removing import local_tables_at

    store = local_tables_at(config)
    found = [_line(store, card) for card in store.all()]
    if as_json:
        put_json({"tables": found})
        return
    for one in found:
        put(
            f"{one['table']}  {one['analyst']}  of {', '.join(one['tables'])}  {one['rows']} rows, "
            f"{one['bytes']} bytes  purpose {one['purpose'] or '-'}, project {one['project'] or '-'}"
            f"  until {one['expires']}"
        )
    if not found:
        put("there is no local table")


@app.command()
def remove(
    table: Annotated[str, typer.Argument(help="As listed.")], config: PodFile = HERE
) -> None:
    """Remove a local table and its card; the audit says so."""
    from podsql.pod.local_removing import remove_table

    remove_table(config, table)
    say(f"{table} is removed")


def _line(store: "LocalTables", card: "TableCard") -> dict[str, Any]:
    return {
        "table": card.table,
        "file": str(store.file(card)),
        "analyst": card.analyst,
        "tables": card.tables,
        "columns": card.columns,
        "purpose": card.purpose,
        "project": card.project,
        "model": card.model,
        "rows": card.rows,
        "bytes": card.bytes,
        "statement": card.statement,
        "written": iso(card.created),
        "expires": iso(store.expires(card)),
    }
