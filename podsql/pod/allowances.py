"""``SHOW BUDGET`` at a pod: what is left to one analyst of its budgets and quotas.

Rule to keep: only what this analyst's own statements draw on is told, to whom something is offered;
the ledger is read and nothing else, and nothing is taken.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from podsql.messages import Allowance, BudgetReply
from podsql.pod.releasing import Asker, Releasing
from podsql.policy.document import Dp, Policy
from podsql.policy.ledger.cost import epsilon_of


def budgets_left(
    releasing: Releasing, policy: Policy | None, asker: Asker, now: int
) -> BudgetReply:
    """What is left under ``policy``; None: nothing is offered, so nothing is told."""
    if policy is None:
        return BudgetReply(policy="", allowances=())
    return BudgetReply(policy=policy.name, allowances=tuple(_all(releasing, policy, asker, now)))


def _all(releasing: Releasing, policy: Policy, asker: Asker, now: int) -> Iterator[Allowance]:
    """Every limit of ``policy`` that ``asker`` draws on, and what is left of it."""
    dp = policy.dp
    if dp is not None:
        for scope, epsilon, cost in releasing.drawn(policy, asker, now):
            spent = epsilon_of(cost, dp.delta)
            yield Allowance(
                what="epsilon",
                per="everybody" if "/everybody" in scope else _sharing(policy, dp),
                period="ever" if dp.period == "forever" else dp.period,
                total=epsilon,
                spent=spent,
                left=max(0.0, epsilon - spent),
                delta=dp.delta,
            )
    counted = releasing.counted(policy, asker, now)
    shared = "analyst" if "*" in policy.projects else "project"
    if policy.limits.queries_per_day is not None:
        yield _number("statements", "analyst", "day", policy.limits.queries_per_day, counted)
    caps = policy.output.caps
    if caps is not None:
        yield _number("figures", shared, "day", caps.per_day, counted)
        yield _number("figures", shared, "ever", caps.total, counted)
    if any("intersect" in uses for uses in _uses(policy)):
        yield _number("keys", shared, "day", policy.intersect.candidates_per_day, counted)


def _sharing(policy: Policy, dp: Dp) -> str:
    """What parts the budgets. A purpose or project that anybody may make up parts nothing."""
    free = {"purpose": "*" in policy.purposes, "project": "*" in policy.projects}
    return ", ".join(part for part in sorted(dp.per) if not free.get(part)) or "everybody"


def _uses(policy: Policy) -> Iterator[tuple[str, ...]]:
    for clause in policy.tables.values():
        yield policy.allow if clause.allow is None else clause.allow


def _number(
    what: Literal["statements", "figures", "keys"],
    per: str,
    period: Literal["day", "ever"],
    total: int,
    counted: Mapping[str, tuple[int, int]],
) -> Allowance:
    today, ever = counted[what]
    spent = today if period == "day" else ever
    return Allowance(
        what=what, per=per, period=period, total=total, spent=spent, left=max(0, total - spent)
    )
