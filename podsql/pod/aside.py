"""Work of a ticket that waits for a disk or a long check: aside, on a gatekeeper's thread.

Rule to keep: whatever happens there comes back to the I/O thread as one step of the ticket, or ends it.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from podsql.errors import Error, error
from podsql.pod.requests import Ticket
from podsql.relay.sockets.endpoint import Endpoint

log = logging.getLogger("podsql.pod")

T = TypeVar("T")


class Aside:
    """``guarded`` runs a step of a ticket, ``fail`` ends one: both on the I/O thread."""

    def __init__(
        self,
        gatekeepers: Executor,
        *,
        endpoint: Endpoint,
        guarded: Callable[[Ticket, Callable[[], None]], None],
        fail: Callable[[Ticket, Error], None],
    ) -> None:
        self._gatekeepers = gatekeepers
        self._endpoint = endpoint
        self._guarded = guarded
        self._fail = fail

    def on(self, workers: Executor) -> "Aside":
        """The same on other threads."""
        return Aside(workers, endpoint=self._endpoint, guarded=self._guarded, fail=self._fail)

    def post(self, step: Callable[[], None]) -> None:
        """Run ``step`` on the I/O thread, whatever became of a ticket."""
        self._endpoint.post(step)

    def run(self, ticket: Ticket, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Run ``work`` aside and go on with what it gives."""
        self.apart(
            work,
            lambda found: self._continue(ticket, then, found),
            lambda fault: self._fail(ticket, fault),
        )

    def apart(
        self, work: Callable[[], T], then: Callable[[T], None], fail: Callable[[Error], None]
    ) -> None:
        """The same for work that is of no ticket, or of one that has ended."""

        def attempt() -> None:
            try:
                found = work()
            except Error as fault:
                failure = fault
                self._endpoint.post(lambda: fail(failure))
            except Exception:
                log.exception("a release failed")
                self._endpoint.post(lambda: fail(error("POD_FAILED", "the pod failed")))
            else:
                self._endpoint.post(lambda: then(found))

        self._gatekeepers.submit(attempt)

    def _continue(self, ticket: Ticket, then: Callable[[T], None], found: T) -> None:
        if not ticket.over:
            self._guarded(ticket, lambda: then(found))
