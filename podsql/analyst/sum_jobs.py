"""One statement's jobs of secure sums: what each is told, and who leads it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from podsql.analyst.federation import Bound
from podsql.analyst.leading import Leader
from podsql.planner.masking import Masking
from podsql.sum_messages import SumJob, SumMember, SumPart

if TYPE_CHECKING:
    from podsql.analyst.statement import Statement

WORD: Final = 128
STEP: Final = 0.25
"""Of the time that there is: what a step of the protocol may take in which pods do not read their rows."""


def lead(
    statement: "Statement",
    bound: Bound,
    masking: Masking,
    *,
    pods: Sequence[str],
    about: bytes,
    cells: int,
    rounds: int,
    seconds: float,
    units: int = 0,
) -> Leader:
    """The leader of a new job over ``pods``, which know each other by now. ``cells``: of integers,
    beside the number of rows. ``seconds``: what a round may take.
    ``units``: how many people are behind each cell that pods let out by their total."""
    told = SumJob(
        nonce=os.urandom(32),
        about=about,
        members=tuple(SumMember(pod, bound.cards[pod].identity) for pod in pods),
        colluders=masking.colluders,
        word=WORD,
        parts=(SumPart(cells, 0),),
        rounds=rounds,
        units=units,
    )
    leader = Leader(statement.federation.endpoint, bound.cards, told, seconds=STEP * seconds)
    statement.on_cancel = leader.stop
    if statement.cancelled:
        leader.stop()
    leader.begin(statement.deadline)
    return leader
