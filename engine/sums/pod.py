"""A pod's part in one job of secure sums. No I/O, no clock; blocking, some 0.1 s a million cells.

Its keys live in this object alone: with a restarted process the job is over for the pod, and no
message of before can be used again. Whom it sums with stands in the pod's own file; whether it
sums what it is asked, and how often, is for the pod to judge before it hands an ``Input`` in.
"""

import os
from dataclasses import dataclass

from nacl.bindings import crypto_scalarmult_base

from podsql.engine.sums.documents import read_keys
from podsql.engine.sums.job import Job, Terms, read_job, require_acceptable
from podsql.engine.sums.pod_round import Input, Party, PodRound
from podsql.engine.sums.quorum import neighbours
from podsql.engine.sums.seeds import pair_root
from podsql.engine.sums.shamir import SEED_BYTES, Draw
from podsql.errors import error
from podsql.message import Message
from podsql.messages import Done, encode
from podsql.relay.keys import signing_public
from podsql.relay.signing import sign
from podsql.sum_messages import (
    SumKey,
    SumKeyed,
    SumKeys,
    SumRound,
    SumShares,
    SumStart,
    SumSurvivors,
    SumUnmask,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to what the coordinator asked."""

    message: Message


@dataclass(frozen=True, slots=True)
class Compute:
    """Hand in the ``Input`` of ``round``; what comes of it is the answer to ``SumShares``."""

    round: int
    job: Job


Event = SumStart | SumKeys | SumRound | SumShares | SumSurvivors | SumUnmask | Input
Effect = Reply | Compute


class SumPod:
    """One pod in one job. What is refused raises an error and changes nothing."""

    def __init__(self, *, name: str, seed: bytes, terms: Terms, draw: Draw = os.urandom) -> None:
        self.pod = name
        self._seed = seed
        self._terms = terms
        self._draw = draw
        self._job: Job | None = None
        self._secret = b""
        self._party: Party | None = None
        self._round: PodRound | None = None
        self._last = 0
        self.apart: tuple[str, ...] = ()
        """The pods that signed, with their keys, that the same may be summed without them; none where
        this pod does not let it."""
        self.note = b""
        """What it tells the other pods of the next round, sealed for each."""

    def handle(self, event: Event) -> list[Effect]:
        """What to do about ``event``."""
        if isinstance(event, SumStart):
            return [Reply(self._start(event))]
        job = self._job
        if job is None:
            raise error("BAD_MESSAGE", "a message belongs to a sum that has not begun")
        if not isinstance(event, Input) and event.job != job.digest:
            raise error("REPLAY", "a message belongs to another sum")
        match event:
            case SumKeys():
                self._party = self._meet(job, event)
                self._secret = b""
                return [Reply(Done())]
            case SumRound():
                return [Reply(self._begin(job, event.round).deal(self.note))]
            case SumShares():
                self._current(event.round).take(event)
                return [Compute(event.round, job)]
            case Input():
                return [Reply(self._current(event.round).mask(event))]
            case SumSurvivors():
                return [Reply(self._current(event.round).agree(event))]
            case SumUnmask():
                return [Reply(self._current(event.round).open(event))]

    @property
    def notes(self) -> dict[str, bytes]:
        """What the pods of the present round told each other, once their shares are there."""
        return {} if self._round is None else self._round.notes

    def _start(self, asked: SumStart) -> SumKeyed:
        if self._job is not None:
            raise error("REPLAY", "a sum has begun already")
        job = read_job(asked.job)
        require_acceptable(job, self._terms, self.pod, signing_public(self._seed))
        self._job = job
        self._secret = self._draw(SEED_BYTES)
        key = SumKey(
            job=job.digest,
            pod=self.pod,
            key=crypto_scalarmult_base(self._secret),
            apart=self._terms.apart,
        )
        return SumKeyed(key=sign("sum-key", encode(key), self._seed))

    def _meet(self, job: Job, asked: SumKeys) -> Party:
        if self._party is not None:
            raise error("REPLAY", "a sum has its pods' keys already")
        keys = read_keys(job, asked.keys)
        own = crypto_scalarmult_base(self._secret)
        if keys[self.pod].key != own:
            raise error("SIGNATURE", "a sum names another key of this pod than it made")
        roots: dict[str, bytes] = {}
        for other in neighbours(job.members, self.pod):
            root = pair_root(job.digest, self._secret, own, keys[other].key)
            if root is None:
                raise error("BAD_MESSAGE", f"the key of {other!r} keeps nothing secret")
            roots[other] = root
        if self._terms.apart:
            self.apart = tuple(name for name, told in keys.items() if told.apart)
        return Party(
            job=job,
            name=self.pod,
            seed=self._seed,
            roots=roots,
            least=self._terms.least,
            draw=self._draw,
        )

    def _begin(self, job: Job, number: int) -> PodRound:
        """A later round: no number is used twice, or masks would be."""
        if self._party is None:
            raise error("BAD_MESSAGE", "a round begins before its pods know each other")
        if number <= self._last:
            raise error("REPLAY", "a round of a sum is asked for a second time")
        if number > job.rounds:
            raise error("BAD_MESSAGE", "a sum has no such round")
        self._last = number
        self._round = PodRound(self._party, number)
        return self._round

    def _current(self, number: int) -> PodRound:
        if self._round is None or self._round.number != number:
            raise error("REPLAY", "a message belongs to a round that is not this sum's present one")
        return self._round
