"""The first page: what waits for the officer, how the pods are, what ends soon."""

from starlette.responses import Response

from podsql.policy.service import asking, granting, history, people, reviews, settings
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import Reported, pods

SOON_MS = 30 * 86_400_000


def state_of(pod: Reported, frozen: dict[str, str], now: int) -> str:
    """A word for how a pod is."""
    if not {"*", pod.name}.isdisjoint(frozen):
        return "frozen"
    if not pod.online(now):
        return "silent"
    return "paused" if pod.report.paused else "online"


def show(visit: Visit) -> Response:
    """What matters now."""
    database, now = visit.database, visit.now
    frozen = settings.frozen(database)
    mine = visit.officer
    asked = [
        one
        for one in asking.requests(database, state="open")
        if one.first_by != mine.name and one.wish.analyst != mine.identity
    ]
    held = [
        one
        for one in reviews.reviews(database, state="waiting")
        if one.first_by != mine.name and one.analyst != mine.identity
    ]
    found = pods(database)
    live = [one for one in granting.all_grants(database) if one.in_force(now)]
    return visit.page(
        "overview.html",
        asked=asked,
        held=held,
        pods=[(one, state_of(one, frozen, now)) for one in found],
        grants=len(live),
        ending=[one for one in live if one.grant.until - now < SOON_MS],
        training=[
            one
            for one in people.people(database)
            if one.ended is None
            and one.trained_until is not None
            and one.trained_until - now < SOON_MS
        ],
        projects=[
            one
            for one in people.projects(database)
            if one.closed is None and one.ends - now < SOON_MS
        ],
        changes=history.changes(database, limit=6),
        budgets=[
            (one.name, line)
            for one in found
            for line in one.report.budgets
            if line.budget and line.spent >= 0.8 * line.budget
        ],
    )
