"""``podsql revoke GRANT``: end a right at the policy service; in force with the next request."""

from typing import Annotated

import typer

from podsql.cli.options import AsJson, FederationPath, now_ms
from podsql.cli.service_files import open_store
from podsql.cli.terminal import put_pairs, say


def revoke(
    grant: Annotated[
        str, typer.Argument(help="Id of a grant, or an analyst's name for all of its.")
    ],
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Revoke one grant, or all of an analyst's."""
    from podsql.policy.service.store import list_grants
    from podsql.policy.service.store import revoke as end

    now = now_ms()
    store = open_store(federation)
    try:
        all_of = [
            each.grant.grant_id
            for each in list_grants(store)
            if each.name == grant and each.revoked is None
        ]
        for ident in all_of or [grant]:
            end(store, ident, now=now)
    finally:
        store.close()
    put_pairs({"revoked": ", ".join(all_of or [grant])}, as_json=as_json)
    say("members stay in the federation: podsql federation revoke NAME takes one out")
