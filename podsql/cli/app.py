"""The verbs put together, and the one place where an error becomes text and an exit code."""

import sys
from collections.abc import Sequence

import typer

from podsql import __version__
from podsql.cli import (
    audit_reports,
    demo,
    doctor,
    explain,
    federation,
    grant,
    intersect,
    invite,
    join,
    key,
    modeller,
    pod,
    policy,
    relay,
    revoke,
    sql,
)
from podsql.cli.exits import FAILED, INTERRUPTED, exit_code
from podsql.cli.terminal import put, report
from podsql.errors import Error, error

app = typer.Typer(
    name="podsql",
    help="Exact SQL over tables whose rows never leave their custodians.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for name, group in (
    ("federation", federation.app),
    ("relay", relay.app),
    ("pod", pod.app),
    ("modeller", modeller.app),
    ("policy", policy.app),
    ("key", key.app),
    ("audit", audit_reports.app),
):
    app.add_typer(group, name=name)
for name, verb in (
    ("invite", invite.invite),
    ("join", join.join),
    ("sql", sql.sql),
    ("explain", explain.explain),
    ("intersect", intersect.intersect),
    ("grant", grant.grant),
    ("revoke", revoke.revoke),
    ("doctor", doctor.doctor),
    ("demo", demo.demo),
):
    app.command(name)(verb)


def _version(asked: bool) -> None:
    if asked:
        put(f"podsql {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Exact SQL over tables whose rows never leave their custodians."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code of ``podsql.cli.exits``."""
    try:
        app(args=list(arguments), prog_name="podsql")
    except SystemExit as end:  # how typer ends, after printing its own usage errors
        return end.code if isinstance(end.code, int) else FAILED
    except Error as fault:
        report(fault)
        return exit_code(fault.code)
    except OSError as fault:  # a file or directory that a person named
        what = repr(str(fault.filename)) if fault.filename else "a file"
        report(error("CONFIG", f"{what}: {(fault.strerror or 'cannot be used').lower()}"))
        return exit_code("CONFIG")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return 0
