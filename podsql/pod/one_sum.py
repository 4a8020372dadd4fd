"""One pod's part in one job of secure sums: it drives the protocol core (``engine/sums/pod.py``).

Methods run on the endpoint's I/O thread. A round needs two things from the analyst: the shares of the
others, and a signed request whose row is what the pod brings; whichever comes first waits for the other.
Rule to keep: a request is for one job and one round, which its id is made of; all requests of a job are
about one design over the same data; what all pods of a round are asked is the same to the byte, or no mask
vanishes; masked cells leave once the audit says so, and a list is signed once the ledger says of whom.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from podsql.engine.sums.doubles import CELLS, to_cells
from podsql.engine.sums.job import Job
from podsql.engine.sums.pod import Event, Reply, SumPod
from podsql.engine.sums.pod_round import Input
from podsql.errors import Error, error
from podsql.messages import encode, sum_about, sum_request
from podsql.planner.fragment import Field
from podsql.planner.sum_names import group_figures
from podsql.pod.aside import Aside
from podsql.pod.cohorts import Claim, Cohort
from podsql.pod.refusing import refuse
from podsql.pod.requests import Ticket
from podsql.pod.summed_groups import input_of, sums_of
from podsql.policy.denial import Withheld
from podsql.relay.sockets.endpoint import Request
from podsql.sum_messages import SumMasked, SumRound, SumShares, SumSurvivors

COUNTS = ("n", "dropped")
"""What a masked row begins with: numbers of rows."""

Leave = Callable[[bytes, str], None]
"""Takes the masked cells and what they are for; raises if they may not leave."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Brought:
    """What a ticket brings to ``round``, and how it ends."""

    ticket: Ticket
    figures: Input
    claim: Claim
    leave: Leave
    fail: Callable[[Error], None]


class OneSum:
    """``identity``: this pod's key, which its requests are made out to."""

    def __init__(self, core: SumPod, job: Job, identity: bytes, aside: Aside) -> None:
        self.job = job
        self.touched = 0.0
        """When the analyst last sent something (monotonic)."""
        self.person = b""
        """For whom figures were asked: where a modeller leads the job, its analyst."""
        self._core = core
        self._identity = identity
        self._aside = aside
        self._round = 0
        self._asked: Request | None = None
        """``SumShares`` of the round, not yet answered."""
        self._brought: Brought | None = None
        self._claim: Claim | None = None
        """Of the figures that left in the round."""
        self._over: Error | None = None
        """Why nothing is brought to the round."""
        self._about: tuple[object, ...] = ()

    def serve(self, request: Request, message: Event) -> None:
        """A message of the coordinator."""
        effects = self._core.handle(message)
        if isinstance(message, SumRound):
            self._give_up(error("REPLAY", "another round of this sum has begun"))
            self._round, self._over, self._claim = message.round, None, None
        if isinstance(message, SumShares):
            if self._over is not None:
                raise self._over
            self._asked = request
            self._mask()
            return
        [effect] = effects
        assert isinstance(effect, Reply)
        reply = encode(effect.message)
        if isinstance(message, SumSurvivors):
            if self._claim is None:  # masked, but the audit did not take it
                raise error("BAD_MESSAGE", "a list is of figures that did not leave")
            self._aside.apart(
                self._claim.sign, lambda _: request.reply(reply), partial(refuse, request)
            )
            return
        request.reply(reply)

    @property
    def cohort(self) -> Cohort:
        """Whom it sums with, as far as their keys have come."""
        return Cohort(self.job.members, self.job.quorum, self._core.apart)

    # -- the pod's own figures ---------------------------------------------------------------------

    def place(self, ticket: Ticket) -> int | None:
        """Which round the request of ``ticket`` is for: the present one, or the next."""
        for number in (self._round, self._round + 1):
            if ticket.head.request_id == sum_request(self.job.digest, number, self._identity):
                return number
        return None

    def expect(self, ticket: Ticket) -> None:
        """Refuse a request that is not what this job is about: before anything runs."""
        verdict = ticket.allowed
        if verdict.merged is not None:  # its groups are not judged yet
            raise error("DENIED", "a sum is not judged on its total, as the pod's policy wants it")
        names, cells = figures_asked(ticket)
        require_asked(self.job, ticket, names, cells)
        self.person = ticket.person.identity
        mark = verdict.model.mark if verdict.model is not None else b""
        about = (mark, verdict.policy_hash, ticket.holding.data_version)
        if self._about and self._about != about:
            raise error(
                "CONFLICT",
                "the pod took in new data or a new policy while figures were summed",
                hint="begin again",
            )
        self._about = about

    def bring(self, brought: Brought) -> None:
        """The row of a ticket may go into its round; the ticket ends by ``leave`` or ``fail``."""
        if self._brought is not None or brought.figures.round != self._round:
            raise error("REPLAY", "a request belongs to a round that is over")
        self._brought = brought
        self._mask()

    def late(self, ticket: Ticket) -> None:
        """The time of a statement is up."""
        if self._brought is not None and self._brought.ticket is ticket:
            self._give_up(error("TIMEOUT", "the shares of a sum did not come in time"))

    def end(self, number: int, fault: Error) -> None:
        """Nothing is brought to a round: whoever asks for it is told why."""
        if number != self._round:
            return
        self._over = fault
        if self._asked is not None:
            asked, self._asked = self._asked, None
            refuse(asked, fault)

    def close(self, fault: Error) -> None:
        """The job is over here."""
        self._give_up(fault)

    def _give_up(self, fault: Error) -> None:
        brought, self._brought = self._brought, None
        if brought is not None:
            brought.fail(fault)
        self.end(self._round, fault)

    def _mask(self) -> None:
        """Once the shares and the figures are there."""
        asked, brought = self._asked, self._brought
        if asked is None or brought is None:
            return
        self._brought = None
        try:
            [effect] = self._core.handle(brought.figures)
            assert isinstance(effect, Reply)
            assert isinstance(effect.message, SumMasked)
            brought.leave(effect.message.vector, self._for(brought.figures.round))
        except Error as fault:
            brought.fail(told(fault, brought.ticket))  # whose end is that of this round here
            return
        self._asked, self._claim = None, brought.claim
        asked.reply(encode(effect.message))

    def _for(self, number: int) -> str:
        return (
            f"masked for a sum of {len(self.job.members)} pods, "
            f"job {self.job.digest.hex()[:16]}, round {number}"
        )


def require_asked(job: Job, ticket: Ticket, names: tuple[str, ...], cells: int) -> None:
    """REPLAY or BAD_MESSAGE unless ``job`` is about the request of ``ticket``, with so many cells."""
    if ticket.head.pods != job.members:
        raise error("BAD_MESSAGE", "a request names other pods than its sum")
    if job.about != sum_about(ticket.head, ticket.statement, names):
        raise error("REPLAY", "a sum is about another statement than this request")
    if (job.word, job.cells) != (128, 1 + cells):
        raise error("BAD_MESSAGE", "a sum has other cells than the request has figures")


def figures_asked(ticket: Ticket) -> tuple[tuple[str, ...], int]:
    """What the figures of a ticket's sum are called, and how many cells they are."""
    verdict = ticket.verdict
    assert verdict is not None
    names = tuple(field.name for field in verdict.fields)
    if verdict.sums is None:
        return names, cells_of(verdict.fields)
    order = verdict.sums
    return group_figures(ticket.content, names, order.lists), sums_of(order).cells


def figures_of(number: int, ticket: Ticket, arrow: bytes, *, withheld: int, limit: int) -> Input:
    """What a pod brings of ``ticket``: its groups, or its one row. Sums over no row are NULL, and 0."""
    verdict = ticket.verdict
    assert verdict is not None
    if verdict.sums is not None:
        return input_of(
            number, verdict, arrow, withheld=withheld, limit=limit, asked=ticket.content
        )
    try:
        row = pa.ipc.open_stream(arrow).read_all().to_pylist()[0]
        counts = [int(row.pop(name) or 0) for name in COUNTS]
        cells = to_cells([value or 0.0 for value in row.values()])
    except Error as fault:
        raise told(fault, ticket) from None
    return Input(round=number, rows=counts[0], parts=([*counts[1:], *cells],), asked=ticket.content)


def cells_of(fields: Sequence[Field]) -> int:
    """Cells of a row with these outputs, after the number of rows."""
    return len(COUNTS) - 1 + CELLS * (len(fields) - len(COUNTS))


def told(fault: Error, ticket: Ticket) -> Error:
    """Over protected rows, a figure that does not fit is told like one of a small group."""
    guarded = ticket.verdict is not None and ticket.verdict.guard
    return Withheld(fault.code) if guarded and fault.code in ("DATA", "OVERFLOW") else fault
