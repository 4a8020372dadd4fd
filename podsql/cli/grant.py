"""``podsql grant``: give an analyst a right at the policy service, or list what was given.

Runs on the service's host and writes its file; the running service sees it with the next request.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms
from podsql.cli.service_files import analyst_key, open_database
from podsql.cli.terminal import put, put_json, put_pairs
from podsql.errors import error
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.policy.service.granting import Granted


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
    review: Annotated[
        bool, typer.Option("--review", help="Results wait until a second person releases them.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print every grant instead.")] = False,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Give a right; prints the grant's id."""
    from podsql.policy.service.granting import make_grant
    from podsql.policy.service.officers import CONSOLE
    from podsql.policy.service.orders import Orders

    if listed:
        show(federation, as_json=as_json)
        return
    if analyst is None:
        raise error("ARGUMENT", "whom?", hint="podsql grant NAME --table main.visits")
    name, key = analyst_key(federation, analyst)
    now = now_ms()
    database = open_database(federation)
    try:
        given = make_grant(
            analyst=key,
            now=now,
            pod=pod,
            tables=tuple(table or ["*"]),
            purpose=purpose,
            project=project,
            release=release,  # type: ignore[arg-type]  # make_grant refuses other words
            until=None if days is None else now + int(days * 86_400_000),
        )
        done = Orders(database, now_ms).grant(CONSOLE, given, name=name, review=review)
    finally:
        database.close()
    put_pairs({"grant": done.grant_id, "analyst": name}, as_json=as_json)


def show(federation: Path | None, *, as_json: bool) -> None:
    """Print every grant, newest first."""
    from podsql.policy.service.granting import all_grants

    database = open_database(federation)
    try:
        rows = [_row(each) for each in all_grants(database)]
    finally:
        database.close()
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
    from podsql.policy.service.granting import FOREVER

    until = each.grant.until
    return {
        "grant": each.grant.grant_id,
        "analyst": each.name,
        "pod": each.grant.pod,
        "tables": list(each.grant.tables),
        "purpose": each.grant.purpose,
        "project": each.grant.project,
        "release": each.grant.release,
        "review": each.review,
        "until": "revocation" if until >= FOREVER else iso(until),
        "revoked": iso(each.revoked) if each.revoked else None,
    }
