"""The coordinator's side of one round: ask all, go on with who answered, open the sum.

Masked vectors are added as they arrive, so its memory holds one vector, whatever the number of
pods. Rule to keep: who is in the sum is settled before anybody is asked for a share.
"""

from enum import IntEnum

from podsql.engine.sums.documents import read_list
from podsql.engine.sums.effects import Ask, Dropped, Opened, Restart, RoundEffect
from podsql.engine.sums.job import HASH_BYTES, Job
from podsql.engine.sums.opening import require_whole, unmask
from podsql.engine.sums.quorum import neighbours
from podsql.engine.sums.result import read_sum
from podsql.engine.sums.seeds import names_hash
from podsql.engine.sums.words import add_words, words_of_bytes, zero_words
from podsql.errors import Error, error
from podsql.message import Message, Signed
from podsql.messages import Done
from podsql.sum_messages import (
    SumAgreed,
    SumDeal,
    SumKeyed,
    SumList,
    SumMasked,
    SumOpening,
    SumRound,
    SumShares,
    SumSurvivors,
    SumUnmask,
)


class Step(IntEnum):
    """What the coordinator waits for."""

    DEAL = 0
    MASK = 1
    AGREE = 2
    OPEN = 3
    OVER = 4


class CoordinatorRound:
    """One round over the members of ``job``. ``asked``: what each of them is asked for."""

    def __init__(self, job: Job, number: int, asked: bytes = b"") -> None:
        self._job = job
        self._asked = asked
        self._number = number
        self._step = Step.DEAL
        self._waiting = set(job.members)
        self._deals: dict[str, SumDeal] = {}
        self._dealers: tuple[str, ...] = ()
        self._total = zero_words(job.word, job.cells)
        self._masked: set[str] = set()
        self._survivors: SumList | None = None
        self._lists: dict[str, Signed] = {}
        self._openings: dict[str, SumOpening] = {}

    def begin(self) -> list[RoundEffect]:
        """Ask every member."""
        asked = SumRound(job=self._job.digest, round=self._number)
        return [Ask(pod, asked) for pod in self._job.members]

    def replied(self, pod: str, message: Message) -> list[RoundEffect]:
        """An answer of ``pod``; what comes late, or for another round, is passed over."""
        if pod not in self._waiting:
            return []
        try:
            self._take(pod, message)
        except Error as fault:
            if fault.code == "REPLAY":
                return []
            return [Dropped(pod, fault), *self.lost(pod)]
        return self.lost(pod)

    def lost(self, pod: str) -> list[RoundEffect]:
        """Nothing more comes of ``pod`` in this step."""
        if pod not in self._waiting:
            return []
        self._waiting.discard(pod)
        enough = self._step == Step.OPEN and len(self._openings) >= self._job.quorum
        return self.close() if enough or not self._waiting else []

    def close(self) -> list[RoundEffect]:
        """Wait for nobody else in this step."""
        match self._step:
            case Step.DEAL:
                return self._after_dealing()
            case Step.MASK:
                return self._after_masking()
            case Step.AGREE:
                return self._after_agreeing()
            case Step.OPEN:
                return self._after_opening()
            case Step.OVER:
                return []

    # -- answers -----------------------------------------------------------------------------------

    def _take(self, pod: str, message: Message) -> None:
        job, number = self._job, self._number
        match self._step, message:
            case Step.DEAL, SumDeal():
                self._require_present(message)
                self._require_deal(message)
                self._deals[pod] = message
            case Step.MASK, SumMasked():
                self._require_present(message)
                if len(message.vector) != job.vector_bytes:
                    raise error("BAD_MESSAGE", "a masked vector has a wrong size")
                add_words(self._total, words_of_bytes(message.vector, job.word))
                self._masked.add(pod)
            case Step.AGREE, SumAgreed():
                if read_list(job, number, pod, message.survivors) != self._survivors:
                    raise error("BAD_MESSAGE", "a pod signed another list than it was asked")
                self._lists[pod] = message.survivors
            case Step.OPEN, SumOpening():
                self._require_present(message)
                assert self._survivors is not None
                require_whole(message, self._survivors)
                self._openings[pod] = message
            case _, SumKeyed() | Done() | SumDeal() | SumMasked() | SumAgreed() | SumOpening():
                raise error("REPLAY", "an answer belongs to another step")
            case _:
                raise error("BAD_MESSAGE", "a pod answers what it was not asked")

    def _require_present(self, message: SumDeal | SumMasked | SumOpening) -> None:
        if (message.job, message.round) != (self._job.digest, self._number):
            raise error("REPLAY", "an answer belongs to another round")

    def _require_deal(self, deal: SumDeal) -> None:
        others = len(self._job.members) - 1
        sizes = {len(tag) for tag in (deal.self_tag, *deal.pair_tags)}
        if (len(deal.pair_tags), len(deal.shares)) != (others, others) or sizes != {HASH_BYTES}:
            raise error("BAD_MESSAGE", "a pod dealt to other pods than its neighbours")

    # -- steps -------------------------------------------------------------------------------------

    def _after_dealing(self) -> list[RoundEffect]:
        members = self._job.members
        self._dealers = tuple(pod for pod in members if pod in self._deals)
        return self._next(
            Step.MASK,
            {
                pod: SumShares(
                    job=self._job.digest,
                    round=self._number,
                    dealers=self._dealers,
                    shares=tuple(
                        self._deals[dealer].shares[neighbours(members, dealer).index(pod)]
                        for dealer in neighbours(self._dealers, pod)
                    ),
                )
                for pod in self._dealers
            },
        )

    def _after_masking(self) -> list[RoundEffect]:
        alive = tuple(pod for pod in self._dealers if pod in self._masked)
        missing = tuple(pod for pod in self._dealers if pod not in self._masked)
        self._survivors = SumList(
            job=self._job.digest,
            round=self._number,
            dealers=names_hash(self._dealers),
            alive=alive,
            missing=missing,
        )
        asked = SumSurvivors(
            job=self._job.digest,
            round=self._number,
            alive=alive,
            missing=missing,
        )
        return self._next(Step.AGREE, dict.fromkeys(alive, asked))

    def _after_agreeing(self) -> list[RoundEffect]:
        lists = tuple(self._lists.values())
        asked = SumUnmask(job=self._job.digest, round=self._number, lists=lists)
        return self._next(Step.OPEN, dict.fromkeys(self._lists, asked))

    def _next(
        self, step: Step, asks: dict[str, SumShares | SumSurvivors | SumUnmask]
    ) -> list[RoundEffect]:
        if len(asks) < self._job.quorum:
            return self._too_few(len(asks))
        self._step = step
        self._waiting = set(asks)
        return [Ask(pod, message) for pod, message in asks.items()]

    def _after_opening(self) -> list[RoundEffect]:
        job, survivors = self._job, self._survivors
        assert survivors is not None
        if len(self._openings) < job.quorum:
            return self._too_few(len(self._openings))
        self._end()
        openings = dict(list(self._openings.items())[: job.quorum])
        try:
            unmask(
                self._total,
                job,
                survivors,
                deals=self._deals,
                openings=openings,
                asked=self._asked,
            )
            opened = read_sum(
                self._total, job, self._number, pods=survivors.alive, missing=survivors.missing
            )
        except Error as fault:
            return [Restart(fault)]
        return [Opened(opened)]

    def _too_few(self, there: int) -> list[RoundEffect]:
        self._end()
        return [Restart(restart(there, self._job.quorum))]

    def _end(self) -> None:
        self._step = Step.OVER
        self._waiting = set()


def restart(there: int, needed: int) -> Error:
    """Too few pods are left, and nothing was opened."""
    return error(
        "SUM_RESTART",
        f"{there} pods are left of a secure sum that needs {needed}; nothing was opened",
        hint="begin another round, or a job of the pods that are there",
    )
