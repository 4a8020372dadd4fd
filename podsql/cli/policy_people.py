"""``podsql policy officer|person|project|off-board``: who decides, who asks, and for what.

Whoever may write the service's files on its machine is its administrator: nothing here asks again.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import AsJson, FederationPath
from podsql.cli.service_files import analyst_key, open_orders
from podsql.cli.terminal import put_pairs, put_rows
from podsql.errors import error
from podsql.times import end_of_day, iso

if TYPE_CHECKING:
    from podsql.policy.service.database import Database
    from podsql.policy.service.officers import Officer
    from podsql.policy.service.people import Project, Registered

NEVER = 253_402_300_799_000
"""Ms since the epoch at the end of year 9999."""


def officer(
    name: Annotated[str | None, typer.Argument(help="Whom; without a name all are listed.")] = None,
    role: Annotated[str | None, typer.Option(help="viewer, approver or admin.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Member or fingerprint whose signed orders (GRANT … in SQL) are his."),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Take no orders in SQL.")] = False,
    end: Annotated[bool, typer.Option("--end", help="End this officer instead.")] = False,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Make somebody an officer, or change or end one."""
    from podsql.policy.service.officers import CONSOLE, Officer, by_name, officers

    with open_orders(federation) as (database, orders):
        if name is None:
            put_rows([_officer(one) for one in officers(database)], as_json=as_json)
            return
        known = by_name(database, name)
        if end:
            orders.end_officer(CONSOLE, name)
            put_pairs({"officer": name, "state": "ended"}, as_json=as_json)
            return
        identity = None if known is None or no_key else known.identity
        if key is not None:
            identity = analyst_key(federation, key)[1]
        chosen: Any = role or (known.role if known is not None else "viewer")
        if known is None:
            orders.add_officer(CONSOLE, Officer(name=name, role=chosen, identity=identity))
        else:
            orders.change_officer(CONSOLE, name, role=chosen, identity=identity, oidc=known.oidc)
        found = by_name(database, name)
    assert found is not None
    put_pairs(_officer(found), as_json=as_json)


def person(
    name: Annotated[
        str | None, typer.Argument(help="Name or fingerprint; without one all are listed.")
    ] = None,
    organisation: Annotated[str | None, typer.Option(help="Where the person works.")] = None,
    contact: Annotated[str | None, typer.Option(help="How to reach the person.")] = None,
    trained_until: Annotated[
        str | None, typer.Option(help="Last day (YYYY-MM-DD) on which the person may ask.")
    ] = None,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Write down what is known of an analyst."""
    from podsql.policy.service import people
    from podsql.policy.service.officers import CONSOLE

    until = None if trained_until is None else _day_over(trained_until, "--trained-until")
    with open_orders(federation) as (database, orders):
        if name is None:
            put_rows([_person(one) for one in people.people(database)], as_json=as_json)
            return
        known_as, identity = _whom(database, federation, name)
        before = people.person(database, identity)
        orders.describe(
            CONSOLE,
            identity,
            name=known_as,
            organisation=_or(organisation, before.organisation if before else ""),
            contact=_or(contact, before.contact if before else ""),
            trained_until=before.trained_until if before and until is None else until,
        )
        found = people.person(database, identity)
    assert found is not None
    put_pairs(_person(found), as_json=as_json)


def project(
    name: Annotated[str | None, typer.Argument(help="Without a name all are listed.")] = None,
    title: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    purpose: Annotated[str | None, typer.Option(help="What it asks for.")] = None,
    basis: Annotated[str | None, typer.Option(help="Its lawful basis.")] = None,
    ethics: Annotated[str | None, typer.Option(help="The ethics vote, or where it is.")] = None,
    ends: Annotated[str | None, typer.Option(help="Its last day (YYYY-MM-DD).")] = None,
    close: Annotated[bool, typer.Option("--close", help="End it now instead.")] = False,
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """Register a project, change its entry (which opens a closed one), or end it."""
    from podsql.policy.service.officers import CONSOLE
    from podsql.policy.service.people import Project, projects

    until = None if ends is None else _day_over(ends, "--ends")
    with open_orders(federation) as (database, orders):
        known = {one.name: one for one in projects(database)}
        if name is None:
            put_rows([_project(one) for one in known.values()], as_json=as_json)
            return
        if close:
            orders.close_project(CONSOLE, name)
        else:
            old = known.get(name)
            written = Project(
                name=name,
                title=_or(title, old.title if old else ""),
                purpose=_or(purpose, old.purpose if old else ""),
                lawful_basis=_or(basis, old.lawful_basis if old else ""),
                ethics=_or(ethics, old.ethics if old else ""),
                ends=until if until is not None else old.ends if old else NEVER,
            )
            orders.set_project(CONSOLE, written)
        (found,) = (one for one in projects(database) if one.name == name)
    put_pairs(_project(found), as_json=as_json)


def off_board(
    name: Annotated[str, typer.Argument(help="Name or fingerprint.")],
    federation: FederationPath = None,
    as_json: AsJson = False,
) -> None:
    """End a person with every grant and request, in one act."""
    from podsql.policy.service.officers import CONSOLE

    with open_orders(federation) as (database, orders):
        known_as, identity = _whom(database, federation, name)
        ended = orders.off_board(CONSOLE, identity)
    put_pairs({"person": known_as, "state": "ended", "grants_ended": ended}, as_json=as_json)


def _whom(database: "Database", federation: Path | None, who: str) -> tuple[str, bytes]:
    """Somebody the store knows, also one who left the federation; else a member."""
    from podsql.policy.service.people import people
    from podsql.relay.keys import fingerprint

    found = [
        one
        for one in people(database)
        if one.ended is None and who in (one.name, fingerprint(one.identity))
    ]
    if len(found) > 1:
        keys = ", ".join(fingerprint(one.identity) for one in found)
        raise error("ARGUMENT", f"several people are called {who!r}", hint=f"name one key: {keys}")
    return (found[0].name, found[0].identity) if found else analyst_key(federation, who)


def _day_over(text: str, option: str) -> int:
    try:
        return end_of_day(text)
    except ValueError:
        raise error("ARGUMENT", f"{option} wants a day as YYYY-MM-DD (UTC)") from None


def _or(given: str | None, before: str) -> str:
    return before if given is None else given


def _officer(one: "Officer") -> dict[str, Any]:
    from podsql.relay.keys import fingerprint

    return {
        "officer": one.name,
        "role": one.role,
        "key": fingerprint(one.identity) if one.identity else None,
        "state": "active" if one.ended is None else f"ended {iso(one.ended)}",
    }


def _person(one: "Registered") -> dict[str, Any]:
    from podsql.relay.keys import fingerprint

    return {
        "person": one.name,
        "key": fingerprint(one.identity),
        "organisation": one.organisation,
        "contact": one.contact,
        "trained_until": iso(one.trained_until) if one.trained_until else None,
        "state": "active" if one.ended is None else f"ended {iso(one.ended)}",
    }


def _project(one: "Project") -> dict[str, Any]:
    return {
        "project": one.name,
        "title": one.title,
        "purpose": one.purpose,
        "basis": one.lawful_basis,
        "ethics": one.ethics,
        "ends": None if one.ends >= NEVER else iso(one.ends),
        "state": "open" if one.closed is None else f"closed {iso(one.closed)}",
    }
