"""``podsql policy init|check|explain|test|serve|status``: policy files, and the policy service.

What people do at a service is in ``policy_people``, ``policy_deciding`` and ``policy_keeping``.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from podsql.cli import policy_deciding, policy_keeping, policy_people
from podsql.cli.exits import FAILED
from podsql.cli.options import AsJson, AskPassphrase, FederationPath, now_ms, unseal
from podsql.cli.reports import put_findings
from podsql.cli.service_files import open_database
from podsql.cli.sql import Project, Purpose, read_statement
from podsql.cli.terminal import log_to_stderr, put, put_json, put_pairs, say
from podsql.errors import error
from podsql.times import iso

app = typer.Typer(no_args_is_help=True, help="Policy files and the policy service.")
for name, verb in (
    ("officer", policy_people.officer),
    ("person", policy_people.person),
    ("project", policy_people.project),
    ("off-board", policy_people.off_board),
    ("freeze", policy_deciding.freeze),
    ("thaw", policy_deciding.thaw),
    ("setting", policy_deciding.setting),
    ("requests", policy_deciding.requests),
    ("approve", policy_deciding.approve),
    ("refuse", policy_deciding.refuse),
    ("held", policy_deciding.held),
    ("release", policy_deciding.release),
    ("withhold", policy_deciding.withhold),
    ("history", policy_keeping.history),
    ("backup", policy_keeping.backup),
    ("restore", policy_keeping.restore),
):
    app.command(name)(verb)


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
    """Read a pod's policy file strictly, and ask what an output checker would ask."""
    from podsql.findings import worst
    from podsql.policy.document import load_policy, policy_hash
    from podsql.policy.review import review

    policy = load_policy(path)
    findings = review(policy)
    people = "everybody" if policy.people == "*" else f"{len(policy.people)} named"
    facts = {
        "name": policy.name,
        "hash": policy_hash(policy)[:16],
        "release": policy.release,
        "people": people,
        "services": len(policy.services),
        "text": policy.text.strip(),
    }
    if as_json:
        asked = [asdict(finding) for finding in findings]
        put_json(facts | {"state": worst(findings), "findings": asked})
    else:
        put_pairs(facts, as_json=False)
        put_findings(findings, as_json=False)
    if worst(findings) == "failed":
        raise typer.Exit(FAILED)


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(help="A policy file.")] = Path("policy.toml"),
    as_json: AsJson = False,
) -> None:
    """Say in plain words what every clause of a policy file means."""
    from podsql.policy.document import load_policy
    from podsql.policy.plain_words import plain_words

    sentences = plain_words(load_policy(path))
    if as_json:
        put_json({"sentences": sentences})
    else:
        put("\n".join(sentences))


@app.command("test")
def judge(
    path: Annotated[Path, typer.Argument(help="A policy file.")] = Path("policy.toml"),
    sql: Annotated[str, typer.Option(help="The statement; - reads it from stdin.")] = "-",
    schema: Annotated[
        Path, typer.Option(help="The pod's pod.toml, or a file of [tables.NAME.columns].")
    ] = Path("pod.toml"),
    person: Annotated[str, typer.Option("--as", help="Who asks; default: the first named.")] = "",
    purpose: Purpose = "",
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Judge a statement by a policy file, without a network and without data (exit 1: denied)."""
    from podsql.pod.trying import read_schema, try_policy
    from podsql.policy.document import load_policy

    trials = try_policy(
        load_policy(path),
        read_schema(schema),
        read_statement(sql),
        person=person,
        purpose=purpose,
        project=project,
    )
    if as_json:
        put_json({"parts": [asdict(trial) for trial in trials]})
    else:
        for trial in trials:
            put_pairs(
                {
                    "part": trial.part,
                    "decision": "allow" if trial.allow else "deny",
                    **({"rule": trial.rule} if trial.rule else {}),
                    **({"release": trial.release} if trial.release else {}),
                    **({"leaves": ", ".join(trial.leaves)} if trial.allow else {}),
                    **({"min_units": trial.min_units} if trial.min_units else {}),
                    **({"epsilon": f"{trial.epsilon:.4g}"} if trial.epsilon is not None else {}),
                    **({"runs": trial.sql} if trial.sql else {}),
                },
                as_json=False,
            )
    if not all(trial.allow for trial in trials):
        raise typer.Exit(FAILED)


@app.command()
def serve(
    federation: Annotated[
        list[Path] | None,
        typer.Option("--federation", help="federation.toml; repeat it to serve several."),
    ] = None,
    seal: AskPassphrase = False,
) -> None:
    """Run the policy service until SIGTERM."""
    from podsql.policyd import run_service

    unseal(wanted=seal)
    log_to_stderr()
    raise typer.Exit(run_service(federation or [None]))


@app.command()
def status(federation: FederationPath = None, as_json: AsJson = False) -> None:
    """How many grants are in force, and the last decisions."""
    from podsql.policy.service.granting import all_grants
    from podsql.policy.service.store import search_decisions

    database = open_database(federation)
    try:
        now = now_ms()
        grants = [each for each in all_grants(database) if each.in_force(now)]
        decisions = search_decisions(database, limit=1)
    finally:
        database.close()
    last = decisions[0][1] if decisions else None
    put_pairs(
        {
            "grants": len(grants),
            "last_decision": iso(last.time) if last else "none",
            "last_answer": ("allowed" if last.allow else "refused") if last else "none",
        },
        as_json=as_json,
    )
