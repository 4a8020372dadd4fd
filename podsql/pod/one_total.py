"""One pod's part in one statement that all pods judge on their total (``sdc_merged``).

One signed request, three rounds: in the first two the pods bring how many people are behind cells and
differences, which the coordinator opens and brings back without seeing them (``engine/sums/totals.py``); in the
third the figures of what may leave. Methods run on the endpoint's I/O thread. Rule to keep: figures are brought once
all pods remember what leaves, and a check that fails ends the job.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from podsql.engine.sums.job import Job
from podsql.engine.sums.pod import Event, Reply, SumPod
from podsql.engine.sums.pod_round import Input
from podsql.engine.sums.shamir import SEED_BYTES
from podsql.engine.sums.totals import NAME_BYTES, Bar, Common, names_in, note_of
from podsql.errors import Error, error
from podsql.messages import Done, encode, sum_request
from podsql.pod.cohorts import Cohort
from podsql.pod.one_sum import Leave, figures_asked, require_asked, told
from podsql.pod.refusing import refuse
from podsql.pod.requests import Ticket
from podsql.pod.total_groups import TotalGroups, shape_of
from podsql.pod.totalling import ordered
from podsql.relay.sockets.endpoint import Request
from podsql.sum_messages import SumMasked, SumRound, SumShares, SumTotals

FIRST, SECOND, LAST = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BroughtGroups:
    """What a ticket has of its groups, and how it ends."""

    ticket: Ticket
    groups: TotalGroups
    leave: Leave
    fail: Callable[[Error], None]


class OneTotal:
    """``identity``: this pod's key, which its request is made out to."""

    def __init__(self, core: SumPod, job: Job, identity: bytes) -> None:
        self.job = job
        self.touched = 0.0
        """When the analyst last sent something (monotonic)."""
        self.person = b""
        """For whom figures were asked."""
        self._core = core
        self._identity = identity
        self._bar = Bar(units=job.units, colluders=job.colluders)
        self._asked: Request | None = None
        """``SumRound`` of round 1, which waits for the request's figures."""
        self._brought: BroughtGroups | None = None
        self._state = ""
        """What was done last, so that each step comes once and in order."""
        self._over: Error | None = None

    @property
    def scope(self) -> str | None:
        """Whose earlier answers it is compared with, once its request is here."""
        return None if self._brought is None else self._groups.scope

    @property
    def cohort(self) -> Cohort:
        """Whom it sums with."""
        return Cohort(self.job.members, self.job.quorum)

    def serve(self, request: Request, message: Event | SumTotals) -> None:
        """A message of the coordinator; what is refused ends the job, once figures are here."""
        if self._over is not None:
            raise self._over
        try:
            self._serve(request, message)
        except Error as fault:
            if self._brought is not None:
                self.close(fault)
            raise

    def _serve(self, request: Request, message: Event | SumTotals) -> None:
        match message:
            case SumRound(round=number):
                if number == FIRST and self._state == "":
                    self._state = "asked"
                    self._asked = request
                    self._begin()
                    return
                self._step({SECOND: "judged 1", LAST: "judged 2"}.get(number, "-"), "dealt")
                self._deal(request, message)
            case SumShares(round=number):
                self._step("dealt", f"masked {number}")
                self._core.handle(message)
                self._mask(request, number)
            case SumTotals(round=number):
                self._step(f"masked {number}", f"judged {number}")
                self._judge(message)
                request.reply(encode(Done()))
            case _:
                [effect] = self._core.handle(message)
                assert isinstance(effect, Reply)
                request.reply(encode(effect.message))

    def place(self, ticket: Ticket) -> int | None:
        """The request of ``ticket`` is for all rounds, and named after the first."""
        wanted = sum_request(self.job.digest, FIRST, self._identity)
        return FIRST if ticket.head.request_id == wanted else None

    def expect(self, ticket: Ticket) -> None:
        """Refuse a request that is not what this job is about: before anything runs."""
        merged = ticket.allowed.merged
        if merged is None or merged.units > self.job.units:
            raise error(
                "DENIED", "a sum asks for fewer people behind a cell than this pod's policy"
            )
        shape = shape_of(ticket.allowed)
        if not shape.fits:
            raise error("NOT_SUPPORTED", "a sum has more figures than are compared")
        names, cells = figures_asked(ticket)
        require_asked(self.job, ticket, names, shape.cells(cells))
        self.person = ticket.person.identity

    def bring(self, brought: BroughtGroups) -> None:
        """What the pod has of the request's groups; the request ends by ``leave`` or ``fail``."""
        if self._over is not None or self._brought is not None:
            raise error("REPLAY", "a request belongs to a sum that is over")
        self._brought = brought
        self._totalling = self._groups.totalling(self._bar)
        try:
            self._begin()
        except Error as fault:
            self.close(fault)

    def late(self, ticket: Ticket) -> None:
        """The time of the statement is up."""
        if self._brought is not None and self._brought.ticket is ticket:
            self.close(error("TIMEOUT", "a sum was not opened in time"))

    def end(self, number: int, fault: Error) -> None:
        """The request brought nothing: whoever waits is told why."""
        self._over = self._over or fault
        if self._asked is not None:
            asked, self._asked = self._asked, None
            refuse(asked, fault)

    def close(self, fault: Error) -> None:
        """The job is over here."""
        brought, self._brought = self._brought, None
        self._over = self._over or fault
        if brought is not None:
            brought.fail(fault)
        self.end(FIRST, fault)

    # -- the rounds --------------------------------------------------------------------------------

    @property
    def _groups(self) -> TotalGroups:
        assert self._brought is not None
        return self._brought.groups

    def _step(self, after: str, now: str) -> None:
        if self._brought is None or self._state != after:
            raise error("REPLAY", "a step of a sum comes twice, or before its time")
        self._state = now

    def _begin(self) -> None:
        """Once the first round is asked for and the figures are there."""
        asked = self._asked
        if asked is not None and self._brought is not None:
            self._asked, self._state = None, "dealt"
            self._deal(asked, SumRound(job=self.job.digest, round=FIRST))

    def _deal(self, request: Request, message: SumRound) -> None:
        groups = self._groups
        self._core.note = note_of(os.urandom(SEED_BYTES), groups.past.names(groups.scope))
        [effect] = self._core.handle(message)
        assert isinstance(effect, Reply)
        request.reply(encode(effect.message))

    def _mask(self, request: Request, number: int) -> None:
        groups, totalling, notes = self._groups, self._totalling, self._core.notes
        remembered = {pod: names_in(note) for pod, note in notes.items()}
        if set(remembered) != set(self.job.members):
            raise error("TOO_FEW_PODS", "a sum is not of all its pods")
        if number == LAST:
            self._leave(request, remembered)
            return
        self._common = Common.of(self.job, number, self._core.pod, notes)
        if number == FIRST:
            common = groups.past.agree(groups.scope, remembered)
            if not common <= groups.known.keys():
                raise error("SUM_RESTART", "another statement of this project left meanwhile")
            totalling.past = ordered(groups.known, common)
        numbers = totalling.first() if number == FIRST else totalling.second()
        brought = Input(
            round=number,
            rows=0,
            parts=(self._common.close(numbers),),
            hidden=self._common.own,
            asked=self._asked_for,
        )
        request.reply(encode(self._masked(brought)))

    def _judge(self, message: SumTotals) -> None:
        groups, totalling = self._groups, self._totalling
        totals = self._common.open(message.vector, self.job.word)
        if message.round == FIRST:
            totalling.judge_first(totals)
            return
        totalling.judge_second(totals)
        if totalling.full:
            raise error(
                "QUOTA",
                "the pods compare no more different groups for this project",
                hint="groups that were shown before may be asked for again",
            )
        if totalling.fresh:
            groups.past.remember(groups.scope, self._name, totalling.fresh, beside=totalling.past)

    def _leave(self, request: Request, remembered: dict[str, frozenset[bytes]]) -> None:
        """The figures, once all pods remember whose they are."""
        groups, totalling, brought = self._groups, self._totalling, self._brought
        assert brought is not None
        if totalling.fresh:
            if any(self._name not in names for names in remembered.values()):
                raise error("SUM_RESTART", "a pod remembers not what is to leave")
            groups.past.settle(groups.scope, self._name)
        figures, spoiled = groups.put(totalling.shown, totalling.empty, self.job.limit)
        padding = [0] * (self.job.cells - 1 - len(figures))
        masked = self._masked(
            Input(
                round=LAST,
                rows=0,
                parts=([*figures, *padding],),
                spoiled=spoiled,
                asked=self._asked_for,
            )
        )
        self._brought = None
        del self._totalling  # whom the groups are of is not kept here
        try:
            brought.leave(masked.vector, f"{len(totalling.shown)} groups on the total, {self._for}")
        except Error as fault:
            brought.fail(told(fault, brought.ticket))
            return
        request.reply(encode(masked))

    def _masked(self, brought: Input) -> SumMasked:
        [effect] = self._core.handle(brought)
        assert isinstance(effect, Reply)
        assert isinstance(effect.message, SumMasked)
        return effect.message

    @property
    def _asked_for(self) -> bytes:
        """The hash of what all pods are asked."""
        assert self._brought is not None
        return self._brought.ticket.content

    @property
    def _name(self) -> bytes:
        """Of what leaves, as all pods remember it."""
        return self.job.digest[:NAME_BYTES]

    @property
    def _for(self) -> str:
        return f"masked for a sum of {len(self.job.members)} pods, job {self.job.digest.hex()[:16]}"
