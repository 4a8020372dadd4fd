"""What every statement that asks rounds of a model begins with, and what its rows must be like.

Rule to keep: rows without a value are an error unless the statement says to drop them, and every row is of a
declared level of each category: an unknown one would pass for the first.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement, missing_pods
from podsql.analyst.training.rounds import Asked
from podsql.engine.training.fitting import Round
from podsql.errors import error
from podsql.planner.closing import Value
from podsql.planner.masking import MASKED_SETTINGS
from podsql.planner.training.designing import Design
from podsql.planner.training.orders import options_of

SETTINGS: Final = frozenset({"missing", "part", *MASKED_SETTINGS})
"""What the closing WITH takes beside what every statement does."""
ROUND_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The offers, the pods that were named, whether rows without a value are dropped, and seconds a
    round."""

    bound: Bound
    pods: tuple[str, ...] | None
    drops: bool
    seconds: float


def terms_of(
    settings: Mapping[str, Value], statement: Statement, known: frozenset[str] = SETTINGS
) -> Terms:
    """Bind the statement; asks pods only for offers. ``known``: settings beside what all take."""
    options = options_of(settings, known)
    drops = drops_of(settings)
    statement.purpose = options.purpose or statement.purpose
    seconds = options.timeout or max(statement.timeout, ROUND_SECONDS)
    bound = offers_of(statement, options.pods, seconds)
    return Terms(bound=bound, pods=options.pods, drops=drops, seconds=seconds)


def offers_of(statement: Statement, pods: tuple[str, ...] | None, seconds: float) -> Bound:
    """Bind the statement, which ends in ``seconds``; PODS_MISSING where one that may be meant is not there."""
    statement.deadline = time.monotonic() + seconds
    bound = statement.federation.bind(
        statement.purpose, statement.project, deadline=statement.deadline
    )
    if bound.missing and pods is None:
        raise missing_pods(bound.missing)
    return bound


def drops_of(settings: Mapping[str, Value]) -> bool:
    """Whether rows without a value are dropped: ``WITH (missing = 'drop')``."""
    missing = settings.get("missing", "refuse")
    if missing not in ("refuse", "drop"):
        raise error("OPTION", "option 'missing' takes 'refuse' or 'drop'")
    return missing == "drop"


def require_values(sums: Mapping[str, float], *, drops: bool) -> None:
    """DATA where rows lack a value, unless they are to be dropped."""
    if sums["dropped"] and not drops:
        raise error(
            "DATA",
            f"{int(sums['dropped'])} of {int(sums['n'] + sums['dropped'])} rows have a column "
            "without a value",
            hint="WITH (missing = 'drop') trains without them; or choose rows, or coalesce",
        )


def require_domain(asked: Asked, design: Design) -> None:
    """Every row is of one declared level of each category: an unknown one would pass for the first."""
    sums = asked.sums(Round(family="moments"), references=True)
    levels = [one for one in design.listed if one.level is not None]
    counts: dict[str, float] = {}
    for place, one in enumerate(levels):
        counts[one.of] = counts.get(one.of, 0.0) + sums[f"s{place}"]
    for name, count in counts.items():
        if count != sums["n"]:
            raise error(
                "DATA",
                f"column {name!r} holds values that are not declared",
                hint="the custodians must declare them; or choose rows with WHERE",
            )
