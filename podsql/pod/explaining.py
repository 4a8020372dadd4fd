"""``EXPLAIN POLICY`` at a pod: what its policy would say of a statement, by which rule, at what price.
``SHOW BUDGET`` comes here too: both ask what holds, and neither runs anything.

Rule to keep: nothing is read but the policy, the schema and the ledger, and nothing is taken from
a budget. The rule behind a denial is told here, because no row had a part in it.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

import msgspec

from podsql.errors import Error, error
from podsql.message import Message
from podsql.messages import BudgetRequest, PolicyAsk, PolicyReply, encode
from podsql.planner.fragment import decode_fragment
from podsql.pod.allowances import budgets_left
from podsql.pod.holding import Holding
from podsql.pod.offers import OfferBook
from podsql.pod.refusing import refuse
from podsql.pod.releasing import Asker, Releasing
from podsql.policy.audit import Audit, Entry
from podsql.policy.denial import Denial
from podsql.policy.document import Release
from podsql.policy.person import Person
from podsql.policy.rights import strictest
from podsql.relay.sockets.endpoint import Request

log = logging.getLogger("podsql.pod")


class Explainer:
    """Takes questions on the I/O thread, answers them on a gatekeeper's."""

    def __init__(
        self, *, offers: OfferBook, releasing: Releasing, audit: Audit, gatekeepers: Executor
    ) -> None:
        self._offers = offers
        self._releasing = releasing
        self._audit = audit
        self._gatekeepers = gatekeepers

    def serve(
        self,
        request: Request,
        ask: PolicyAsk | BudgetRequest,
        person: Person,
        holding: Holding,
    ) -> None:
        """Answer ``ask``; STALE_OFFER if its author holds another offer by now."""
        now = time.time_ns() // 1_000_000
        if self._offers.current(person, ask.purpose, ask.project, now) != ask.offer:
            raise error("STALE_OFFER", "the pod offers something else by now")
        offered = self._offers.releases(person, ask.purpose, ask.project, now)
        if isinstance(ask, BudgetRequest):
            asker = Asker(person=person, purpose=ask.purpose, project=ask.project)
            policy = holding.gate.policy if offered else None
            self._answer(request, lambda: budgets_left(self._releasing, policy, asker, now))
            return
        granted = [offered[name.lower()] for name in ask.tables if name.lower() in offered]
        release = strictest("rows", *granted)
        self._answer(request, lambda: self._judge(ask, person, holding, release, now))

    def _answer(self, request: Request, find: Callable[[], Message]) -> None:
        def work() -> None:
            try:
                request.reply(encode(find()))
            except Error as fault:
                refuse(request, fault)
            except Exception:
                log.exception("a question about the policy failed")
                refuse(request, error("INTERNAL", "a question about the policy failed"))

        self._gatekeepers.submit(work)

    def _judge(
        self, ask: PolicyAsk, person: Person, holding: Holding, release: Release, now: int
    ) -> PolicyReply:
        gate = holding.gate
        asker = Asker(person=person, purpose=ask.purpose, project=ask.project)
        try:
            verdict = gate.check(
                decode_fragment(ask.fragment),
                person=person,
                purpose=ask.purpose,
                project=ask.project,
                now=self._releasing.now(now),
                release=release,
                granted=ask.tables,
            )
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise error("BAD_MESSAGE", "the fragment does not decode") from None
        except Denial as denial:
            self._note(ask, person, holding, now, denial.reason)
            return PolicyReply(
                allow=False,
                rule=denial.reason,
                policy=gate.policy.name,
                policy_hash=gate.policy_hash,
            )
        found = self._releasing.prospect(verdict, gate.policy, asker, holding.data_version, now)
        self._note(ask, person, holding, now, "")
        order, series = verdict.noise, verdict.series
        return PolicyReply(
            allow=True,
            rule="",
            policy=gate.policy.name,
            policy_hash=gate.policy_hash,
            release=verdict.release,
            answer=verdict.answer,
            min_units=verdict.min_units,
            epsilon=found.epsilon,
            epsilon_left=found.epsilon_left,
            fits=found.fits,
            noise=() if order is None else order.errors,
            statements_left=found.statements_left,
            figures_left=found.figures_left,
            ranges=() if series is None else series.ranges,
            promise=None if series is None else series.promise,
        )

    def _note(
        self, ask: PolicyAsk, person: Person, holding: Holding, now: int, reason: str
    ) -> None:
        self._audit.append(
            Entry(
                time=now,
                event="explain",
                decision="deny" if reason else "allow",
                reason=reason,
                analyst=person.name,
                fingerprint=person.fingerprint,
                statement=ask.statement,
                purpose=ask.purpose,
                project=ask.project,
                tables=ask.tables,
                data_version=holding.data_version,
                policy_hash=holding.gate.policy_hash,
            )
        )
