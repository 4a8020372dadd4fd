"""The one way to a page's function: body, origin, session, form token, proof; errors as pages.

Rule to keep: an action is reached through ``endpoint`` only, and nothing that a request carried is
logged but its method and the kind of page.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from podsql.errors import Error, error
from podsql.policy.service import sessions
from podsql.policy.service.officers import by_name
from podsql.policy.service.page.forms import FORM_BYTES, Form
from podsql.policy.service.page.hosting import Site, Tenant, home
from podsql.policy.service.page.passkeys import passkeys_of
from podsql.policy.service.page.rendering import render
from podsql.policy.service.page.visits import (
    Action,
    Ask,
    ForVisitors,
    Visit,
    Visitor,
    put_cookie,
    with_query,
)

log = logging.getLogger("podsql.policy.page")

STATUS: Final = {
    "DENIED": 403,
    "ARGUMENT": 400,
    "POLICY_FILE": 400,
    "CONFLICT": 409,
    "QUOTA": 429,
    "BUSY": 503,
    "DISK_FULL": 503,
    "POLICY_UNAVAILABLE": 503,
    "RESULT_TOO_BIG": 413,
}
VISIT_MS: Final = 12 * 3600_000
"""How long a page for strangers may stay open before its form is sent."""


def endpoint(site: Site, action: Action) -> Callable[[Request], Awaitable[Response]]:
    """Guard ``action``."""

    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            _require_same_origin(site, request)
            ask = _ask(site, request, Form.read(body) if body else Form())
        except Error as fault:
            return _stranger_error(fault)
        return await run_in_threadpool(_answer, site, action, ask)

    return answer


def not_found(site: Site, request: Request) -> Response:
    """No such page: known to be so only by those who are signed in."""
    ask = _ask(site, request, Form())
    visit = _visit(site, ask)
    if visit is None:
        return _sign_in_first(ask)
    return visit.page("error.html", 404, fault=error("ARGUMENT", "no such page"))


def _answer(site: Site, action: Action, ask: Ask) -> Response:
    visit: Visit | None = None
    try:
        visit = _visit(site, ask)
        if isinstance(action, ForVisitors):
            return _for_visitor(site, action, ask)
        if visit is None:
            return _sign_in_first(ask)
        if ask.method == "POST":
            if not secrets.compare_digest(ask.form.raw("csrf"), visit.session.csrf):
                raise error("DENIED", "this form is not yours", hint="open its page again")
            log.info("%s: %s of %s", visit.tenant.name, action.path, visit.officer.name)
        if action.proof and not visit.session.fresh(ask.now):
            proved = _prove(visit)
            if isinstance(proved, Response):
                return proved
            visit = proved
        return action.call(visit)
    except Error as fault:
        status = STATUS.get(fault.code, 500)
        if visit is not None:
            return visit.page("error.html", status, fault=fault)
        return _stranger_error(fault, status)
    except Exception:
        mark = secrets.token_hex(4)
        # The traceback holds lines of code; what people sent stays out of the record.
        log.exception("%s failed, mark %s", action.path, mark)
        broken = error("INTERNAL", f"this failed, and was noted as {mark}", hint="see the log")
        if visit is not None:
            return visit.page("error.html", 500, fault=broken)
        return _stranger_error(broken, 500)


def _for_visitor(site: Site, action: ForVisitors, ask: Ask) -> Response:
    tenant = site.tenants.get(ask.federation)
    kept = site.seal.open("visit", ask.federation, ask.now, ask.cookie("visit", site))
    csrf = kept["csrf"] if kept else secrets.token_urlsafe(32)
    visitor = Visitor(site=site, ask=ask, tenant=tenant, csrf=csrf)
    if ask.method == "POST" and (
        kept is None or not secrets.compare_digest(ask.form.raw("csrf"), csrf)
    ):
        late = error("ARGUMENT", "this page was open for too long", hint="try again")
        response = visitor.page("sign_in.html", 400, fault=late)
    else:
        response = action.call(visitor)
    text = site.seal.shut("visit", ask.federation, ask.now, life=VISIT_MS, csrf=csrf)
    put_cookie(response, site, ask.federation, "visit", text, VISIT_MS // 1000)
    return response


def _visit(site: Site, ask: Ask) -> Visit | None:
    tenant: Tenant | None = site.tenants.get(ask.federation)
    token = ask.cookie("session", site)
    if tenant is None or not token:
        return None
    session = sessions.find(tenant.database, token, ask.now)
    officer = by_name(tenant.database, session.officer) if session else None
    if session is None or officer is None:
        return None
    return Visit(site=site, ask=ask, tenant=tenant, officer=officer, session=session)


def _prove(visit: Visit) -> Visit | Response:
    """Ask for a fresh proof; what was sent is kept in the page that asks."""
    accounts, ask, site = visit.accounts, visit.ask, visit.site
    wrong = ""
    password = ask.form.raw("proof")
    if password:
        device = ask.cookie("device", site)
        if not site.attempts.take(ask.address, ask.now):
            wrong = "too many attempts: wait ten minutes"
        elif accounts.sign_in(visit.officer.name, password, device=device) is not None:
            site.attempts.succeeded(ask.address)
            return replace(visit, session=sessions.prove(visit.database, visit.session, ask.now))
        else:
            wrong = "the password is wrong, or was wrong too often: wait a while"
    return visit.page(
        "prove.html",
        403,
        wrong=wrong,
        sent=ask.form.sent("csrf", "proof"),
        password=accounts.has_password(visit.officer.name),
        passkey=bool(passkeys_of(visit.database, visit.officer.name)),
        sso=visit.tenant.file.oidc is not None and bool(visit.officer.oidc),
    )


def _sign_in_first(ask: Ask) -> Response:
    wanted = with_query(ask.path, ask.query) if ask.method == "GET" else ""
    start = home(ask.federation)
    back = wanted if wanted not in ("", start) else ""
    return RedirectResponse(with_query(start + "sign-in", {"next": back}), 303)


def _stranger_error(fault: Error, status: int | None = None) -> Response:
    shown = {"fault": fault, "visit": None, "theme": "auto", "home": "/", "federation": ""}
    return HTMLResponse(render("error.html", shown), status or STATUS.get(fault.code, 500))


async def _body(request: Request) -> bytes:
    if request.method != "POST":
        return b""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "application/x-www-form-urlencoded"):
        raise error("ARGUMENT", "only forms are read here")
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > FORM_BYTES:
            raise error("RESULT_TOO_BIG", f"a form has at most {FORM_BYTES >> 10} KiB")
    return bytes(found)


def _require_same_origin(site: Site, request: Request) -> None:
    """Browsers say where a form was sent from; who does not say it is no browser of ours."""
    if request.method != "POST":
        return
    origin = request.headers.get("origin", "")
    if origin not in site.origins or urlsplit(origin).netloc != request.headers.get("host"):
        raise error("DENIED", "this form was sent from another site")
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise error("DENIED", "this form was sent from another site")


def _ask(site: Site, request: Request, form: Form) -> Ask:
    address = request.client.host if request.client else ""
    if site.proxied:
        # The last entry is the proxy's own; those before it are whatever the browser wrote.
        address = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or address
    return Ask(
        method=request.method,
        path=request.scope["raw_path"].decode("ascii", "replace"),
        args=request.path_params,
        query=dict(request.query_params),
        cookies=request.cookies,
        form=form,
        address=address,
        federation=str(request.path_params.get("federation", "")),
        now=site.clock(),
    )
