"""``podsql policy history|backup|restore``: the service's record, and what keeps it."""

from pathlib import Path
from typing import Annotated

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms
from podsql.cli.service_files import open_orders
from podsql.cli.terminal import put_pairs, put_rows, say
from podsql.times import iso


def history(
    search: Annotated[str, typer.Option(help="Text in any field.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 100,
    check: Annotated[bool, typer.Option("--verify", help="Check the whole chain instead.")] = False,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Who changed what at the service, newest first."""
    from podsql.policy.service.history import changes, epoch, verify

    with open_orders(federation) as (database, _):
        if check:
            put_pairs({"acts": verify(database), "epoch": epoch(database)}, as_json=as_json)
            return
        rows = [
            {
                "number": one.number,
                "time": iso(one.time),
                "actor": one.actor,
                "act": one.act,
                "object": one.object,
                "detail": one.detail,
            }
            for one in changes(database, search=search, limit=limit)
        ]
    put_rows(rows, as_json=as_json)


def backup(
    file: Annotated[Path, typer.Argument(help="A new file.")],
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Copy the service's store, also while the service runs."""
    from podsql.policy.service.restoring import write_backup

    with open_orders(federation) as (database, _):
        number = write_backup(database, file, _mark(federation))
    put_pairs({"backup": str(file), "epoch": number}, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `podsql policy backup` wrote.")],
    keep_grants: Annotated[
        str,
        typer.Option(help="Why grants hold that the present store does not know; else they end."),
    ] = "",
    epoch: Annotated[
        int | None,
        typer.Option(min=1, help="Number of this act: above what any pod has seen. Default: far."),
    ] = None,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Bring a backup into the store of a stopped service; no right that was taken comes back."""
    from podsql.policy.service.restoring import restore as bring_back
    from podsql.policyd import store_path

    done = bring_back(
        store_path(federation),
        file,
        federation=_mark(federation),
        now=now_ms(),
        keep_grants=keep_grants,
        epoch=epoch,
    )
    facts = {
        "epoch": done.epoch,
        "grants": done.in_force,
        "ended": done.ended,
        "kept": str(done.kept) if done.kept else None,
    }
    put_pairs(facts, as_json=as_json)
    if done.ended:
        say("grants that ended can be given again: podsql policy history, podsql grant --list")
    say("officers whose way in differed need a new one: podsql policy officer")


def _mark(federation: Path | None) -> str:
    from podsql.membership import find_membership, read_membership_file

    return read_membership_file(find_membership(federation)).federation.fingerprint
