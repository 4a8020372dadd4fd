"""One turn of a job: from its last round on, in the place of the analyst who ordered it.

Rule to keep: every question to a pod goes with the analyst's order, and a job whose order is over, or
whose analyst is served no more, asks nothing.
"""

import threading
from collections.abc import Callable

from msgspec.structs import replace

from podsql.analyst.behalf import Behalf
from podsql.analyst.federation import Federation
from podsql.analyst.statement import Statement
from podsql.analyst.training.running import resume
from podsql.errors import Error, error
from podsql.job_messages import Delegation
from podsql.membership import Membership
from podsql.modeller.config import Section
from podsql.modeller.orders import Work
from podsql.policy.delegations import read_delegation
from podsql.relay.sockets.endpoint import Endpoint


class Trainer:
    """Any thread. ``clock``: ms since the epoch."""

    def __init__(
        self,
        membership: Membership,
        endpoint: Endpoint,
        config: Section,
        clock: Callable[[], int],
    ) -> None:
        self._membership = membership
        self._endpoint = endpoint
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._statements: dict[int, Statement] = {}
        self._stopped = False

    def train(self, work: Work) -> None:
        """Until the job has ended or must wait; its record says which."""
        try:
            told = self._order(work)
        except Error as fault:
            self.fail(work, f"{fault.code}: {fault.message}")
            raise
        behalf = Behalf(work.order.delegation, told)
        statement = Statement(
            federation=Federation(self._membership, endpoint=self._endpoint, behalf=behalf),
            sql="",
            statement_id=told.job,
        )
        # An earlier turn, before a restart, has asked under ids that a pod answers once.
        statement.renew()
        with self._lock:
            if self._stopped:
                return
            self._statements[id(statement)] = statement
        try:
            resume(work.id, statement, work.bench)
        finally:
            with self._lock:
                del self._statements[id(statement)]

    def fail(self, work: Work, said: str) -> None:
        """The job ends here."""
        now = self._clock()
        if not work.job.over:
            work.bench.jobs.change(
                work.id, lambda old: replace(old, state="failed", error=said, ended=now)
            )

    def stop(self) -> None:
        """End every turn; the jobs wait."""
        with self._lock:
            self._stopped = True
            running = list(self._statements.values())
        for statement in running:
            statement.cancel()

    def _order(self, work: Work) -> Delegation:
        told = read_delegation(
            work.order.delegation,
            modeller=self._membership.keys.identity_public,
            now=self._clock(),
        )
        manifest = self._membership.store.current
        analyst = manifest.by_identity(told.analyst) if manifest is not None else None
        if analyst is None or not self._config.serves(analyst):
            raise error("DENIED", "the modeller does not work for this analyst any more")
        return told
