"""``podsql pod init|check|mock|serve|status|services|held|tables|budget|pause|resume``: a custodian's work."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from podsql.cli import held, local_tables
from podsql.cli.join import Allowed, LocalKeys, References, Tables, Units
from podsql.cli.options import AsJson, AskPassphrase, unseal
from podsql.cli.reports import put_findings
from podsql.cli.terminal import log_to_stderr, put, put_json, put_pairs, say
from podsql.times import iso

app = typer.Typer(no_args_is_help=True, help="Run a pod beside the data (the custodian).")
app.add_typer(held.app, name="held")
app.add_typer(local_tables.app, name="tables")
PodFile = Annotated[Path, typer.Option("--config", help="The pod's configuration.")]
HERE = Path("pod.toml")


@app.command()
def init(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where federation.toml of `podsql join` lies.")
    ] = Path(),
    table: Tables = None,
    reference: References = None,
    privacy_unit: Units = None,
    local_key: LocalKeys = None,
    allow: Allowed = None,
    preset: Annotated[str, typer.Option(help="open, standard, strict or dp.")] = "standard",
    as_json: AsJson = False,
) -> None:
    """Write pod.toml and policy.toml for a pod that has joined."""
    from podsql.cli.pod_files import PodChoice, check_choice, write_pod

    choice = PodChoice.of(
        tables=table, references=reference, units=privacy_unit, local_keys=local_key, allow=allow
    )
    check_choice(choice, serving=True)
    path = write_pod(choice, directory, preset)
    put_pairs({"pod": str(path), "policy": str(directory / "policy.toml")}, as_json=as_json)
    say(f"next: podsql pod check --config {path}")


@app.command()
def check(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Validate configuration, policy and data without the network."""
    from podsql.pod.checking import check_pod

    raise typer.Exit(put_findings(check_pod(config), as_json=as_json))


@app.command()
def mock(
    config: PodFile = HERE,
    out: Annotated[Path, typer.Option(help="Directory of the files; none is overwritten.")] = Path(
        "mock"
    ),
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of each table.")] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, max=1000, help="Same seed, same files; another, other ids.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Write synthetic tables of the declared names, types, keys, bounds and values."""
    from podsql.pod.mock import write_mock

    files = [str(path) for path in write_mock(config, out, rows=rows, seed=seed)]
    if as_json:
        put_json({"files": files})
        return
    for file in files:
        put(file)


@app.command()
def serve(config: PodFile = HERE, seal: AskPassphrase = False) -> None:
    """Run the pod until SIGTERM."""
    from podsql.engine.no_pandas import leave_pandas_out
    from podsql.pod.daemon import run_pod

    leave_pandas_out()
    unseal(wanted=seal)
    log_to_stderr()
    raise typer.Exit(run_pod(config))


@app.command()
def status(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """What the running pod does now."""
    from podsql.pod.control import send

    put_pairs(send(config, "status"), as_json=as_json)


@app.command()
def services(
    config: PodFile = HERE,
    forget: Annotated[
        str, typer.Option(help="Believe this service (fingerprint) anew: it was set up again.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """The policy services that the running pod asks: who, how far they got, when last heard."""
    from podsql.pod.control import send

    found = send(config, f"forget {forget}" if forget else "services")["services"]
    if as_json:
        put_json({"services": found})
        return
    for one in found:
        where = one["name"] if one["in_manifest"] else "not in the manifest"
        heard = f"last heard {iso(one['heard'])}" if one["heard"] else "not heard yet"
        fresh = f"list until {iso(one['fresh_until'])}" if one["fresh_until"] else "no list"
        frozen = ", has frozen this pod" if one["frozen"] else ""
        put(f"{one['fingerprint']}  {where}  epoch {one['epoch']}, {heard}, {fresh}{frozen}")
    if not found:
        put("this pod asks no policy service")


@app.command()
def reload(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Take a new snapshot of data and policy; running statements finish on the old one."""
    from podsql.pod.control import send

    put_pairs(send(config, "reload"), as_json=as_json)


@app.command()
def budget(
    config: PodFile = HERE,
    reset: Annotated[str, typer.Option(help="Start this budget again.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")] = "",
    adopt: Annotated[
        bool, typer.Option(help="Accept a ledger whose witness is lost (remove a stale one first).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What was spent of each privacy budget; resets and lost witnesses are the custodian's acts."""
    from podsql.pod.budgeting import adopt_ledger, budgets_of, reset_budget

    if adopt:
        adopt_ledger(config)
    if reset:
        reset_budget(config, reset, reason)
    found = budgets_of(config)
    if as_json:
        put_json({"budgets": [asdict(one) for one in found]})
        return
    for one in found:
        put(f"{one.scope}: epsilon {one.epsilon:.3g} of {one.budget:g}, {one.charges} releases")
    if not found:
        put("nothing was spent")


@app.command()
def pause(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Refuse new statements; running ones finish."""
    from podsql.pod.control import send

    put_pairs(send(config, "pause"), as_json=as_json)


@app.command()
def resume(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Take statements again."""
    from podsql.pod.control import send

    put_pairs(send(config, "resume"), as_json=as_json)
