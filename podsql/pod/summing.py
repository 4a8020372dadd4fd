"""Secure sums that a pod takes part in: with whom, how many jobs at once, and until when.

Whom it sums with are the pods of the federation's manifest, or those of them that ``pod.toml`` names.
Rule to keep: a job belongs to the analyst who began it, and its keys live in this process alone; it
ends with its analyst's rights, with a freeze, and when nothing is heard of it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from podsql.engine.sums.job import Terms, read_job
from podsql.engine.sums.pod import SumPod
from podsql.errors import Error, error
from podsql.pod.aside import Aside
from podsql.pod.cohorts import Claim, Cohort
from podsql.pod.config import SumsSection
from podsql.pod.one_sum import Brought, Leave, OneSum, figures_of
from podsql.pod.one_total import BroughtGroups, OneTotal
from podsql.pod.requests import Ticket
from podsql.pod.total_groups import TotalGroups
from podsql.policy.denial import Denial
from podsql.relay.keys import PeerKeys
from podsql.relay.sockets.endpoint import Endpoint, Request
from podsql.sum_messages import (
    SumKeys,
    SumRound,
    SumShares,
    SumStart,
    SumSurvivors,
    SumTotals,
    SumUnmask,
)

SumMessage = SumStart | SumKeys | SumRound | SumShares | SumSurvivors | SumUnmask | SumTotals
"""What the coordinator of a sum asks a pod."""
JOBS_PER_ANALYST: Final = 16
"""The job of which nothing was heard longest makes room for another."""
IDLE_SECONDS: Final = 900.0


class Summing:
    """The jobs of one pod, by analyst and job."""

    def __init__(
        self, aside: Aside, *, name: str, keys: PeerKeys, endpoint: Endpoint, terms: SumsSection
    ) -> None:
        self._name = name
        self._keys = keys
        self._endpoint = endpoint
        self._terms = terms
        self._aside = aside
        self._jobs: OrderedDict[tuple[bytes, bytes], OneSum | OneTotal] = OrderedDict()

    def serve(self, request: Request, message: SumMessage) -> None:
        """A message of the analyst who leads a job."""
        analyst = request.peer.identity
        if isinstance(message, SumStart):
            found = self._begin(analyst, message.job)
        else:
            found = self._find(analyst, message.job)
        if isinstance(found, OneTotal):
            found.serve(request, message)
        elif isinstance(message, SumTotals):
            raise error("BAD_MESSAGE", "a sum is not judged on its total")
        else:
            found.serve(request, message)
        found.touched = time.monotonic()
        self._jobs.move_to_end((analyst, found.job.digest))

    def expect(self, ticket: Ticket) -> None:
        """Refuse a masked request for which there is no sum, or another one; and a bare one, where the
        custodian wants masks."""
        verdict = ticket.verdict
        assert verdict is not None
        if verdict.merged is not None and ticket.reviewers:
            raise Denial("MERGED_REVIEW")
        if verdict.merged is not None and self._terms.least is not None:
            raise error(
                "DENIED", "[sums] least does not go with thresholds on the total of all pods"
            )
        if verdict.masked:
            self._of(ticket)[0].expect(ticket)
        elif verdict.model is not None and self._terms.required:
            raise error(
                "DENIED",
                "the pod lets models be trained under masks only",
                hint="WITH (secure_aggregation = true)",
            )

    def cohort(self, ticket: Ticket) -> Cohort:
        """The pods whose figures are added to what ``ticket`` brings."""
        return self._of(ticket)[0].cohort

    def bring(
        self,
        ticket: Ticket,
        arrow: bytes,
        groups: TotalGroups | None,
        *,
        withheld: int,
        claim: Claim,
        leave: Leave,
        fail: Callable[[Error], None],
    ) -> None:
        """What ``ticket`` may show goes into its sum; ends in one of the two calls. ``groups``: of one
        that is judged on the total of all pods."""
        if groups is not None:
            self._bring_groups(BroughtGroups(ticket=ticket, groups=groups, leave=leave, fail=fail))
            return
        found, number = self._of(ticket)
        assert isinstance(found, OneSum)
        limit = found.job.limit
        figures = figures_of(number, ticket, arrow, withheld=withheld, limit=limit)
        left = max(0.0, ticket.deadline - time.monotonic())
        self._endpoint.later(left, partial(found.late, ticket))
        found.bring(Brought(ticket=ticket, figures=figures, claim=claim, leave=leave, fail=fail))

    def end(self, ticket: Ticket, fault: Error) -> None:
        """The ticket is over and brought nothing."""
        place = self._place(ticket)
        if place is not None:
            found, number = place
            found.end(number, fault)

    def drop(self, analyst: bytes | None) -> None:
        """End the jobs that ``analyst`` leads or has led by a modeller, or (None) of everybody."""
        for (identity, digest), found in list(self._jobs.items()):
            if analyst in (None, identity, found.person):
                self._close((identity, digest))

    def sweep(self) -> None:
        """End jobs of which nothing is heard any more."""
        last = time.monotonic() - IDLE_SECONDS
        for key in [key for key, found in self._jobs.items() if found.touched < last]:
            self._close(key)

    def _bring_groups(self, brought: BroughtGroups) -> None:
        """Of statements that are compared with each other one is under way:
        a new one ends the others."""
        ticket = brought.ticket
        found, _ = self._of(ticket)
        assert isinstance(found, OneTotal)
        restart = error("SUM_RESTART", "another statement of this project began", hint="ask again")
        for other in list(self._jobs.values()):
            if isinstance(other, OneTotal) and other.scope == brought.groups.scope:
                other.close(restart)
        left = max(0.0, ticket.deadline - time.monotonic())
        self._endpoint.later(left, partial(found.late, ticket))
        found.bring(brought)

    def _begin(self, analyst: bytes, body: bytes) -> OneSum | OneTotal:
        job = read_job(body)
        key = analyst, job.digest
        found = self._jobs.get(key)
        if found is not None:
            return found
        terms = Terms(
            roster=self._roster(),
            # It signs no list in which a pod is missing: a sum is over all pods of its job.
            least=max(self._terms.least or 0, len(job.members)),
            colluders=self._terms.colluders,
            apart=self._terms.least is not None,
        )
        core = SumPod(name=self._name, seed=self._keys.identity, terms=terms)
        own = [known for known in self._jobs if known[0] == analyst]
        for old in own[: len(own) + 1 - JOBS_PER_ANALYST]:
            self._close(old)
        own_key = self._keys.identity_public
        found = (
            OneTotal(core, job, own_key) if job.units else OneSum(core, job, own_key, self._aside)
        )
        self._jobs[key] = found
        found.touched = time.monotonic()
        return found

    def _roster(self) -> dict[str, bytes]:
        manifest = self._endpoint.store.current
        cards = manifest.members() if manifest is not None else ()
        peers = self._terms.peers
        return {
            card.name: card.identity
            for card in cards
            if card.role == "pod" and (peers is None or card.name in (*peers, self._name))
        }

    def _find(self, analyst: bytes, digest: bytes) -> OneSum | OneTotal:
        found = self._jobs.get((analyst, digest))
        if found is None:
            raise error(
                "SUM_RESTART",
                "the pod knows no such sum: it was begun elsewhere, is too old or was ended",
                hint="begin another one",
            )
        return found

    def _of(self, ticket: Ticket) -> tuple[OneSum | OneTotal, int]:
        place = self._place(ticket)
        if place is None:
            raise error("REPLAY", "a request is for no round of a sum that is under way here")
        return place

    def _place(self, ticket: Ticket) -> tuple[OneSum | OneTotal, int] | None:
        for (analyst, _), found in self._jobs.items():
            if analyst == ticket.peer.identity:
                number = found.place(ticket)
                if number is not None:
                    return found, number
        return None

    def _close(self, key: tuple[bytes, bytes]) -> None:
        fault = error("SUM_RESTART", "the pod has ended this sum", hint="begin another one")
        self._jobs.pop(key).close(fault)
