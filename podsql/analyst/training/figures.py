"""The sums of one round of an evaluation: of each pod, where these may be seen, and of all together.

Rule to keep: what one pod keeps is missing of all pods together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.rounds import Rounds, added
from podsql.engine.training.evaluating import Sums
from podsql.engine.training.fitting import Round
from podsql.errors import Error


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """``by_pod``: only of pods that release theirs; ``pooled``: None unless all do."""

    by_pod: Mapping[str, Sums] = field(default_factory=dict)
    pooled: Sums | None = None


def figures(asked: Rounds | MaskedRounds, wanted: Round) -> tuple[Mapping[str, Sums], Sums]:
    """Of each pod (of none, under masks), and of all; WITHHELD where a pod keeps its own."""
    if isinstance(asked, MaskedRounds):
        return {}, asked.sums(wanted)
    found = asked.by_pod(wanted)
    return found, added(found)


def allowed_figures(asked: Rounds | MaskedRounds, wanted: Round) -> Figures:
    """What is released of a round; nothing, where a policy knows no such release, and under masks.

    Such counts a pod may join with others, which nobody could tell from the sum of all pods.
    """
    if isinstance(asked, MaskedRounds):
        return Figures()
    try:
        found = asked.where_released(wanted)
    except Error as fault:
        if fault.code != "DENIED":
            raise
        return Figures()
    released = {pod: sums for pod, sums in found.items() if sums is not None}
    return Figures(
        by_pod=released, pooled=added(released) if released.keys() == found.keys() else None
    )
