"""Grants: who may use what, until when; a new one, and the end of one."""

from typing import Final

from starlette.responses import Response

from podsql.policy.service import granting, people, settings
from podsql.policy.service.granting import Granted
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import pods

STATES: Final = {"live": "in force", "revoked": "revoked", "expired": "expired", "": "all"}


def state_of(one: Granted, now: int) -> str:
    """A word for how a grant stands."""
    if one.revoked is not None:
        return "revoked"
    if now < one.grant.since:
        return "not yet"
    return "live" if now < one.grant.until else "expired"


def show_all(visit: Visit) -> Response:
    """The list, by state and by text."""
    state = visit.ask.query.get("state", "live")
    state = state if state in STATES else "live"
    text = visit.ask.query.get("q", "")[:200].strip()
    found = [
        one
        for one in granting.all_grants(visit.database)
        if state in ("", state_of(one, visit.now)) and text.lower() in _words(one)
    ]
    return visit.page(
        "grants.html", grants=found, state=state, states=STATES, q=text, state_of=state_of
    )


def show(visit: Visit) -> Response:
    """One grant."""
    one = granting.one_grant(visit.database, str(visit.ask.args["grant"]))
    return visit.page("grant.html", one=one, state=state_of(one, visit.now))


def show_new(visit: Visit, status: int = 200) -> Response:
    """The form of a new grant."""
    visit.officer.require("approver")
    reports = pods(visit.database)
    present = {one.identity: one.name for one in people.people(visit.database) if one.ended is None}
    for card in visit.tenant.members():
        if card.role in ("analyst", "modeller"):
            present.setdefault(card.identity, card.name)
    ended = {one.identity for one in people.people(visit.database) if one.ended is not None}
    return visit.page(
        "new_grant.html",
        status,
        people=sorted(
            ((key, name) for key, name in present.items() if key not in ended),
            key=lambda pair: pair[1],
        ),
        pods=[one.name for one in reports],
        tables=sorted({card.name for one in reports for card in one.report.tables}),
        projects=[one for one in people.projects(visit.database) if not one.over(visit.now)],
        two_person=settings.switched(visit.database, "two_person"),
        chosen=visit.form.raw("person") or visit.ask.query.get("person", ""),
    )


def make(visit: Visit) -> Response:
    """Give a right; with two people, the first half of it."""
    form = visit.form
    person = form.text("person", "The person")
    tables = form.words("tables", "The tables")
    pod = form.text("pod", "The pod", needed=False) or "*"
    purpose = form.text("purpose", "The purpose", needed=False) or "*"
    project = form.text("project", "The project", needed=False) or "*"
    release = form.choice("release", "What leaves", granting.RELEASES)
    until = form.day("until", "The last day")
    reason = form.note("reason", "The reason")
    identity, name = _person(visit, person)
    if until is not None and until <= visit.now:
        form.problems["until"] = "The last day is over"
    if form.problems:
        return show_new(visit, 400)
    grant = granting.make_grant(
        analyst=identity,
        now=visit.now,
        pod=pod,
        tables=tables,
        purpose=purpose,
        project=project,
        release=release,  # type: ignore[arg-type]  # chosen from the list
        until=until,
    )
    given = visit.orders.grant(
        visit.officer, grant, name=name, review=form.has("review"), reason=reason
    )
    if given.grant_id:
        return visit.go(f"grants/{given.grant_id}", "The grant is in force.")
    return visit.go(
        f"requests/{given.request}", "You approved this first. Another person must approve it too."
    )


def revoke(visit: Visit) -> Response:
    """End a grant; it holds from the next request on."""
    found = visit.orders.revoke(visit.officer, str(visit.ask.args["grant"]))
    return visit.go("grants", f"Grant {found.grant.grant_id} of {found.name} was revoked.")


def _person(visit: Visit, chosen: str) -> tuple[bytes, str]:
    """Key and name of somebody whom the store or the manifest knows."""
    for one in people.people(visit.database):
        if one.identity.hex() == chosen:
            return one.identity, one.name
    for card in visit.tenant.members():
        if card.identity.hex() == chosen:
            return card.identity, card.name
    visit.form.problems.setdefault("person", "The person: choose one of the list")
    return b"", ""


def _words(one: Granted) -> str:
    grant = one.grant
    words = (one.name, grant.grant_id, grant.pod, *grant.tables, grant.purpose, grant.project)
    return " ".join((*words, grant.release)).lower()
