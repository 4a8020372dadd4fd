"""``podsql audit``: the log itself. Is it whole, what is its head, who else gets it, what leaves it.

What is made of the log stands in ``cli.audit_reports``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podsql.cli.dates import moment
from podsql.cli.options import AsJson, passphrase
from podsql.cli.terminal import put, put_json, put_pairs, say
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.governance.selecting import Selection

app = typer.Typer(
    no_args_is_help=True, help="A pod's hash-chained record of what left, and all it has to show."
)
HERE = Path("pod.toml")

PodFile = Annotated[Path, typer.Option("--config", help="The pod's configuration.")]
Since = Annotated[str | None, typer.Option(help="From this day or moment on (UTC).")]
Until = Annotated[str | None, typer.Option(help="Before this day or moment (UTC).")]
Who = Annotated[str, typer.Option("--person", help="Name or fingerprint of an analyst.")]
OfProject = Annotated[str, typer.Option("--project", help="A project.")]
OfTable = Annotated[str, typer.Option("--table", help="A table.")]


def chosen(
    since: str | None, until: str | None, person: str = "", project: str = "", table: str = ""
) -> "Selection":
    """What the options choose."""
    from podsql.governance.selecting import Selection

    return Selection(
        since=moment(since), until=moment(until), person=person, project=project, table=table
    )


@app.callback()
def group() -> None:
    """A pod's hash-chained record of what left, and all it has to show."""


@app.command()
def init(
    directory: Annotated[Path, typer.Option("--dir", help="Where pod.toml lies.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a template of governance.toml: projects, people, parties, contacts, retention."""
    from podsql.governance.declared import NAME, write_template

    path = directory / NAME
    write_template(path)
    put_pairs({"governance": str(path)}, as_json=as_json)


@app.command()
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="The audit file. Default: that of the pod.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Last hash, or signed head, known from elsewhere: shows a cut end."),
    ] = None,
    config: PodFile = HERE,
    signer: Annotated[
        str | None, typer.Option(help="The pod's fingerprint, where there is only the file.")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            help="What a policy service signed of it (state/receipts): instead of --head."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the chain, its checkpoint and head; the number of entries, or the first that is wrong."""
    from podsql.pod.keeping import audit_path, check_log, pod_key
    from podsql.pod.receipts import read_receipt
    from podsql.relay.keys import fingerprint_key

    file = audit_path(config) if path is None else path
    head = head if receipt is None else read_receipt(receipt).head
    key = fingerprint_key(signer) if signer else pod_key(config) if path is None else None
    chain = check_log(file, head=head, signer=key)
    put_pairs(
        {
            "entries": chain.lines,
            "state": "whole",
            "pruned": chain.removed,
            "pruned_before": iso(chain.checkpoint.before) if chain.checkpoint else "nothing",
            "head": chain.head,
        },
        as_json=as_json,
    )


@app.command()
def head(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """Sign the log's head with the pod's key: keep the line where the pod's custodian cannot write."""
    from podsql.pod.keeping import signed_head

    found, text = signed_head(config, passphrase())
    if as_json:
        put_json(
            {
                "pod": found.pod,
                "entries": found.count,
                "hash": found.hash,
                "time": iso(found.time),
                "head": text,
            }
        )
        return
    put(text)
    say(f"entry {found.count} of pod {found.pod}; later: podsql audit verify --head …")


@app.command()
def export(
    config: PodFile = HERE,
    form: Annotated[str, typer.Option("--format", help="jsonl, cef or syslog.")] = "jsonl",
    since: Since = None,
    until: Until = None,
    statements: Annotated[
        bool, typer.Option("--statements", help="Put statements' texts into cef and syslog.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write to a file.")] = None,
) -> None:
    """Write the log for other machines; jsonl holds hashes, so its receiver can check the chain."""
    import sys

    from podsql import __version__
    from podsql.errors import error
    from podsql.governance.exporting import FORMS, exporter
    from podsql.pod.account import pod_name
    from podsql.pod.keeping import audit_path
    from podsql.policy.audit import lines

    if form not in FORMS:
        raise error("ARGUMENT", f"unknown format {form!r}", hint=f"one of {', '.join(FORMS)}")
    write = exporter(form, pod=pod_name(config), version=__version__, statements=statements)
    wanted = chosen(since, until)
    file = sys.stdout if output is None else output.open("w", encoding="utf-8")
    try:
        count = 0
        for line in lines(audit_path(config)):
            if wanted.holds(line.entry):
                file.write(write(line) + "\n")
                count += 1
    finally:
        if output is not None:
            file.close()
    say(f"{count} entries")


@app.command()
def prune(
    config: PodFile = HERE,
    before: Annotated[
        str | None,
        typer.Option(help="Remove older lines. Default: the stated retention, or 7 years."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also lines younger than a year, or than was stated.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old lines; a signed checkpoint keeps the chain verifiable. A running pod does it itself."""
    from podsql.pod.keeping import prune_log

    done = prune_log(config, before=moment(before), force=force, passphrase=passphrase())
    put_pairs(done, as_json=as_json)
