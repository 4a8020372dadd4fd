"""Pods and their datasets as they last reported themselves, and what their budgets stand at."""

import math

from starlette.responses import Response

from podsql.errors import error
from podsql.policy.service import settings
from podsql.policy.service.page.overview import state_of
from podsql.policy.service.page.visits import Visit
from podsql.policy.service.pods import pods
from podsql.service_messages import BudgetLine


def show_all(visit: Visit) -> Response:
    """Every pod that ever reported."""
    frozen = settings.frozen(visit.database)
    found = pods(visit.database)
    known = {one.name for one in found}
    silent = [
        card.name
        for card in visit.tenant.members()
        if card.role == "pod" and card.name not in known
    ]
    return visit.page(
        "pods.html",
        pods=[(one, state_of(one, frozen, visit.now)) for one in found],
        silent=silent,
    )


def show(visit: Visit) -> Response:
    """One pod."""
    name = str(visit.ask.args["pod"])
    one = next((each for each in pods(visit.database) if each.name == name), None)
    if one is None:
        raise error("ARGUMENT", "no such pod has reported")
    frozen = settings.frozen(visit.database)
    return visit.page("pod.html", one=one, state=state_of(one, frozen, visit.now), words=words)


def show_budgets(visit: Visit) -> Response:
    """Every privacy budget that a pod keeps."""
    found = [(one, line) for one in pods(visit.database) for line in one.report.budgets]
    return visit.page("budgets.html", budgets=found, words=words)


def words(line: BudgetLine) -> str:
    """What has been spent, as it may be told to the people in the data."""
    factor = math.exp(min(line.spent, 50.0))
    shown = f"{factor:.2f}" if factor < 100 else f"{factor:.3g}"
    left = max(0.0, line.budget - line.spent)
    answers = "answer" if line.charges == 1 else "answers"
    return (
        f"After {line.charges} {answers} with noise, whether any one person is in the data changes the"
        f" odds of what was told by at most a factor of {shown} (but for a very small chance, delta)."
        f" Epsilon {line.spent:.4g} of {line.budget:.4g} is spent, {left:.4g} is left."
    )
