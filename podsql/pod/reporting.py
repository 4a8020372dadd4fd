"""What a pod tells its policy services of itself: at the start, when something changes, every 30 s.

Names, types, rules and totals; no value, no number of rows, no statement. Rule to keep: a report
decides nothing, and a service that does not take it changes nothing.
"""

import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final

from podsql.errors import Error
from podsql.messages import decode, encode
from podsql.pod.consulting import Services
from podsql.pod.holding import Holding
from podsql.pod.obeying import Obeying
from podsql.pod.receipts import keep_receipt
from podsql.pod.spending import Spent
from podsql.policy.plain_words import plain_words
from podsql.relay.cards import Card
from podsql.relay.sockets.endpoint import Endpoint
from podsql.service_messages import BudgetLine, PodReport, PodStanding

log = logging.getLogger("podsql.pod")

EVERY_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 10.0


def report_of(
    holding: Holding,
    *,
    stopped: bool,
    spent: Sequence[Spent],
    tip: tuple[int, str],
    now: int,
) -> PodReport:
    """What a service is told. ``tip``: number of audit lines and hash of the last."""
    gate = holding.gate
    return PodReport(
        time=now,
        version=importlib.metadata.version("podsql"),
        paused=stopped,
        policy=gate.policy.name,
        policy_hash=gate.policy_hash,
        policy_words=plain_words(gate.policy),
        data_version=holding.data_version,
        tables=gate.table_cards(),
        budgets=tuple(
            BudgetLine(scope=one.scope, spent=one.epsilon, budget=one.budget, charges=one.charges)
            for one in spent
        ),
        audit_count=tip[0],
        audit_head=tip[1],
    )


class Reporting:
    """Makes reports on a gatekeeper's thread (``make`` reads the ledger), sends them on the I/O one."""

    def __init__(
        self,
        services: Services,
        obeying: Obeying,
        *,
        endpoint: Endpoint,
        workers: Executor,
        make: Callable[[], PodReport],
        pod: bytes,
        receipts: Path,
    ) -> None:
        self._services = services
        self._obeying = obeying
        self._endpoint = endpoint
        self._workers = workers
        self._make = make
        self._pod = pod
        self._receipts = receipts
        self._making = False
        self._again = False

    def begin(self) -> None:
        """Report now and every 30 seconds from now on (I/O thread)."""
        self.tell()
        self._endpoint.later(EVERY_SECONDS, self.begin)

    def tell(self) -> None:
        """Something changed: report now (I/O thread)."""
        if self._making:
            self._again = True  # the one that is being made may not show it
            return
        if self._services:
            self._making, self._again = True, False
            self._workers.submit(self._made)

    def _made(self) -> None:
        try:
            report = self._make()
        except Error as fault:
            log.error("no report to the policy services: %s", fault.message)
            self._endpoint.post(self._send)
        else:
            self._endpoint.post(partial(self._send, report))

    def _send(self, report: PodReport | None = None) -> None:
        self._making = False
        if self._again:
            self.tell()
            return
        for card in self._services.cards():
            if card is not None and report is not None:
                self._endpoint.call(
                    card,
                    encode(report),
                    timeout=ANSWER_SECONDS,
                    on_reply=partial(self._answered, card),
                )

    def _answered(self, service: Card, reply: bytes | Error) -> None:
        try:
            if isinstance(reply, Error):
                raise reply
            message = decode(reply)
            if not isinstance(message, PodStanding):
                log.info("policy service %s did not take a report", service.name)
                return
            if message.receipt is not None:
                keep = partial(
                    keep_receipt,
                    self._receipts,
                    message.receipt,
                    service=service.identity,
                    mark=service.fingerprint,
                    pod=self._pod,
                )
                self._workers.submit(_logged, keep)
            self._obeying.take(service, message.revocations)
        except Error as fault:
            log.info("policy service %s: %s", service.name, fault.code)


def _logged(work: Callable[[], None]) -> None:
    try:
        work()
    except Error as fault:
        log.warning("a receipt was not kept: %s", fault.message)
    except OSError as fault:
        log.warning("a receipt was not kept: %s", fault.strerror)
