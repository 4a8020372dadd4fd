"""Pods of one job, driven by the honest coordinator or by the hand of a test, over encoded messages."""

import math
import os
from collections import Counter
from fractions import Fraction

import pytest

from podsql.engine.sums.coordinator import Begin, Coordinator, Lost, NextRound, Replied
from podsql.engine.sums.effects import Ask, Dropped, Opened, Ready, Restart
from podsql.engine.sums.job import Terms, read_job
from podsql.engine.sums.pod import Compute, SumPod
from podsql.engine.sums.pod_round import Input
from podsql.errors import Error
from podsql.messages import decode, encode
from podsql.relay.keys import signing_public
from podsql.sum_messages import (
    SumJob,
    SumKeys,
    SumMember,
    SumPart,
    SumRound,
    SumShares,
    SumStart,
    SumSurvivors,
    SumUnmask,
)


class World:
    """``n`` pods and what crosses the relay between them and the coordinator (``seen``)."""

    def __init__(
        self,
        n,
        *,
        word=128,
        parts=((5, 0),),
        rounds=9,
        colluders=1,
        least=3,
        draws=None,
        seeds=None,
        apart=(),
    ):
        """``apart``: pods that say they may be told apart. ``seeds``: identities of another world. ``draws``: pod to its source of random bytes."""
        self.names = tuple(f"pod{at:02d}" for at in range(n))
        self.seeds = seeds or {name: os.urandom(32) for name in self.names}
        self.identities = {name: signing_public(seed) for name, seed in self.seeds.items()}
        self.least, self.draws, self.apart = least, draws or {}, apart
        self.told = SumJob(
            nonce=os.urandom(32),
            about=bytes(32),
            members=tuple(SumMember(name, self.identities[name]) for name in self.names),
            colluders=colluders,
            word=word,
            parts=tuple(SumPart(cells, fraction) for cells, fraction in parts),
            rounds=rounds,
        )
        self.job = read_job(encode(self.told))
        self.pods = {name: self.new_pod(name) for name in self.names}
        self.seen = []
        self.vectors = {}
        self.dropped = []
        self.replies = []
        self.coordinator = None

    def new_pod(self, name):
        terms = Terms(
            roster=self.identities,
            least=self.least,
            colluders=self.told.colluders,
            apart=name in self.apart,
        )
        return SumPod(
            name=name, seed=self.seeds[name], terms=terms, draw=self.draws.get(name, os.urandom)
        )

    def ask(self, pod, message, brought=None):
        """The pod's answer; ``brought`` is its input, if it is asked to compute."""
        self.seen.append(encode(message))
        [effect] = self.pods[pod].handle(decode(self.seen[-1]))
        if isinstance(effect, Compute):
            assert effect.round == message.round
            if brought is None:
                return None
            [effect] = self.pods[pod].handle(brought)
        self.seen.append(encode(effect.message))
        return decode(self.seen[-1])

    # -- with an honest coordinator ----------------------------------------------------------------

    def begin(self, silent=None):
        """The job, until rounds can begin."""
        self.coordinator = Coordinator(self.told)
        return self._drive(self.coordinator.handle(Begin()), {}, silent or {})

    def round(self, figures, silent=None, asked=b""):
        """One round. ``figures``: pod to (rows, parts[, spoiled[, asked]]). ``silent``: pod to the class of message from
        which on it does not answer. A pod that refuses counts as lost; its error is in ``dropped``."""
        if self.coordinator is None:
            begun = self.begin()
            assert isinstance(begun, Ready), (begun, self.dropped)
        self.vectors = {}
        return self._drive(self.coordinator.handle(NextRound(asked)), figures, silent or {})

    def _drive(self, effects, figures, silent):
        gone = set()
        pending = list(effects)
        ends = []
        while pending:
            effect = pending.pop(0)
            if isinstance(effect, Opened | Restart | Ready):
                ends.append(effect)
            elif isinstance(effect, Dropped):
                self.dropped.append((effect.pod, effect.fault))
            else:
                assert isinstance(effect, Ask)
                pending += self._answer(effect, figures, silent, gone)
        assert len(ends) == 1
        return ends[0]

    def _answer(self, asked, figures, silent, gone):
        pod, message = asked.pod, asked.message
        if pod in gone or silent.get(pod) is type(message):
            gone.add(pod)
            return self.coordinator.handle(Lost(pod))
        brought = None
        if isinstance(message, SumShares):
            rows, parts, *more = figures[pod]
            spoiled, answered = (*more, *((), b"")[len(more) :])
            brought = Input(
                round=message.round, rows=rows, parts=parts, spoiled=spoiled, asked=answered
            )
        try:
            reply = self.ask(pod, message, brought)
        except Error as fault:
            self.dropped.append((pod, fault))
            return self.coordinator.handle(Lost(pod))
        self.replies.append(Replied(pod, reply))
        if brought is not None:
            self.vectors[pod] = reply.vector
        return self.coordinator.handle(Replied(pod, reply))

    # -- by hand -----------------------------------------------------------------------------------

    def meet(self):
        """Keys, to all pods; the keys."""
        keys = [self.ask(pod, SumStart(encode(self.told))).key for pod in self.names]
        for pod in self.names:
            self.ask(pod, SumKeys(self.job.digest, tuple(keys)))
        return tuple(keys)

    def deal(self, number=1, pods=None):
        return {pod: self.ask(pod, SumRound(self.job.digest, number)) for pod in pods or self.names}

    def shares(self, pod, deals, number=1):
        """What ``pod`` is to get of ``deals``."""
        boxes = []
        for dealer, deal in deals.items():
            if dealer != pod:
                others = [name for name in self.names if name != dealer]
                boxes.append(deal.shares[others.index(pod)])
        return SumShares(self.job.digest, number, tuple(deals), tuple(boxes))

    def mask(self, deals, figures=None, number=1, pods=None, asked=b""):
        """Masked vectors of ``pods``, all against the dealers of ``deals``."""
        figures = figures or self.some_figures()
        return {
            pod: self.ask(
                pod,
                self.shares(pod, deals, number),
                Input(round=number, rows=figures[pod][0], parts=figures[pod][1], asked=asked),
            )
            for pod in pods or sorted(deals)
        }

    def survivors(self, alive, missing=(), number=1):
        return SumSurvivors(self.job.digest, number, tuple(alive), tuple(missing))

    def agree(self, asked, pods):
        return {pod: self.ask(pod, asked).survivors for pod in pods}

    def unmask(self, lists, number=1):
        return SumUnmask(self.job.digest, number, tuple(lists.values()))

    def some_figures(self):
        """A different vector for each pod."""
        return {
            pod: (
                1000 + at,
                tuple(
                    [(at + 1) * 10**6 + cell for cell in range(part.cells)]
                    if part.fraction == 0
                    else [0.5 * at + cell for cell in range(part.cells)]
                    for part in self.told.parts
                ),
            )
            for at, pod in enumerate(self.names)
        }


def plain_sum(figures, pods, parts):
    """Rows and the sum of each cell in units of its part, by exact fractions."""
    totals = []
    for at, (cells, fraction) in enumerate(parts):
        totals.append(
            [
                sum(in_units(figures[pod][1][at][cell], fraction) for pod in pods)
                for cell in range(cells)
            ]
        )
    return sum(figures[pod][0] for pod in pods), totals


def in_units(figure, fraction):
    """Round half to even, as Python does for fractions."""
    return round(Fraction(figure) * 2**fraction)


def refused(code, work, *parts):
    """``work`` raises the error of ``code``, and says nothing of a number beyond small counts."""
    with pytest.raises(Error) as caught:
        work(*parts)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def how_uneven(sample):
    """Standard deviations by which the chi-square of the bytes of ``sample`` is off (255 degrees of
    freedom, Wilson and Hilferty's cube root): within 6 but for two samples of 10^9, if uniform."""
    counts = Counter(sample)
    expected = len(sample) / 256
    square = sum((counts[byte] - expected) ** 2 / expected for byte in range(256))
    width = 2 / (9 * 255)
    return ((square / 255) ** (1 / 3) - (1 - width)) / math.sqrt(width)


def looks_uniform(sample):
    assert len(sample) >= 256 * 5
    return abs(how_uneven(sample)) < 6
