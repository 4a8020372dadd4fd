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
    datasets,
    editor,
    grants,
    inbox,
    keeping,
    overview,
    passkeys,
    persons,
    projects,
    records,
    results,
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
    ForOfficers(method="GET", path="", call=overview.show),
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
    ForOfficers(method="GET", path="people", call=persons.show_all),
    ForOfficers(method="GET", path="people/{person}", call=persons.show),
    ForOfficers(method="POST", path="people/{person}", call=persons.describe),
    ForOfficers(method="POST", path="people/{person}/off-board", call=persons.off_board),
    ForOfficers(method="GET", path="projects", call=projects.show_all),
    ForOfficers(method="GET", path="projects/new", call=projects.show_new),
    ForOfficers(method="POST", path="projects/new", call=projects.register),
    ForOfficers(method="GET", path="projects/of/{project}", call=projects.show),
    ForOfficers(method="POST", path="projects/of/{project}", call=projects.change),
    ForOfficers(method="POST", path="projects/of/{project}/close", call=projects.close),
    ForOfficers(method="GET", path="pods", call=datasets.show_all),
    ForOfficers(method="GET", path="pods/{pod}", call=datasets.show),
    ForOfficers(method="GET", path="budgets", call=datasets.show_budgets),
    ForOfficers(method="GET", path="results", call=results.show_all),
    ForOfficers(method="GET", path="results/{result}", call=results.show),
    ForOfficers(method="POST", path="results/{result}/release", call=results.release, proof=True),
    ForOfficers(method="POST", path="results/{result}/refuse", call=results.withhold),
    ForOfficers(method="GET", path="decisions", call=records.show_decisions),
    ForOfficers(method="GET", path="decisions/export", call=records.export_decisions),
    ForOfficers(method="GET", path="history", call=records.show_history),
    ForOfficers(method="POST", path="history", call=records.verify_history),
    ForOfficers(method="GET", path="history/export", call=records.export_history),
    ForOfficers(method="GET", path="policies", call=editor.show),
    ForOfficers(method="POST", path="policies", call=editor.check),
    ForOfficers(method="POST", path="policies/download", call=editor.download),
    ForOfficers(method="GET", path="settings", call=keeping.show),
    ForOfficers(method="POST", path="settings/switch", call=keeping.switch, proof=True),
    ForOfficers(method="POST", path="settings/officers", call=keeping.add_officer, proof=True),
    ForOfficers(method="GET", path="officers/{officer}", call=keeping.show_officer),
    ForOfficers(method="POST", path="officers/{officer}", call=keeping.change_officer, proof=True),
    ForOfficers(method="POST", path="officers/{officer}/end", call=keeping.end_officer, proof=True),
    ForOfficers(method="POST", path="officers/{officer}/link", call=keeping.new_link, proof=True),
    ForOfficers(method="GET", path="freeze", call=keeping.show_freeze),
    ForOfficers(method="POST", path="freeze", call=keeping.freeze, proof=True),
    ForOfficers(method="POST", path="freeze/thaw", call=keeping.thaw, proof=True),
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

    def begin(request: Request) -> Response:
        return RedirectResponse(home(request.path_params["federation"]), 303)

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
    routes += [Route("/f/{federation}", begin), Route("/f/{federation}/{rest:path}", lost)]
    return Starlette(routes=routes, middleware=[Middleware(Shield, site=site)])
