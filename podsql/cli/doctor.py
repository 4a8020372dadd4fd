"""``podsql doctor``: is everything in place, and what is the next command if not?"""

import os

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms, passphrase
from podsql.cli.reports import put_findings


def doctor(federation: FederationPath = None, as_json: AsJson = False) -> None:
    """Check clock, keys, relay, manifest, proxy, versions, disk and sandbox."""
    from podsql.cli.checks import diagnose

    findings = diagnose(federation, now=now_ms(), passphrase=passphrase(), environ=dict(os.environ))
    raise typer.Exit(put_findings(findings, as_json=as_json))
