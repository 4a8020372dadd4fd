"""``podsql modeller init|serve|jobs``: a process that trains models while their analysts are away."""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, AskPassphrase, unseal
from podsql.cli.terminal import log_to_stderr, put_pairs, put_rows, say
from podsql.errors import error
from podsql.times import iso

app = typer.Typer(no_args_is_help=True, help="Train models while their analysts are away.")
Home = Annotated[
    Path, typer.Option("--home", help="Where federation.toml of `podsql join` lies; jobs go here.")
]


@app.command()
def init(
    analyst: Annotated[
        list[str], typer.Option("--analyst", help="Name or fingerprint; repeat it. Nobody else.")
    ],
    home: Home = Path(),
    as_json: AsJson = False,
) -> None:
    """Write modeller.toml: for whom a modeller that has joined works."""
    from podsql.membership import find_membership, read_membership_file, toml_text
    from podsql.modeller.config import FILE

    role = read_membership_file(find_membership(home)).me.role
    if role != "modeller":
        raise error("ROLE", f"this member joined as {role}, not as a modeller")
    path = home / FILE
    if path.exists():
        raise error("CONFIG", f"{str(path)!r} exists", hint="edit it, or remove it first")
    path.write_text(toml_text({"modeller": {"analysts": analyst}}), encoding="utf-8")
    put_pairs({"modeller": str(path), "analysts": ", ".join(analyst)}, as_json=as_json)
    say(f"next: podsql modeller serve --home {home}")


@app.command()
def serve(home: Home = Path(), seal: AskPassphrase = False) -> None:
    """Run the modeller until SIGTERM."""
    from podsql.engine.no_pandas import leave_pandas_out
    from podsql.modeller.daemon import run_modeller

    leave_pandas_out()
    unseal(wanted=seal)
    log_to_stderr()
    raise typer.Exit(run_modeller(home))


@app.command()
def jobs(home: Home = Path(), as_json: AsJson = False) -> None:
    """The jobs that were ordered, and where they stand; also while the modeller runs."""
    from podsql.modeller.orders import Orders
    from podsql.relay.keys import fingerprint

    found = [(work.told.analyst, work.job) for work in Orders(home).all()]
    rows = [
        {
            "job": job.id,
            "analyst": fingerprint(analyst),
            "model": job.model,
            "state": job.state,
            "rounds": job.rounds,
            "ordered": iso(job.started),
            "error": job.error,
        }
        for analyst, job in found
    ]
    put_rows(rows, as_json=as_json)
