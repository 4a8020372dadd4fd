"""``podsql policy history|backup|restore``: the service's record, and what keeps it."""

from typing import Annotated

import typer

from podsql.cli.options import AsJson, FederationPath
from podsql.cli.service_files import open_orders
from podsql.cli.terminal import put_pairs, put_rows
from podsql.cli.times import iso


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
