"""What a page's function is given: a visitor who is not signed in, or an officer's visit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, RedirectResponse, Response

from podsql.policy.service import sessions, settings
from podsql.policy.service.accounts import Accounts
from podsql.policy.service.database import Database
from podsql.policy.service.officers import ROLES, Officer, Role
from podsql.policy.service.orders import Orders
from podsql.policy.service.page.forms import Form
from podsql.policy.service.page.hosting import Site, Tenant, home
from podsql.policy.service.page.rendering import render
from podsql.policy.service.sessions import Session

THEMES: Final = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, read and bounded. ``args`` are the parts of the path that vary."""

    method: str
    path: str
    args: Mapping[str, Any]
    query: Mapping[str, str]
    cookies: Mapping[str, str]
    form: Form
    address: str
    federation: str
    now: int

    def cookie(self, name: str, site: Site) -> str:
        """A cookie of ours."""
        return self.cookies.get(cookie_name(name, site), "")

    @property
    def theme(self) -> str:
        """Light, dark, or as the browser has it."""
        found = self.cookies.get("podsql-theme", "")
        return found if found in THEMES else "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who is not signed in. ``tenant``: None if no such federation is served here."""

    site: Site
    ask: Ask
    tenant: Tenant | None
    csrf: str

    @property
    def home(self) -> str:
        """Where this federation's pages begin."""
        return home(self.ask.federation)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page for strangers: says nothing that depends on whether the federation exists."""
        shown = {
            "federation": self.ask.federation,
            "home": self.home,
            "csrf": self.csrf,
            "theme": self.ask.theme,
            "single_sign_on": self.site.single_sign_on,
            "visitor_next": self.ask.form.raw("next") or self.ask.query.get("next", ""),
            "form": self.ask.form,
            "visit": None,
            **values,
        }
        return HTMLResponse(render(template, shown), status)

    def go(self, path: str) -> Response:
        """Look at another page of this federation."""
        return RedirectResponse(self.home + path, 303)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of an officer who is signed in."""

    site: Site
    ask: Ask
    tenant: Tenant
    officer: Officer
    session: Session

    @property
    def form(self) -> Form:
        """What was sent."""
        return self.ask.form

    @property
    def now(self) -> int:
        """When, in ms since the epoch."""
        return self.ask.now

    @property
    def home(self) -> str:
        """Where this federation's pages begin."""
        return home(self.tenant.name)

    @property
    def database(self) -> Database:
        """This federation's store."""
        return self.tenant.database

    @property
    def orders(self) -> Orders:
        """What may be done here."""
        return Orders(self.database, self.site.clock)

    @property
    def accounts(self) -> Accounts:
        """Passwords and links of this federation's officers."""
        return Accounts(self.database, self.site.clock)

    def may(self, role: Role) -> bool:
        """Whether the officer's role is ``role`` or more: what a page offers; orders check again."""
        return ROLES.index(self.officer.role) >= ROLES.index(role)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page of this federation."""
        done = self.session.state.get("done", "")
        if done:
            sessions.remember(self.database, self.session, done="")
        shown = {
            "federation": self.tenant.name,
            "home": self.home,
            "csrf": self.session.csrf,
            "theme": self.ask.theme,
            "form": self.form,
            "visit": self,
            "now": self.now,
            "done": done,
            "waiting": _waiting(self.database),
            "frozen": settings.frozen(self.database),
            **values,
        }
        return HTMLResponse(render(template, shown), status)

    def go(self, path: str, done: str = "") -> Response:
        """Look at another page; it begins by saying what was ``done``."""
        if done:
            sessions.remember(self.database, self.session, done=done)
        return RedirectResponse(self.home + path, 303)


def _waiting(database: Database) -> dict[str, int]:
    ((asked, held),) = database.read(
        "SELECT (SELECT count(*) FROM requests WHERE state = 'open'),"
        " (SELECT count(*) FROM reviews WHERE state = 'waiting')"
    )
    return {"requests": asked, "results": held}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForVisitors:
    """A page that needs no session."""

    method: Literal["GET", "POST"]
    path: str
    call: Callable[[Visitor], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOfficers:
    """A page for officers; ``proof``: after a fresh proof of who they are."""

    method: Literal["GET", "POST"]
    path: str
    call: Callable[[Visit], Response]
    proof: bool = False


Action = ForVisitors | ForOfficers


def cookie_name(name: str, site: Site) -> str:
    """``__Secure-`` ties it to TLS; ``__Host-`` would not let it belong to one federation's path."""
    return f"__Secure-podsql-{name}" if site.secure else f"podsql-{name}"


def put_cookie(
    response: Response, site: Site, federation: str, name: str, value: str, seconds: int
) -> None:
    """Give the browser a cookie that only this federation's pages get."""
    response.set_cookie(
        cookie_name(name, site),
        value,
        max_age=seconds,
        path=home(federation),
        secure=site.secure,
        httponly=True,
        samesite="lax",
    )


def drop_cookie(response: Response, site: Site, federation: str, name: str) -> None:
    """Take it away."""
    put_cookie(response, site, federation, name, "", 0)


def with_query(path: str, values: Mapping[str, str]) -> str:
    """A path with what is not empty of a query."""
    kept = {name: text for name, text in values.items() if text}
    return f"{path}?{urlencode(kept)}" if kept else path
