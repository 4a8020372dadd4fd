"""``podsql policy page``: the policy service's web page, and the links that let people in."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podsql.cli.options import now_ms
from podsql.cli.service_files import federation_name, member_cards, open_database, open_orders
from podsql.cli.terminal import log_to_stderr
from podsql.errors import error

if TYPE_CHECKING:
    from podsql.policy.service.page.hosting import Tenant

ADDRESS = "127.0.0.1:8443"
ORIGIN = "http://localhost:8443"

Origin = Annotated[str, typer.Option(help="How browsers reach it, such as https://access.example.")]


def page(
    federation: Annotated[
        list[Path] | None,
        typer.Option("--federation", help="federation.toml; repeat it to serve several."),
    ] = None,
    listen: Annotated[str, typer.Option(help="Address and port.")] = ADDRESS,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    origin: Origin = "",
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front ends TLS.")
    ] = False,
) -> None:
    """Run the web page of a policy service until SIGTERM. It holds no signing key."""
    try:
        from podsql.policy.service.page.hosting import Site, by_name
        from podsql.policy.service.page.running import listening, serve
    except ModuleNotFoundError as missing:
        raise error(
            "CONFIG", f"{missing.name} is not installed", hint="pip install 'podsql[policy]'"
        ) from None

    where = listening(
        listen, certificate=tls_cert, key=tls_key, origin=origin, proxied=behind_proxy
    )
    log_to_stderr()
    with ExitStack() as opened:
        places: list[Path | None] = [*federation] if federation else [None]
        tenants = [_tenant(one, opened) for one in places]
        site = Site(
            tenants=by_name(tenants),
            origins=where.origins,
            clock=now_ms,
            try_policy=_try,
            proxied=where.proxied,
        )
        code = serve(site, where)
    raise typer.Exit(code)


def first_link(federation: Path | None, name: str) -> str:
    """Make the first administrator; the link that lets him in."""
    from podsql.policy.service.officers import CONSOLE, Officer

    with open_orders(federation) as (_, orders):
        orders.add_officer(CONSOLE, Officer(name=name, role="admin"))
        return link_to(federation, orders.invite(CONSOLE, name))


def link_to(federation: Path | None, token: str, origin: str = ORIGIN) -> str:
    """The address of a one-time link."""
    from urllib.parse import quote

    return f"{origin.rstrip('/')}/f/{quote(federation_name(federation), safe='')}/link/{token}"


def _tenant(federation: Path | None, opened: ExitStack) -> "Tenant":
    from podsql.policy.service.page.hosting import Tenant
    from podsql.policy.service.page.page_file import read_page_file

    database = open_database(federation)
    opened.callback(database.close)
    return Tenant(
        name=federation_name(federation),
        database=database,
        members=lambda: member_cards(federation),
        file=read_page_file(database.path.parent),
    )


def _try(policy: Any, tables: Any, sql: str, person: str) -> Any:
    # Planner and engine are loaded by the first dry run only.
    from podsql.pod.trying import try_policy

    return try_policy(policy, tables, sql, person=person)
