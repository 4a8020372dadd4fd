"""Every address of the page in one table: who may come, and what needs a fresh proof."""

from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from podsql.policy.service.page import (
    account,
    grants,
    inbox,
    passkeys,
    signing_in,
    single_sign_on,
)
from podsql.policy.service.page.guarding import endpoint, not_found
from podsql.policy.service.page.hosting import Site, home
from podsql.policy.service.page.rendering import STATIC, render
from podsql.policy.service.page.shield import Shield
from podsql.policy.service.page.visits import Action, ForOfficers, ForVisitors

ACTIONS: Final[tuple[Action, ...]] = (
    ForVisitors(method="GET", path="sign-in", call=signing_in.show_sign_in),
    ForVisitors(method="POST", path="sign-in", call=signing_in.sign_in),
    ForVisitors(method="POST", path="passkey/options", call=passkeys.sign_in_options),
    ForVisitors(method="POST", path="passkey", call=passkeys.sign_in),
    ForVisitors(method="GET", path="sso", call=single_sign_on.leave),
    ForVisitors(method="GET", path="sso/back", call=single_sign_on.back),
    ForVisitors(method="GET", path="link/{token}", call=signing_in.show_link),
    ForVisitors(method="POST", path="link/{token}", call=signing_in.take_link),
    ForOfficers(method="POST", path="sign-out", call=signing_in.sign_out),
    ForOfficers(method="POST", path="sign-out-everywhere", call=signing_in.sign_out_everywhere),
    ForOfficers(method="POST", path="proof/options", call=passkeys.proof_options),
    ForOfficers(method="POST", path="proof", call=passkeys.prove),
    ForOfficers(method="GET", path="account", call=account.show),
    ForOfficers(method="POST", path="account/password", call=account.change_password, proof=True),
    ForOfficers(
        method="POST", path="account/passkeys/options", call=passkeys.register_options, proof=True
    ),
    ForOfficers(method="POST", path="account/passkeys", call=passkeys.register, proof=True),
    ForOfficers(method="POST", path="account/passkeys/remove", call=passkeys.remove, proof=True),
    ForOfficers(method="POST", path="theme", call=account.choose_theme),
    ForOfficers(method="GET", path="requests", call=inbox.show_all),
    ForOfficers(method="GET", path="requests/{number:int}", call=inbox.show),
    ForOfficers(
        method="POST", path="requests/{number:int}/approve", call=inbox.approve, proof=True
    ),
    ForOfficers(method="POST", path="requests/{number:int}/refuse", call=inbox.refuse),
    ForOfficers(method="GET", path="grants", call=grants.show_all),
    ForOfficers(method="GET", path="grants/new", call=grants.show_new),
    ForOfficers(method="POST", path="grants/new", call=grants.make, proof=True),
    ForOfficers(method="GET", path="grants/{grant}", call=grants.show),
    ForOfficers(method="POST", path="grants/{grant}/revoke", call=grants.revoke),
)
ROBOTS: Final = "User-agent: *\nDisallow: /\n"


def make_app(site: Site) -> Starlette:
    """The page of ``site``."""

    def front(request: Request) -> Response:
        only = next(iter(site.tenants)) if len(site.tenants) == 1 else ""
        wanted = request.query_params.get("federation", "").strip()[:256] or only
        if wanted:
            return RedirectResponse(home(wanted), 303)
        shown = {"visit": None, "theme": "auto", "home": "/", "federation": ""}
        return HTMLResponse(render("front.html", shown))

    def lost(request: Request) -> Response:
        return not_found(site, request)

    def robots(_: Request) -> Response:
        return Response(ROBOTS, media_type="text/plain")

    routes: list[Route | Mount] = [
        Route("/", front),
        Route("/robots.txt", robots),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    routes += [
        Route(f"/f/{{federation}}/{action.path}", endpoint(site, action), methods=[action.method])
        for action in ACTIONS
    ]
    routes += [Route("/f/{federation}", lost), Route("/f/{federation}/{rest:path}", lost)]
    return Starlette(routes=routes, middleware=[Middleware(Shield, site=site)])
