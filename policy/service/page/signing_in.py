"""In and out: passwords and one-time links; what every way in does in the end.

Rule to keep: what a stranger is told depends neither on the name nor on the federation.
"""

import logging
from typing import Final

from starlette.responses import RedirectResponse, Response

from podsql.errors import Error, error
from podsql.policy.service import sessions
from podsql.policy.service.accounts import (
    DEVICE_MS,
    SHORTEST,
    Accounts,
    compare_with_nobody,
    no_link,
)
from podsql.policy.service.officers import Officer
from podsql.policy.service.page.hosting import Tenant
from podsql.policy.service.page.visits import Visit, Visitor, drop_cookie, put_cookie

log = logging.getLogger("podsql.policy.page")

WRONG: Final = error(
    "DENIED",
    "name or password is wrong, or this name is locked after wrong passwords",
    hint="wait a while, or ask an administrator for a new link",
)
TOO_MANY: Final = error("QUOTA", "too many attempts from your address", hint="wait ten minutes")


def show_sign_in(visitor: Visitor) -> Response:
    """The page that asks who it is, unless that is known."""
    tenant, ask = visitor.tenant, visitor.ask
    token = ask.cookie("session", visitor.site)
    if tenant is not None and token and sessions.find(tenant.database, token, ask.now) is not None:
        return RedirectResponse(inside(visitor, ask.query.get("next", "")), 303)
    return visitor.page("sign_in.html", fault=None)


def sign_in(visitor: Visitor) -> Response:
    """With name and password."""
    ask, site = visitor.ask, visitor.site
    if not site.attempts.take(ask.address, ask.now):
        return visitor.page("sign_in.html", 429, fault=TOO_MANY)
    name, password = ask.form.raw("name").strip(), ask.form.raw("password")
    officer = None
    if visitor.tenant is None:
        compare_with_nobody(password)
    else:
        accounts = Accounts(visitor.tenant.database, site.clock)
        officer = accounts.sign_in(name, password, device=ask.cookie("device", site))
    if officer is None or visitor.tenant is None:
        return refuse(visitor)
    return enter(visitor, visitor.tenant, officer, proved=ask.now)


def refuse(visitor: Visitor) -> Response:
    """The one answer to whoever is not let in."""
    log.info("%r: a sign-in was refused", visitor.ask.federation)
    return visitor.page("sign_in.html", 401, fault=WRONG)


def enter(
    visitor: Visitor, tenant: Tenant, officer: Officer, *, proved: int, wanted: str = ""
) -> Response:
    """Begin a session under a new token; one that the browser had ends."""
    ask, site, database = visitor.ask, visitor.site, tenant.database
    site.attempts.succeeded(ask.address)
    before = sessions.find(database, ask.cookie("session", site), ask.now)
    if before is not None:
        sessions.end(database, before)
    token = sessions.start(database, officer.name, now=ask.now, proved=proved)
    log.info("%s: %s signed in", tenant.name, officer.name)
    response = RedirectResponse(inside(visitor, wanted or ask.form.raw("next")), 303)
    put_cookie(response, site, tenant.name, "session", token, sessions.LONGEST_MS // 1000)
    accounts = Accounts(database, site.clock)
    if not accounts.knows_device(officer.name, ask.cookie("device", site)):
        device = accounts.new_device(officer.name)
        put_cookie(response, site, tenant.name, "device", device, DEVICE_MS // 1000)
    return response


def inside(visitor: Visitor, wanted: str) -> str:
    """Where to go then: a page of this federation and nowhere else."""
    plain = wanted.isprintable() and "\\" not in wanted and ".." not in wanted
    return wanted if plain and wanted.startswith(visitor.home) else visitor.home


def show_link(visitor: Visitor) -> Response:
    """Where a new officer, or one who forgot, chooses a password."""
    return visitor.page("link.html", fault=None, shortest=SHORTEST)


def take_link(visitor: Visitor) -> Response:
    """Set the password; the officer is in."""
    ask, site = visitor.ask, visitor.site
    if not site.attempts.take(ask.address, ask.now):
        return visitor.page("link.html", 429, fault=TOO_MANY, shortest=SHORTEST)
    password = ask.form.raw("password")
    if password != ask.form.raw("again"):
        ask.form.problems["again"] = "the two passwords differ"
        return visitor.page("link.html", 400, fault=None, shortest=SHORTEST)
    try:
        if visitor.tenant is None:
            raise no_link()
        accounts = Accounts(visitor.tenant.database, site.clock)
        officer = accounts.take_link(str(ask.args["token"]), password)
    except Error as fault:
        if "password" in fault.message:
            ask.form.problems["password"] = fault.message
            return visitor.page("link.html", 400, fault=None, shortest=SHORTEST)
        return visitor.page("link.html", 400, fault=fault, shortest=SHORTEST)
    return enter(visitor, visitor.tenant, officer, proved=ask.now)


def sign_out(visit: Visit) -> Response:
    """End this session."""
    sessions.end(visit.database, visit.session)
    return _out(visit)


def sign_out_everywhere(visit: Visit) -> Response:
    """End every session of this officer."""
    sessions.end_all(visit.database, visit.officer.name)
    return _out(visit)


def _out(visit: Visit) -> Response:
    response = RedirectResponse(visit.home + "sign-in", 303)
    drop_cookie(response, visit.site, visit.tenant.name, "session")
    return response
