"""A secure sum of a million cells of 128 bits over ten pods: what it costs of a core at each end."""

import os
import time
from collections import defaultdict

import numpy as np

from benchmarks.rows import Row
from podsql.engine.sums.coordinator import Begin, Coordinator, Lost, NextRound, Replied
from podsql.engine.sums.effects import Ask, Dropped, Opened, Ready, Restart
from podsql.engine.sums.job import Terms
from podsql.engine.sums.pod import Compute, Reply, SumPod
from podsql.engine.sums.pod_round import Input
from podsql.relay.keys import signing_public
from podsql.sum_messages import SumJob, SumMember, SumOpening, SumPart

PODS = 10
CELLS = 1_000_000
ROUNDS = 3
ADD, OPEN, CHATTER = "add", "open", "chatter"


def run() -> list[Row]:
    """Processor time of this thread; the least of some rounds, since other work only adds."""
    federation = _Federation()
    whole = [federation.round(lost=()) for _ in range(ROUNDS)]
    short = [federation.round(lost=("pod3",)) for _ in range(ROUNDS)]
    mib = federation.coordinator.job.vector_bytes / 2**20
    name = f"secure sum of {CELLS:,} cells of 128 bits, {PODS} pods"
    return [
        _row(f"{name}: a pod masks", min(federation.maskings), 100),
        _row(f"{name}: opened", min(spent[ADD] + spent[OPEN] for spent in whole), 300),
        _row(f"{name}, 1 lost: opened", min(spent[ADD] + spent[OPEN] for spent in short), 300),
        _row("  a pod's other steps of a round", min(spent[CHATTER] / PODS for spent in whole)),
        Row(name="  upload of a pod", value=mib, unit="MiB"),
    ]


def _row(name: str, seconds: float, goal: float | None = None) -> Row:
    return Row(
        name=name, value=1000 * seconds, unit="ms", reference=goal, against="goal" if goal else ""
    )


class _Federation:
    """Ten pods and a coordinator in one process; messages are handed over as they are."""

    def __init__(self) -> None:
        seeds = {f"pod{at}": os.urandom(32) for at in range(PODS)}
        roster = {name: signing_public(seed) for name, seed in seeds.items()}
        job = SumJob(
            nonce=os.urandom(32),
            about=bytes(32),
            members=tuple(SumMember(name, key) for name, key in roster.items()),
            colluders=1,
            word=128,
            parts=(SumPart(CELLS, 0),),
            rounds=2 * ROUNDS,
        )
        self.coordinator = Coordinator(job)
        self._pods = {
            name: SumPod(name=name, seed=seed, terms=Terms(roster=roster))
            for name, seed in seeds.items()
        }
        draw = np.random.default_rng(0)
        self._figures = {name: draw.integers(-(2**50), 2**50, CELLS) for name in seeds}
        self._spent: dict[str, float] = {}
        self.maskings: list[float] = []
        assert isinstance(self._drive(Begin(), ()), Ready)

    def round(self, lost: tuple[str, ...]) -> dict[str, float]:
        """Seconds of each kind of work; ``lost`` pods send no vector. The sum is checked."""
        self._spent = defaultdict(float)
        end = self._drive(NextRound(), lost)
        assert isinstance(end, Opened)
        there = [self._figures[name] for name in self._pods if name not in lost]
        assert end.sum.parts[0].units() == sum(there).tolist()
        return self._spent

    def _drive(self, event: Begin | NextRound, lost: tuple[str, ...]) -> Ready | Opened | Restart:
        pending = self.coordinator.handle(event)
        while True:
            effect = pending.pop(0)
            if isinstance(effect, Ready | Opened | Restart):
                return effect
            assert not isinstance(effect, Dropped)
            pending += self._answered(effect, lost)

    def _answered(self, asked: Ask, lost: tuple[str, ...]) -> list[object]:
        began = time.thread_time()
        [effect] = self._pods[asked.pod].handle(asked.message)
        if isinstance(effect, Compute):
            self._note(CHATTER, began)
            if asked.pod in lost:
                return self.coordinator.handle(Lost(asked.pod))
            brought = Input(round=effect.round, rows=1, parts=(self._figures[asked.pod],))
            began = time.thread_time()
            [effect] = self._pods[asked.pod].handle(brought)
            self.maskings.append(time.thread_time() - began)
        else:
            self._note(CHATTER, began)
        assert isinstance(effect, Reply)
        began = time.thread_time()
        effects = self.coordinator.handle(Replied(asked.pod, effect.message))
        self._note(OPEN if isinstance(effect.message, SumOpening) else ADD, began)
        return effects

    def _note(self, kind: str, began: float) -> None:
        self._spent[kind] = self._spent.get(kind, 0) + time.thread_time() - began
