"""``podsql grant``: give an analyst a right at the policy service, or list what was given.

Runs on the service's host and writes its file; the running service sees it with the next request.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms
from podsql.cli.service_files import analyst_key, open_store
from podsql.cli.terminal import put, put_json, put_pairs
from podsql.errors import error
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.policy.service.store import Granted

FOREVER_MS = 253_402_300_799_000
"""How the store writes a grant without an end."""
RELEASES = ("sdc_local", "sdc_merged", "dp", "rows")


def grant(
    analyst: Annotated[
        str | None, typer.Argument(help="Name in the manifest, or fingerprint.")
    ] = None,
    pod: Annotated[str, typer.Option(help="Name of a pod, or *.")] = "*",
    table: Annotated[
        list[str] | None, typer.Option("--table", help="A table or pattern; repeatable.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="The purpose it is for, or *.")] = "*",
    project: Annotated[str, typer.Option(help="The project it is for, or *.")] = "*",
    release: Annotated[str, typer.Option(help="sdc_local, sdc_merged, dp or rows.")] = "sdc_local",
    days: Annotated[
        float | None, typer.Option(min=0.0001, help="How long. Default: for good.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print every grant instead.")] = False,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Give a right; prints the grant's id."""
    from podsql.policy.service.store import grant as write

    if listed:
        show(federation, as_json=as_json)
        return
    if analyst is None:
        raise error("ARGUMENT", "whom?", hint="podsql grant NAME --table main.visits")
    if release not in RELEASES:
        raise error(
            "ARGUMENT", f"unknown release {release!r}", hint=f"one of {', '.join(RELEASES)}"
        )
    name, key = analyst_key(federation, analyst)
    now = now_ms()
    store = open_store(federation)
    try:
        ident = write(
            store,
            analyst=key,
            name=name,
            now=now,
            pod=pod,
            tables=tuple(table or ["*"]),
            purpose=purpose,
            project=project,
            release=release,  # type: ignore[arg-type]  # one of RELEASES, which are its literals
            until=None if days is None else now + int(days * 86_400_000),
        )
    finally:
        store.close()
    put_pairs({"grant": ident, "analyst": name}, as_json=as_json)


def show(federation: Path | None, *, as_json: bool) -> None:
    """Print every grant, newest first."""
    from podsql.policy.service.store import list_grants

    store = open_store(federation)
    try:
        rows = [_row(each) for each in list_grants(store)]
    finally:
        store.close()
    if as_json:
        put_json(rows)
        return
    for row in rows:
        state = f"revoked {row['revoked']}" if row["revoked"] else f"until {row['until']}"
        put(
            f"{row['grant']}  {row['analyst']:<16} {row['release']:<10} {row['pod']}: "
            f"{', '.join(row['tables'])}  {state}"
        )


def _row(each: "Granted") -> dict[str, Any]:
    until = each.grant.until
    return {
        "grant": each.grant.grant_id,
        "analyst": each.name,
        "pod": each.grant.pod,
        "tables": list(each.grant.tables),
        "purpose": each.grant.purpose,
        "project": each.grant.project,
        "release": each.grant.release,
        "until": "revocation" if until >= FOREVER_MS else iso(until),
        "revoked": iso(each.revoked) if each.revoked else None,
    }
