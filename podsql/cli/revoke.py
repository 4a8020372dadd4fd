"""``podsql revoke GRANT``: end a right at the policy service; in force with the next request."""

from typing import Annotated

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms
from podsql.cli.service_files import open_database
from podsql.cli.terminal import put_pairs, say


def revoke(
    grant: Annotated[
        str, typer.Argument(help="Id of a grant, or an analyst's name for all of its.")
    ],
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Revoke one grant, or all of an analyst's."""
    from podsql.policy.service.granting import all_grants
    from podsql.policy.service.officers import CONSOLE
    from podsql.policy.service.orders import Orders

    database = open_database(federation)
    try:
        all_of = [
            each.grant.grant_id
            for each in all_grants(database)
            if each.name == grant and each.revoked is None
        ]
        orders = Orders(database, now_ms)
        for ident in all_of or [grant]:
            orders.revoke(CONSOLE, ident)
    finally:
        database.close()
    put_pairs({"revoked": ", ".join(all_of or [grant])}, as_json=as_json)
    say("members stay in the federation: podsql federation revoke NAME takes one out")
