"""The coordinator of a job of secure sums: the analyst's process, or a modeller's.

No I/O, no clock; blocking, some 0.2 s a million cells. It asks every pod, waits until each has
answered or is said to be lost, and goes on with who is there. No pod trusts it: this is what one
does that wants the right sum. Rule to keep: a round ends in exactly one ``Opened`` or ``Restart``,
unless another is begun before.
"""

from dataclasses import dataclass
from enum import IntEnum

from podsql.engine.sums.coordinator_round import CoordinatorRound, restart
from podsql.engine.sums.documents import read_key
from podsql.engine.sums.effects import Ask, Dropped, Effect, Ready, Restart
from podsql.engine.sums.job import Job, read_job
from podsql.errors import Error, error
from podsql.message import Message, Signed
from podsql.messages import Done, encode
from podsql.sum_messages import SumJob, SumKeyed, SumKeys, SumStart


@dataclass(frozen=True, slots=True)
class Begin:
    """Ask the pods to take part; ends in ``Ready`` or ``Restart``."""


@dataclass(frozen=True, slots=True)
class NextRound:
    """Begin a round, only once it is ``Ready``; what is unfinished of the one before is given up.

    ``asked``: what the pods are asked for, as each of them says it (``pod_round.Input``)."""

    asked: bytes = b""


@dataclass(frozen=True, slots=True)
class Replied:
    """``pod`` answered the last thing that it was asked."""

    pod: str
    message: Message


@dataclass(frozen=True, slots=True)
class Lost:
    """``pod`` failed, refused or is late: nothing more comes of what it was asked."""

    pod: str


@dataclass(frozen=True, slots=True)
class Close:
    """The time of this step is over: go on without who has not answered."""


class Step(IntEnum):
    """How far a job is."""

    NEW = 0
    KEYS = 1
    MEETING = 2
    READY = 3
    OVER = 4


Event = Begin | NextRound | Replied | Lost | Close


class Coordinator:
    """One job. The rounds that it begins are numbered from 1."""

    def __init__(self, told: SumJob) -> None:
        self._body = encode(told)
        self.job: Job = read_job(self._body)
        self._step = Step.NEW
        self._keys: dict[str, Signed] = {}
        self._met: set[str] = set()
        self._waiting: set[str] = set()
        self._number = 0
        self._round: CoordinatorRound | None = None
        self.apart: frozenset[str] = frozenset()
        """The pods whose custodians let the same be summed without them."""

    def handle(self, event: Event) -> list[Effect]:
        """What to do about ``event``."""
        match event:
            case Begin():
                return self._ask_all(Step.KEYS, SumStart(job=self._body))
            case NextRound(asked):
                return self._begin_round(asked)
            case Replied(pod, message):
                if self._round is not None:
                    return list(self._round.replied(pod, message))
                return self._replied(pod, message)
            case Lost(pod):
                return list(self._round.lost(pod)) if self._round else self._lost(pod)
            case Close():
                return list(self._round.close()) if self._round else self._close()

    def _begin_round(self, asked: bytes) -> list[Effect]:
        if self._step != Step.READY:
            raise error("ARGUMENT", "a round of a secure sum begins before its pods are ready")
        if self._number == self.job.rounds:
            raise error("ARGUMENT", "a secure sum has no more rounds")
        self._number += 1
        self._round = CoordinatorRound(self.job, self._number, asked)
        return list(self._round.begin())

    # -- before the first round --------------------------------------------------------------------

    def _ask_all(self, step: Step, message: Message) -> list[Effect]:
        self._step = step
        self._waiting = set(self.job.members)
        return [Ask(pod, message) for pod in self.job.members]

    def _replied(self, pod: str, message: Message) -> list[Effect]:
        if pod not in self._waiting:
            return []
        try:
            self._take(pod, message)
        except Error as fault:
            if fault.code == "REPLAY":
                return []
            return [Dropped(pod, fault), *self._lost(pod)]
        return self._lost(pod)

    def _take(self, pod: str, message: Message) -> None:
        match self._step, message:
            case Step.KEYS, SumKeyed():
                told = read_key(self.job, pod, message.key)
                self._keys[pod] = message.key
                self.apart |= {pod} if told.apart else set()
            case Step.MEETING, Done():
                self._met.add(pod)
            case Step.MEETING, SumKeyed():
                raise error("REPLAY", "an answer belongs to another step")
            case _:
                raise error("BAD_MESSAGE", "a pod answers what it was not asked")

    def _lost(self, pod: str) -> list[Effect]:
        if pod not in self._waiting:
            return []
        self._waiting.discard(pod)
        return [] if self._waiting else self._close()

    def _close(self) -> list[Effect]:
        self._waiting.clear()
        members = self.job.members
        if self._step == Step.KEYS:
            # All of them, or the pods could be told of different members.
            if len(self._keys) < len(members):
                return self._too_few(len(self._keys), len(members))
            keys = tuple(self._keys[member] for member in members)
            return self._ask_all(Step.MEETING, SumKeys(job=self.job.digest, keys=keys))
        if self._step == Step.MEETING:
            if len(self._met) < self.job.quorum:
                return self._too_few(len(self._met), self.job.quorum)
            self._step = Step.READY
            return [Ready()]
        return []

    def _too_few(self, there: int, needed: int) -> list[Effect]:
        self._step = Step.OVER
        return [Restart(restart(there, needed))]
