"""``podsql pod held [list|show ID|drop ID]``: results that wait at the pod for a review.

Here the custodian, or who checks outputs for him, sees what a result says: a service never does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson
from podsql.cli.tables import Format, write_result
from podsql.cli.terminal import put, put_json, say
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.pod.holds import Hold, Holds

app = typer.Typer(help="Results that wait at the pod for a review.")
PodFile = Annotated[Path, typer.Option("--config", help="The pod's configuration.")]
Ident = Annotated[str, typer.Argument(help="As listed, and as the policy service names it.")]
HERE = Path("pod.toml")


@app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Results that wait at the pod for a review."""
    if context.invoked_subcommand is None:
        list_held()


@app.command("list")
def list_held(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Every held result: who asked, for what, how large."""
    holds = _holds(config)
    found = [_line(holds, hold) for hold in holds.all()]
    if as_json:
        put_json({"held": found})
        return
    for one in found:
        put(
            f"{one['id']}  {one['analyst']}  {', '.join(one['tables'])}  {one['rows']} rows, "
            f"{one['bytes']} bytes  purpose {one['purpose'] or '-'}, project {one['project'] or '-'}"
            f"  until {one['expires']}"
        )
    if not found:
        put("nothing is held")


@app.command()
def show(
    ident: Ident,
    config: PodFile = HERE,
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Rows that a table shows.")] = 200,
) -> None:
    """What a held result says. A copy of it is as confidential as the data."""
    import pyarrow as pa

    holds = _holds(config)
    hold = holds.one(ident)
    with holds.file(hold) as file, pa.ipc.open_stream(file) as reader:
        rows = write_result(reader, form, None, limit=limit)
    say(f"{rows} rows for {hold.analyst}: {hold.statement}")


@app.command()
def drop(ident: Ident, config: PodFile = HERE) -> None:
    """Forget a held result; the running pod notes it in the audit."""
    from podsql.pod.control import send

    send(config, f"drop {ident}")
    say(f"{ident} is dropped; the same statement would be run, and paid for, again")


def _holds(config_path: Path) -> "Holds":
    from podsql.pod.config import load_pod_config
    from podsql.pod.datasets import Place, holds_of

    config = load_pod_config(config_path)
    return holds_of(config, Place.of(config, config_path))


def _line(holds: "Holds", hold: "Hold") -> dict[str, Any]:
    return {
        "id": hold.id,
        "analyst": hold.analyst,
        "tables": hold.tables,
        "purpose": hold.purpose,
        "project": hold.project,
        "release": hold.release,
        "rows": hold.rows,
        "withheld": hold.withheld,
        "bytes": hold.size,
        "statement": hold.statement,
        "held": iso(hold.created),
        "expires": iso(holds.expires(hold)),
    }
