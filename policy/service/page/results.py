"""Held results: a second person at the service releases them, by their hash, or refuses."""

from typing import Final

from starlette.responses import Response

from podsql.errors import error
from podsql.policy.service import reviews, settings
from podsql.policy.service.page.visits import Visit

STATES: Final = {"waiting": "waiting", "released": "released", "refused": "refused", "": "all"}


def show_all(visit: Visit) -> Response:
    """The list."""
    state = visit.ask.query.get("state", "waiting")
    state = state if state in STATES else "waiting"
    found = reviews.reviews(visit.database, state=state or None)  # type: ignore[arg-type]
    return visit.page("results.html", results=found, state=state, states=STATES)


def show(visit: Visit, status: int = 200) -> Response:
    """One held result: size, hash and circumstances, never what it says."""
    one = _result(visit)
    return visit.page(
        "result.html",
        status,
        one=one,
        two_person=settings.switched(visit.database, "two_person"),
        own=visit.officer.identity == one.analyst,
    )


def release(visit: Visit) -> Response:
    """Let the pod hand it out; the hash that was looked at must be the one that is held."""
    one = _result(visit)
    text = visit.form.note("note", "The note")
    if visit.form.raw("hash") != one.result_hash.hex():
        raise error("CONFLICT", "this is not the result that you looked at", hint="open it again")
    if visit.form.problems:
        return show(visit, 400)
    if visit.orders.release(visit.officer, one.id, note_text=text):
        return visit.go("results", "The result was released: its pod hands it out.")
    return visit.go("results", "You released it. Another person must release it too.")


def withhold(visit: Visit) -> Response:
    """Refuse it, and say why."""
    one = _result(visit)
    text = visit.form.note("note", "The note", needed=True)
    if visit.form.problems:
        visit.form.problems["note"] = "Say why it stays: this goes into the record"
        return show(visit, 400)
    visit.orders.withhold(visit.officer, one.id, note_text=text)
    return visit.go("results", "The result was refused: it never leaves its pod.")


def _result(visit: Visit) -> reviews.Review:
    found = reviews.one_review(visit.database, str(visit.ask.args["result"]))
    if found is None:
        raise error("ARGUMENT", "no such result was held")
    return found
