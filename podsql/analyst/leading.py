"""The analyst's process as the coordinator of one job of secure sums: asks all pods at once, over the endpoint.

Rule to keep: a sum counts if every pod of the job is in it. A pod that is lost before its masked figures
came ends the round before anything is opened; one that is lost later is in the sum.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from queue import Empty, SimpleQueue

from podsql.analyst.exchange import ABSENT, Exchange
from podsql.engine.sums.coordinator import Begin, Close, Coordinator, Lost, NextRound, Replied
from podsql.engine.sums.effects import Ask, Dropped, Effect, Opened, Ready, Restart
from podsql.engine.sums.result import Sum
from podsql.errors import Error, OperationalError, error
from podsql.message import Message
from podsql.messages import Failed, decode, encode
from podsql.relay.cards import Card
from podsql.relay.sockets.endpoint import Endpoint
from podsql.sum_messages import (
    SumJob,
    SumMasked,
    SumRound,
    SumShares,
    SumSurvivors,
    SumTotals,
    SumUnmask,
)

LATE = frozenset({SumSurvivors, SumUnmask})
"""What is asked once the figures are there: enough pods of the job will do."""
GONE = ABSENT | {"SUM_RESTART", "REPLAY", "STALE_OFFER"}
"""Codes of a pod that cannot go on with a job: absent, restarted, or asked twice."""
GRACE = 0.5
"""Seconds in which the endpoint says of a call that nothing came of it."""


class PodsLost(OperationalError):
    """Pods of a sum are lost; nothing was opened."""

    def __init__(self, lost: Mapping[str, Error]) -> None:
        names = ", ".join(repr(name) for name in sorted(lost))
        first = lost[min(lost)]
        super().__init__(
            f"{names} left a secure sum ({first.code}: {first.message}); nothing was opened",
            code="SUM_RESTART",
            hint="wait for them, or train without: WITH (min_pods = k)",
            pod=min(lost),
        )
        self.pods = frozenset(lost)
        self.codes = frozenset(fault.code for fault in lost.values())


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of the ``number``-th thing that was asked."""

    pod: str
    number: int
    reply: bytes | Error


@dataclass(frozen=True, slots=True)
class _Queried:
    """A pod answered the signed request of a round."""

    pod: str


class Leader:
    """Leads one job. ``seconds``: what a step may take in which pods do not compute."""

    def __init__(
        self, endpoint: Endpoint, cards: Mapping[str, Card], told: SumJob, *, seconds: float
    ) -> None:
        self._coordinator = Coordinator(told)
        self.job = self._coordinator.job
        self.round = 0
        """The number of the last round that was begun."""
        self.listed = False
        """Pods were asked to sign a list: their figures may be opened with those of all in it."""
        self._endpoint = endpoint
        self._cards = cards
        self._seconds = seconds
        self._events: SimpleQueue[_Answer | _Queried | Error] = SimpleQueue()
        self._asked = 0
        self._open: dict[str, tuple[int, bool]] = {}
        """Per pod that has not answered: the number of what it was asked, and whether it may be lost."""
        self._until = 0.0

    @property
    def apart(self) -> frozenset[str]:
        """The pods whose custodians let the same be summed without them."""
        return self._coordinator.apart

    def stop(self) -> None:
        """Whoever waits here ends with CANCELLED; from any thread."""
        self._events.put(error("CANCELLED", "the statement was cancelled"))

    def begin(self, deadline: float) -> None:
        """Let the pods meet; ``deadline`` is on the monotonic clock."""
        self._run(self._coordinator.handle(Begin()), {}, deadline)

    def sum(self, exchanges: Sequence[Exchange], deadline: float, content: bytes) -> Sum:
        """One round. ``exchanges``, one a pod and not started, ask for what the pods bring: all for
        what has the hash ``content``.

        PodsLost, or the error of a pod that refuses or withholds its figures: nothing is opened then.
        """
        asked = {exchange.card.name: exchange for exchange in exchanges}
        effects = self._next_round(content)
        self._ask(effects, deadline)
        for pod, exchange in asked.items():
            exchange.start(partial(self._events.put, _Queried(pod)))
        return self._opened([], asked, deadline)

    def sum_by_total(self, exchanges: Sequence[Exchange], deadline: float, content: bytes) -> Sum:
        """All rounds of a job whose pods judge on their total: what is opened before the last round is
        brought back to them. ``exchanges``, ``content`` and errors as in ``sum``."""
        asked = {exchange.card.name: exchange for exchange in exchanges}
        for number in range(1, self.job.rounds):
            self._ask(self._next_round(content), deadline)
            if number == 1:
                for pod, exchange in asked.items():
                    exchange.start(partial(self._events.put, _Queried(pod)))
            opened = self._opened([], asked, deadline, last=False)
            self._bring_back(opened, asked, deadline)
        return self._opened(self._next_round(content), asked, deadline)

    def _next_round(self, content: bytes) -> list[Effect]:
        self.round += 1
        return self._coordinator.handle(NextRound(content))

    def _opened(
        self,
        effects: list[Effect],
        asked: Mapping[str, Exchange],
        deadline: float,
        *,
        last: bool = True,
    ) -> Sum:
        opened = self._run(effects, asked, deadline, last=last)
        assert opened is not None
        if opened.missing or opened.pods != self.job.members:
            raise error("BAD_RESULT", "a secure sum is over other pods than were asked")
        return opened

    def _bring_back(self, opened: Sum, asked: Mapping[str, Exchange], deadline: float) -> None:
        """To all pods, what is for them alone."""
        [part] = opened.parts
        told = SumTotals(job=self.job.digest, round=opened.round, vector=part.cells.tobytes())
        self._ask([Ask(pod, told) for pod in self.job.members], deadline)
        while self._open:
            self._next(asked, {}, {}, deadline)

    def _run(
        self,
        effects: list[Effect],
        asked: Mapping[str, Exchange],
        deadline: float,
        *,
        last: bool = True,
    ) -> Sum | None:
        """Until the round is opened, or (None) the pods know each other.

        Not the ``last`` that ``asked`` are for: no pod has signed for its figures then."""
        vectors: dict[str, bytes] = {}
        signed: dict[str, bytes] = {}
        opened: Sum | None = None
        while True:
            for effect in effects:
                match effect:
                    case Opened(found):
                        opened = found
                    case Ready():
                        return None
                    case Restart(fault):
                        raise fault
                    case Dropped(pod, fault):
                        fault.pod = fault.pod or pod
                        raise fault
                    case Ask():
                        pass
            self._ask(effects, deadline)
            if opened is not None and not last:
                return opened
            if opened is not None and len(signed) == len(asked):
                # What each pod put in its own audit is what was added.
                if signed != vectors:
                    raise error("BAD_RESULT", "masked figures are not those that a pod signed for")
                return opened
            effects = self._next(asked, vectors, signed, deadline)

    def _next(
        self,
        asked: Mapping[str, Exchange],
        vectors: dict[str, bytes],
        signed: dict[str, bytes],
        deadline: float,
    ) -> list[Effect]:
        """What the next event makes the coordinator do."""
        until = min(deadline, self._until) if self._open else deadline
        try:
            event = self._events.get(timeout=max(0.0, until - time.monotonic()) + GRACE)
        except Empty:
            return self._late()
        if isinstance(event, Error):
            raise event
        if isinstance(event, _Queried):
            signed[event.pod] = _signed(asked[event.pod])
            return []
        number, may_be_lost = self._open.get(event.pod, (0, False))
        if number != event.number:
            return []
        del self._open[event.pod]
        try:
            message = _message(event.reply)
        except Error as fault:
            fault.pod = fault.pod or event.pod
            if may_be_lost:
                return self._coordinator.handle(Lost(event.pod))
            if fault.code in GONE:
                raise PodsLost({event.pod: fault}) from None
            raise
        if isinstance(message, SumMasked):
            vectors[event.pod] = sha256(message.vector).digest()
        return self._coordinator.handle(Replied(event.pod, message))

    def _late(self) -> list[Effect]:
        """The time of a step is over."""
        needed = [pod for pod, (_, may_be_lost) in self._open.items() if not may_be_lost]
        if needed or not self._open:
            raise PodsLost(
                {
                    pod: error("TIMEOUT", "no answer in time", pod=pod)
                    for pod in needed or self.job.members
                }
            )
        self._open.clear()
        return self._coordinator.handle(Close())

    def _ask(self, effects: Sequence[Effect], deadline: float) -> None:
        for effect in effects:
            if not isinstance(effect, Ask):
                continue
            self._asked += 1
            self.listed |= isinstance(effect.message, SumSurvivors)
            now = time.monotonic()
            # A pod computes before it answers with its figures.
            waits = SumShares | SumRound if self.job.units and self.round == 1 else SumShares
            computes = isinstance(effect.message, waits)
            self._until = deadline if computes else min(deadline, now + self._seconds)
            self._open[effect.pod] = (self._asked, type(effect.message) in LATE)
            number, pod = self._asked, effect.pod
            self._endpoint.call(
                self._cards[pod],
                encode(effect.message),
                timeout=max(0.05, self._until - now),
                on_reply=lambda reply, pod=pod, number=number: self._events.put(  # type: ignore[misc]
                    _Answer(pod, number, reply)
                ),
            )


def _message(reply: bytes | Error) -> Message:
    if isinstance(reply, Error):
        raise reply
    message = decode(reply)
    if isinstance(message, Failed):
        raise error(message.code, message.message, hint=message.hint)
    return message


def _signed(exchange: Exchange) -> bytes:
    """The hash of the masked figures that a pod says it gave."""
    pod = exchange.card.name
    try:
        evidence = exchange.masked()
    except Error as fault:
        if fault.code in GONE:
            raise PodsLost({pod: fault}) from None
        raise
    if evidence is None:
        raise error("WITHHELD", "a pod holds back what a sum needs", pod=pod)
    return evidence.sha256
