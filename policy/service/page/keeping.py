"""Settings, officers, and the switch that freezes a pod or all of them."""

from typing import Final

from starlette.responses import Response

from podsql.errors import Error, error
from podsql.policy.service import officers, settings
from podsql.policy.service.officers import ROLES, Officer
from podsql.policy.service.page.hosting import home
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import pods
from podsql.relay.keys import fingerprint_key

MEANING: Final = {
    "viewer": "reads",
    "approver": "also grants, revokes, reviews, freezes",
    "admin": "also keeps officers, people, projects, settings",
}


def show(visit: Visit, status: int = 200) -> Response:
    """Switches and officers."""
    return visit.page(
        "settings.html",
        status,
        switches={
            name: (text, settings.switched(visit.database, name))
            for name, text in settings.SWITCHES.items()
        },
        officers=officers.officers(visit.database),
        meaning=MEANING,
        sso=visit.tenant.file.oidc,
    )


def switch(visit: Visit) -> Response:
    """Turn a switch."""
    name = visit.form.raw("name")
    on = visit.form.raw("on") == "yes"
    visit.orders.switch(visit.officer, name, on)
    return visit.go("settings", f"{name} is {'on' if on else 'off'} now.")


def add_officer(visit: Visit) -> Response:
    """A new officer, whose link is shown once."""
    form = visit.form
    name = form.text("name", "The name", most=64)
    role = form.choice("role", "The role", ROLES)
    if form.problems:
        return show(visit, 400)
    try:
        visit.orders.add_officer(visit.officer, Officer(name=name, role=role))  # type: ignore[arg-type]
    except Error as fault:
        if fault.code not in ("ARGUMENT", "CONFLICT"):
            raise
        form.problems["name"] = fault.message
        return show(visit, 400)
    return _show_link(visit, name)


def show_officer(visit: Visit, status: int = 200) -> Response:
    """One officer."""
    return visit.page(
        "officer.html",
        status,
        one=_officer(visit),
        meaning=MEANING,
        sso=visit.tenant.file.oidc,
    )


def change_officer(visit: Visit) -> Response:
    """Another role, federation key or sign-on."""
    form, one = visit.form, _officer(visit)
    role = form.choice("role", "The role", ROLES)
    key = form.text("key", "The federation key", needed=False)
    oidc = form.text("oidc", "The single sign-on subject", most=512, needed=False)
    identity = None
    if key:
        try:
            identity = fingerprint_key(key)
        except Error as fault:
            form.problems["key"] = fault.message
    if oidc and " " not in oidc:
        issuer = visit.tenant.file.oidc
        if issuer is None:
            form.problems["oidc"] = "Single sign-on: write the issuer, a space, and the subject"
        else:
            oidc = f"{issuer.issuer} {oidc}"
    if form.problems:
        return show_officer(visit, 400)
    visit.orders.change_officer(
        visit.officer,
        one.name,
        role=role,  # type: ignore[arg-type]  # chosen from the list
        identity=identity,
        oidc=oidc,
    )
    return visit.go("settings", f"{one.name} was changed.")


def end_officer(visit: Visit) -> Response:
    """End an officer and every way in."""
    one = _officer(visit)
    visit.orders.end_officer(visit.officer, one.name)
    return visit.go("settings", f"{one.name} is no officer any more.")


def new_link(visit: Visit) -> Response:
    """A new one-time link, which is shown once."""
    return _show_link(visit, _officer(visit).name)


def show_freeze(visit: Visit, status: int = 200) -> Response:
    """What is frozen, and the switch."""
    return visit.page("freeze.html", status, pods=_pods(visit))


def freeze(visit: Visit) -> Response:
    """Stop every answer of a pod, or of all."""
    form = visit.form
    pod = form.choice("pod", "The pod", ("*", *_pods(visit)))
    reason = form.text("reason", "The reason", most=500)
    if form.problems:
        return show_freeze(visit, 400)
    visit.orders.freeze(visit.officer, pod, reason)
    return visit.go("freeze", "It is frozen: no further request is answered.")


def thaw(visit: Visit) -> Response:
    """Let it answer again."""
    visit.orders.thaw(visit.officer, visit.form.text("pod", "The pod"))
    return visit.go("freeze", "It answers again.")


def _pods(visit: Visit) -> list[str]:
    known = {one.name for one in pods(visit.database)}
    return sorted(known | {card.name for card in visit.tenant.members() if card.role == "pod"})


def _show_link(visit: Visit, name: str) -> Response:
    token = visit.orders.invite(visit.officer, name)
    return visit.page(
        "new_link.html",
        name=name,
        link=f"{visit.site.origins[0]}{home(visit.tenant.name)}link/{token}",
    )


def _officer(visit: Visit) -> Officer:
    found = officers.by_name(visit.database, str(visit.ask.args["officer"]))
    if found is None:
        raise error("ARGUMENT", "no such officer is active here")
    return found
