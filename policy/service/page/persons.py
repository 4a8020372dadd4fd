"""People: who they are, until when they are trained, what they hold; off-boarding in one action."""

from starlette.responses import Response

from podsql.errors import error
from podsql.policy.service import asking, granting, people
from podsql.policy.service.page.grants import state_of
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.people import Registered
from podsql.relay.keys import fingerprint, fingerprint_key

SOON_MS = 30 * 86_400_000


def standing(one: Registered, now: int) -> str:
    """A word for how a person stands."""
    if one.ended is not None:
        return "off-boarded"
    if one.trained_until is None:
        return "active"
    if one.trained_until <= now:
        return "training expired"
    return "training expires soon" if one.trained_until - now < SOON_MS else "active"


def show_all(visit: Visit) -> Response:
    """Everybody whom the store or the manifest knows."""
    text = visit.ask.query.get("q", "")[:200].strip()
    live: dict[bytes, int] = {}
    for each in granting.all_grants(visit.database):
        if each.in_force(visit.now):
            live[each.grant.analyst] = live.get(each.grant.analyst, 0) + 1
    found = [
        one
        for one in _everybody(visit).values()
        if text.lower() in f"{one.name} {one.organisation} {one.contact}".lower()
    ]
    return visit.page(
        "people.html",
        people=sorted(found, key=lambda one: (one.ended is not None, one.name)),
        live=live,
        standing=standing,
        q=text,
    )


def show(visit: Visit, status: int = 200) -> Response:
    """One person."""
    one = _person(visit)
    database = visit.database
    grants = [g for g in granting.all_grants(database) if g.grant.analyst == one.identity]
    return visit.page(
        "person.html",
        status,
        one=one,
        known=people.person(database, one.identity) is not None,
        standing=standing(one, visit.now),
        grants=grants,
        state_of=state_of,
        live=sum(each.in_force(visit.now) for each in grants),
        requests=asking.requests(database, analyst=one.identity),
    )


def describe(visit: Visit) -> Response:
    """Write what is known of a person."""
    one, form = _person(visit), visit.form
    organisation = form.text("organisation", "The organisation", needed=False)
    contact = form.text("contact", "The contact", needed=False)
    trained = form.day("trained", "Trained until")
    if form.problems:
        return show(visit, 400)
    visit.orders.describe(
        visit.officer,
        one.identity,
        name=one.name,
        organisation=organisation,
        contact=contact,
        trained_until=trained,
    )
    return visit.go(f"people/{fingerprint(one.identity)}", "The entry was written.")


def off_board(visit: Visit) -> Response:
    """End a person with everything given to them."""
    one = _person(visit)
    ended = visit.orders.off_board(visit.officer, one.identity)
    return visit.go("people", f"{one.name} was off-boarded: {ended} grants ended, and no request of theirs is answered any more.")  # fmt: skip


def _person(visit: Visit) -> Registered:
    identity = fingerprint_key(str(visit.ask.args["person"]))
    found = _everybody(visit).get(identity)
    if found is None:
        raise error("ARGUMENT", "no such person is known here")
    return found


def _everybody(visit: Visit) -> dict[bytes, Registered]:
    found = {one.identity: one for one in people.people(visit.database)}
    for card in visit.tenant.members():
        if card.role in ("analyst", "modeller"):
            found.setdefault(
                card.identity,
                Registered(
                    identity=card.identity,
                    name=card.name,
                    organisation="",
                    contact="",
                    trained_until=None,
                    ended=None,
                ),
            )
    return found
