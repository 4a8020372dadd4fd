"""What the coordinator of a secure sum is to do, and how its rounds end."""

from dataclasses import dataclass

from podsql.engine.sums.result import Sum
from podsql.errors import Error
from podsql.message import Message


@dataclass(frozen=True, slots=True)
class Ask:
    """Send ``message`` to ``pod``; then its answer, or ``Lost``."""

    pod: str
    message: Message


@dataclass(frozen=True, slots=True)
class Dropped:
    """What ``pod`` answered is not acceptable: it counts as lost."""

    pod: str
    fault: Error


@dataclass(frozen=True, slots=True)
class Opened:
    """The round is over."""

    sum: Sum


@dataclass(frozen=True, slots=True)
class Restart:
    """The round, or the job before its first one, is over and nothing was opened.

    SUM_RESTART: too few pods stayed. Another code: what they showed does not fit.
    """

    fault: Error


@dataclass(frozen=True, slots=True)
class Ready:
    """The pods know each other: rounds may begin. Who is missing now may be back for one."""


RoundEffect = Ask | Dropped | Opened | Restart
Effect = RoundEffect | Ready
