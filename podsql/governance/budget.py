"""Row 12: the privacy budget in plain words."""

import math

import msgspec

from podsql.governance.facts import Budget, Facts
from podsql.governance.pages import Grid, Items, Page, Text
from podsql.times import iso


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """One budget."""

    scope: str
    epsilon: float
    cap: float | None
    releases: int
    resets: tuple[str, ...]
    in_words: str


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What noisy answers cost so far, and what that promises."""

    pod: str
    at: str
    policy: str
    delta: float | None
    per_query: float | None
    period: str
    noise: bool
    promise: str
    budgets: tuple[Spent, ...]


def budget_statement(facts: Facts) -> Statement:
    """The statement; without ``[dp]`` it says that no such promise is made."""
    rules = facts.policy.dp
    return Statement(
        pod=facts.pod,
        at=iso(facts.now),
        policy=facts.policy.name,
        delta=None if rules is None else rules.delta,
        per_query=None if rules is None else rules.epsilon_per_query,
        period="" if rules is None else rules.period,
        noise=rules is not None,
        promise=_promise(facts),
        budgets=tuple(_spent(one) for one in facts.budgets),
    )


def _promise(facts: Facts) -> str:
    rules = facts.policy.dp
    if rules is None:
        return (
            "The policy offers no noise, so it makes no promise about odds: figures leave under"
            " thresholds and rounding, which many questions together can defeat."
        )
    ever = "for ever" if rules.period == "forever" else f"anew every {rules.period}"
    exact = {facts.policy.release, *(t.release for t in facts.policy.tables.values())} - {
        "dp",
        None,
    }
    beside = " Exact figures leave beside them, which no budget covers." if exact else ""
    return (
        f"Any one person's presence in the data changes the odds of all noisy results drawn from one"
        f" budget together by at most a factor of e^{rules.epsilon_budget:g} ="
        f" {math.exp(min(rules.epsilon_budget, 700)):.3g}, apart from a chance of {rules.delta:g}."
        f" A budget holds {ever}; when it is used up, the pod refuses.{beside}"
    )


def _spent(one: Budget) -> Spent:
    cap = None if one.cap is None or math.isinf(one.cap) else one.cap
    odds = math.exp(min(one.epsilon, 700))
    of = "without a limit" if cap is None else f"of {cap:g}"
    left = "" if cap is None else f"; {max(0.0, cap - one.epsilon):.3g} is left"
    return Spent(
        scope=one.scope,
        epsilon=one.epsilon,
        cap=cap,
        releases=one.releases,
        resets=tuple(f"{iso(time)}: {reason}" for time, reason in one.resets),
        in_words=(
            f"{one.releases} release{'' if one.releases == 1 else 's'} spent epsilon {one.epsilon:.3g} {of}{left}: one person's presence"
            f" changed the odds of what was released by at most a factor of {odds:.3g}"
        ),
    )


def page(found: Statement) -> Page:
    """For people."""
    rows = tuple(
        (
            one.scope,
            f"{one.epsilon:.3g}",
            "none" if one.cap is None else f"{one.cap:g}",
            str(one.releases),
            one.in_words,
        )
        for one in found.budgets
    )
    resets = tuple(
        f"{one.scope} began again, {reset}" for one in found.budgets for reset in one.resets
    )
    return Page(
        f"Privacy budget of pod {found.pod}",
        (
            Text(f"As of {found.at}, policy {found.policy!r}. {found.promise}"),
            Grid(
                ("budget", "spent", "limit", "releases", "in words"), rows, none="nothing was spent"
            ),
            Text(
                "Budgets that the custodian started again, with the reason that stays in the ledger:"
            ),
            Items(resets, none="none was ever started again"),
        ),
    )
