"""``podsql policy init|check|serve|status``: policy files, and the policy service."""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, AskPassphrase, FederationPath, unseal
from podsql.cli.service_files import open_store
from podsql.cli.terminal import log_to_stderr, put_pairs, say
from podsql.cli.times import iso
from podsql.errors import error

app = typer.Typer(no_args_is_help=True, help="Policy files and the policy service.")


@app.command()
def init(
    directory: Annotated[Path, typer.Option("--dir", help="Where the file goes.")] = Path(),
    preset: Annotated[
        str | None, typer.Option(help="open, standard, strict or dp: write a pod's policy.toml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a policy service up (after `podsql join`), or write a pod's policy from a preset."""
    from podsql.cli.service_files import write_store

    if preset is None:
        path = write_store(directory)
        put_pairs({"store": str(path)}, as_json=as_json)
        say("next: podsql grant NAME --table visits, and podsql policy serve")
        return
    from podsql.policy.document import PRESETS, preset_bytes

    if preset not in PRESETS:
        raise error("ARGUMENT", f"unknown preset {preset!r}", hint=f"one of {', '.join(PRESETS)}")
    path = directory / "policy.toml"
    if path.exists():
        raise error("CONFIG", f"{str(path)!r} exists", hint="edit it, or remove it first")
    path.write_bytes(preset_bytes(preset))
    put_pairs({"policy": str(path), "preset": preset}, as_json=as_json)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A policy file.")] = Path("policy.toml"),
    as_json: AsJson = False,
) -> None:
    """Read a pod's policy file strictly and say what it means."""
    from podsql.policy.document import load_policy, policy_hash
    from podsql.policy.enforcement import unenforced

    policy = load_policy(path)
    missing = unenforced(policy)
    people = "everybody" if policy.people == "*" else f"{len(policy.people)} named"
    put_pairs(
        {
            "name": policy.name,
            "hash": policy_hash(policy)[:16],
            "release": policy.release,
            "people": people,
            "services": len(policy.services),
            "text": policy.text.strip(),
        },
        as_json=as_json,
    )
    if missing:
        raise error(
            "POLICY_FILE", f"not enforced by this version: {', '.join(missing)}", hint="remove them"
        )


@app.command()
def serve(federation: FederationPath = None, seal: AskPassphrase = False) -> None:
    """Run the policy service until SIGTERM."""
    from podsql.policyd import run_service

    unseal(wanted=seal)
    log_to_stderr()
    raise typer.Exit(run_service(federation))


@app.command()
def status(federation: FederationPath = None, as_json: AsJson = False) -> None:
    """How many grants are in force, and the last decisions."""
    from podsql.policy.service.store import list_grants

    store = open_store(federation)
    try:
        grants = [each for each in list_grants(store) if each.revoked is None]
        decisions = store.decisions(limit=1)
    finally:
        store.close()
    last = decisions[0] if decisions else None
    put_pairs(
        {
            "grants": len(grants),
            "last_decision": iso(last.time) if last else "none",
            "last_answer": ("allowed" if last.allow else "refused") if last else "none",
        },
        as_json=as_json,
    )
