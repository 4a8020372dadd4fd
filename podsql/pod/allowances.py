"""``SHOW BUDGET`` at a pod: what is left to one analyst of its budgets and quotas.

Rule to keep: only what this analyst's own statements draw on is told, to who holds an offer; the
ledger is read and nothing else, and nothing is taken.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from typing import Literal

from podsql.errors import Error, error
from podsql.messages import Allowance, BudgetReply, BudgetRequest, encode
from podsql.pod.holding import Holding
from podsql.pod.offers import OfferBook
from podsql.pod.refusing import refuse
from podsql.pod.releasing import Asker, Releasing
from podsql.policy.document import Dp, Policy
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.person import Person
from podsql.relay.sockets.endpoint import Request

log = logging.getLogger("podsql.pod")


class Allowances:
    """Answers on a gatekeeper's thread, as the ledger waits for the disk."""

    def __init__(self, *, offers: OfferBook, releasing: Releasing, gatekeepers: Executor) -> None:
        self._offers = offers
        self._releasing = releasing
        self._gatekeepers = gatekeepers

    def serve(self, request: Request, ask: BudgetRequest, person: Person, holding: Holding) -> None:
        """Answer ``ask``; STALE_OFFER if its author holds another offer by now."""
        now = time.time_ns() // 1_000_000
        if self._offers.current(person, ask.purpose, ask.project, now) != ask.offer:
            raise error("STALE_OFFER", "the pod offers something else by now")
        if not self._offers.releases(person, ask.purpose, ask.project, now):
            request.reply(encode(BudgetReply(policy="", allowances=())))
            return
        policy = holding.gate.policy
        asker = Asker(person=person, purpose=ask.purpose, project=ask.project)

        def work() -> None:
            try:
                found = tuple(allowances(self._releasing, policy, asker, now))
                request.reply(encode(BudgetReply(policy=policy.name, allowances=found)))
            except Error as fault:
                refuse(request, fault)
            except Exception:
                log.exception("what is left of the budgets cannot be told")
                refuse(request, error("INTERNAL", "the budgets cannot be read"))

        self._gatekeepers.submit(work)


def allowances(releasing: Releasing, policy: Policy, asker: Asker, now: int) -> Iterator[Allowance]:
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
