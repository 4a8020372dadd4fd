"""Requests for access: what waits, what each would change, and the answer to it."""

from typing import Final

from starlette.responses import Response

from podsql.policy.service import asking, granting, people, settings
from podsql.policy.service.page.comparing import compare, doubts
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import pods

STATES: Final = {
    "open": "waiting",
    "approved": "approved",
    "refused": "refused",
    "withdrawn": "withdrawn",
    "": "all",
}


def show_all(visit: Visit) -> Response:
    """The list; those that wait first."""
    state = visit.ask.query.get("state", "open")
    state = state if state in STATES else "open"
    found = asking.requests(visit.database, state=state or None)  # type: ignore[arg-type]
    return visit.page("requests.html", requests=found, state=state, states=STATES)


def show(visit: Visit, problem: str = "") -> Response:
    """One request beside what the person has."""
    database, now = visit.database, visit.now
    asked = asking.one_request(database, _number(visit))
    person = people.person(database, asked.wish.analyst)
    grants = granting.grants_to(database, asked.wish.analyst)
    required = settings.switched(database, "projects_required")
    return visit.page(
        "request.html",
        400 if problem else 200,
        asked=asked,
        person=person,
        lines=compare(asked, grants, pods(database), now),
        doubts=doubts(asked, person, people.projects(database), now, required),
        two_person=settings.switched(database, "two_person"),
        own=visit.officer.identity == asked.wish.analyst,
        problem=problem,
    )


def approve(visit: Visit) -> Response:
    """Give what was asked, or be the first of two."""
    number = _number(visit)
    text = visit.form.note("note", "The note")
    if visit.form.problems:
        return show(visit, "approve")
    given = visit.orders.approve(visit.officer, number, note_text=text)
    if given.grant_id:
        return visit.go("requests", f"Request {number} was approved: grant {given.grant_id} is in force.")  # fmt: skip
    return visit.go("requests", f"You approved request {number}. Another person must approve it too.")  # fmt: skip


def refuse(visit: Visit) -> Response:
    """Refuse, and say why."""
    number = _number(visit)
    text = visit.form.note("note", "The note", needed=True)
    if visit.form.problems:
        visit.form.problems["note"] = "Say why it is refused: the person who asked reads this"
        return show(visit, "refuse")
    visit.orders.refuse(visit.officer, number, note_text=text)
    return visit.go("requests", f"Request {number} was refused.")


def _number(visit: Visit) -> int:
    return min(int(visit.ask.args["number"]), (1 << 63) - 1)
