"""``podsql policy freeze|thaw|setting`` and what waits for a decision: requests, held results.

Each verb is one act of ``policy/service/orders``, by whoever sits at the service's machine.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson, FederationPath
from podsql.cli.service_files import open_orders
from podsql.cli.terminal import put_pairs, put_rows
from podsql.errors import error
from podsql.times import iso

if TYPE_CHECKING:
    from podsql.policy.service.asking import Asked
    from podsql.policy.service.reviews import Review

PodName = Annotated[str, typer.Argument(help="Name of a pod, or all.")]
Number = Annotated[int, typer.Argument(help="Number of the request.")]
Ident = Annotated[str, typer.Argument(help="Id of the held result.")]
Note = Annotated[str, typer.Option(help="Why; it stays in the record.")]
Everything = Annotated[bool, typer.Option("--all", help="Decided ones too.")]


def freeze(
    pod: PodName,
    reason: Annotated[str, typer.Option(help="Why; it stays in the record.")] = "",
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Let a pod (or all) answer nothing, from the next request on."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        orders.freeze(CONSOLE, _pods(pod), reason)
    put_pairs({"pod": pod, "state": "frozen"}, as_json=as_json)


def thaw(pod: PodName, federation: FederationPath = None, as_json: AsJson = False) -> None:
    """Let it answer again."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        orders.thaw(CONSOLE, _pods(pod))
    put_pairs({"pod": pod, "state": "thawed"}, as_json=as_json)


def setting(
    name: Annotated[str | None, typer.Argument(help="Without one all are listed.")] = None,
    value: Annotated[str | None, typer.Argument(help="on or off.")] = None,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Turn a rule of the whole federation on or off."""
    from podsql.policy.service.officers import CONSOLE
    from podsql.policy.service.settings import SWITCHES, switched

    if value not in (None, "on", "off") or (name is not None and value is None):
        raise error("ARGUMENT", "a setting is on or off", hint="podsql policy setting NAME on")
    with open_orders(federation) as (database, orders):
        if name is not None:
            orders.switch(CONSOLE, name, value == "on")
        rows = [
            {"setting": one, "value": "on" if switched(database, one) else "off", "means": means}
            for one, means in SWITCHES.items()
            if name in (None, one)
        ]
    put_rows(rows, as_json=as_json)


def requests(
    everything: Everything = False, federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Requests for access that wait for an answer, newest first."""
    from podsql.policy.service.asking import requests as find

    with open_orders(federation) as (database, _):
        rows = [_request(one) for one in find(database, state=None if everything else "open")]
    put_rows(rows, as_json=as_json)


def approve(
    number: Number, note: Note = "", federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Approve a request, which gives the grant, or is the first of two approvals."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        given = orders.approve(CONSOLE, number, note_text=note)
    state = "approved" if given.grant_id else "approved once: another person must approve it too"
    put_pairs({"request": number, "state": state, "grant": given.grant_id or None}, as_json=as_json)


def refuse(
    number: Number, note: Note = "", federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Refuse a request."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        orders.refuse(CONSOLE, number, note_text=note)
    put_pairs({"request": number, "state": "refused"}, as_json=as_json)


def held(
    everything: Everything = False, federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Results that wait at their pods until they are released, newest first."""
    from podsql.policy.service.reviews import reviews

    with open_orders(federation) as (database, _):
        rows = [_held(one) for one in reviews(database, state=None if everything else "waiting")]
    put_rows(rows, as_json=as_json)


def release(
    ident: Ident, note: Note = "", federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Release a held result, or be the first of two who do."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        done = orders.release(CONSOLE, ident, note_text=note)
    state = "released" if done else "released once: another person must release it too"
    put_pairs({"result": ident, "state": state}, as_json=as_json)


def withhold(
    ident: Ident, note: Note = "", federation: FederationPath = None, as_json: AsJson = False
) -> None:
    """Let a held result never leave."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (_, orders):
        orders.withhold(CONSOLE, ident, note_text=note)
    put_pairs({"result": ident, "state": "withheld"}, as_json=as_json)


def _pods(name: str) -> str:
    return "*" if name == "all" else name


def _request(one: "Asked") -> dict[str, Any]:
    from podsql.policy.service.granting import FOREVER

    wish = one.wish
    return {
        "request": one.number,
        "analyst": one.name,
        "pod": wish.pod,
        "tables": ", ".join(wish.tables),
        "purpose": wish.purpose,
        "project": wish.project,
        "release": wish.release,
        "until": None if wish.until >= FOREVER else iso(wish.until),
        "asked": iso(one.created),
        "reason": one.reason,
        "state": one.state,
        "first_by": one.first_by or None,
        "decided_by": one.decided_by or None,
    }


def _held(one: "Review") -> dict[str, Any]:
    return {
        "result": one.id,
        "pod": one.pod,
        "analyst": one.name,
        "tables": ", ".join(one.tables),
        "purpose": one.purpose,
        "project": one.project,
        "release": one.release,
        "rows": one.rows,
        "columns": one.columns,
        "bytes": one.size,
        "held": iso(one.created),
        "state": one.state,
        "first_by": one.first_by or None,
        "decided_by": one.decided_by or None,
    }
