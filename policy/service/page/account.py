"""An officer's own account: password, passkeys, open sessions, and how the page looks."""

from starlette.responses import RedirectResponse, Response

from podsql.errors import Error
from podsql.policy.service import sessions
from podsql.policy.service.accounts import SHORTEST
from podsql.policy.service.page.passkeys import passkeys_of, possible
from podsql.policy.service.page.visits import THEMES, Visit

YEAR_SECONDS = 365 * 24 * 3600


def show(visit: Visit, status: int = 200) -> Response:
    """The account."""
    name = visit.officer.name
    return visit.page(
        "account.html",
        status,
        passkeys=passkeys_of(visit.database, name),
        possible=possible(visit.site),
        password=visit.accounts.has_password(name),
        open_sessions=sessions.count(visit.database, name, visit.now),
        shortest=SHORTEST,
    )


def change_password(visit: Visit) -> Response:
    """Another password; every session ends, this one too."""
    form = visit.form
    password = form.raw("password")
    if password != form.raw("again"):
        form.problems["again"] = "The two passwords differ"
        return show(visit, 400)
    try:
        visit.accounts.change_password(visit.officer, password)
    except Error as fault:
        form.problems["password"] = fault.message
        return show(visit, 400)
    return visit.go("sign-in")


def choose_theme(visit: Visit) -> Response:
    """Light, dark, or as the browser has it."""
    theme, back = visit.form.raw("theme"), visit.form.raw("back")
    plain = back.isprintable() and "\\" not in back and back.startswith(visit.home)
    response = RedirectResponse(back if plain else visit.home, 303)
    response.set_cookie(
        "podsql-theme",
        theme if theme in THEMES else "auto",
        max_age=YEAR_SECONDS,
        secure=visit.site.secure,
        httponly=True,
        samesite="lax",
    )
    return response
