"""Rounds that outlast lost pods, a lost relay and pods that restart.

A call goes out again by itself as soon as its pod is reachable; what is done here is to ask again, under
new request ids, when a round has ended without its sums. Rule to keep: a round is asked of all its
pods again, or given up by its deadline; nobody waits by asking again and again.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement, missing_pods
from podsql.analyst.training.fitting import SETTINGS
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.network_rounds import NetworkRounds
from podsql.analyst.training.rounds import Rounds
from podsql.engine.training.fitting import Round
from podsql.errors import Error, error
from podsql.planner.closing import Value
from podsql.planner.training.orders import options_of

PASSING: Final = frozenset(
    {
        "POD_LOST",
        "POD_FAILED",
        "PODS_MISSING",
        "TIMEOUT",
        "PAUSED",
        "BUSY",
        "STALE_OFFER",
        "EXPIRED_RESULT",
        "RELAY_UNREACHABLE",
        "POLICY_UNAVAILABLE",
        "SUM_RESTART",
    }
)
"""Codes that another time may not have."""
ROUND_SECONDS: Final = 60.0
FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 5.0


class Hears(Protocol):
    """Who is told that a job waits, and that it goes on."""

    def waiting(self, fault: Error, pods: Collection[str] = ()) -> None:
        """A round has no sums yet, because of ``fault``, or of ``pods``."""
        ...

    def back(self) -> None:
        """It is asked again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``round_seconds`` for each round with all its waits; ``until`` on the monotonic clock."""

    round_seconds: float
    until: float
    min_pods: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Value], timeout: float) -> "Limits":
        """From the closing WITH; ``timeout``: of the connection, which a round has at least."""
        whole = options_of(settings, SETTINGS).timeout
        rounds = settings.get("round_timeout", max(timeout, ROUND_SECONDS))
        if isinstance(rounds, bool) or not isinstance(rounds, int | float) or not 0 < rounds < inf:
            raise error("OPTION", "option 'round_timeout' takes seconds, more than 0")
        least = settings.get("min_pods")
        if least is not None and (type(least) is not int or least < 1):
            raise error("OPTION", "option 'min_pods' takes a number of pods, at least 1")
        return cls(
            round_seconds=float(rounds),
            until=inf if whole is None else time.monotonic() + whole,
            min_pods=least,
        )

    def deadline(self) -> float:
        """Of a round that begins now; TIMEOUT if no time is left for one."""
        now = time.monotonic()
        if now >= self.until:
            raise error("TIMEOUT", "the model was not trained in the given time")
        return min(now + self.round_seconds, self.until)


class LastingRounds:
    """``Rounds`` that are asked until they are answered, or their time is over."""

    def __init__(
        self,
        rounds: Rounds | MaskedRounds | NetworkRounds,
        statement: Statement,
        limits: Limits,
        hears: Hears,
        require_same: Callable[[Bound], None],
    ) -> None:
        """``require_same``: an error if the design is another one over these offers."""
        self._rounds = rounds
        self._statement = statement
        self._limits = limits
        self._hears = hears
        self._require_same = require_same

    @property
    def versions(self) -> dict[str, str]:
        """Data version of each pod, of the first round."""
        return self._rounds.versions

    def sums(self, asked: Round, *, references: bool = False) -> dict[str, float]:
        """As ``Rounds.sums``."""
        deadline = self._limits.deadline()
        waits = Waits(self._statement, deadline)
        rounds = self._rounds
        while True:
            try:
                waits.require_wanted()
                rounds.seconds = max(0.1, deadline - time.monotonic())
                return rounds.sums(asked, references=references)
            except Error as fault:
                waits.require_wanted()
                if fault.code not in PASSING or time.monotonic() >= deadline:
                    raise
                self._hears.waiting(fault)
            waits.pause()
            pods = rounds.pods
            bound = bind(self._statement, waits, self._hears, fresh=True, needed=pods)
            require_all(bound, pods)
            self._require_same(bound)
            rounds.bound = bound
            self._hears.back()


class Waits:
    """Growing pauses up to a deadline, which a cancelled statement ends at once."""

    def __init__(self, statement: Statement, deadline: float) -> None:
        self.deadline = deadline
        self._statement = statement
        self._next = FIRST_PAUSE
        self._ended: SimpleQueue[None] = SimpleQueue()

    def require_wanted(self) -> None:
        """CANCELLED once the statement is cancelled."""
        if self._statement.cancelled:
            raise error("CANCELLED", "the statement was cancelled")

    def pause(self) -> None:
        """Wait a while, longer each time."""
        seconds = min(self._next, max(0.0, self.deadline - time.monotonic()))
        self._next = min(2 * self._next, LAST_PAUSE)
        self._statement.on_cancel = lambda: self._ended.put(None)
        self.require_wanted()
        try:
            self._ended.get(timeout=seconds)
        except Empty:
            return
        self.require_wanted()


def bind(
    statement: Statement,
    waits: Waits,
    hears: Hears,
    *,
    fresh: bool = False,
    needed: Collection[str] | None = None,
) -> Bound:
    """Offers of all pods, or of ``needed``; waits for those that are missing until the deadline.

    Who is missing then is in ``Bound.missing``."""
    federation = statement.federation
    while True:
        waits.require_wanted()
        if fresh:
            statement.forget_offers()
        bound = federation.bind(statement.purpose, statement.project, deadline=waits.deadline)
        missing = _of(bound.missing, needed)
        lasting = {name: one for name, one in missing.items() if one.code not in PASSING}
        if not missing or lasting or time.monotonic() >= waits.deadline:
            return bound
        hears.waiting(missing[min(missing)], sorted(missing))
        waits.pause()
        fresh = True


def require_all(bound: Bound, needed: Collection[str] | None) -> None:
    """PODS_MISSING if one of them made no offer."""
    missing = _of(bound.missing, needed)
    if missing:
        raise missing_pods(missing)


def _of(missing: Mapping[str, Error], needed: Collection[str] | None) -> dict[str, Error]:
    return {name: one for name, one in missing.items() if needed is None or name in needed}
