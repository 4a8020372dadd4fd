"""What a statement says of secure sums: ``WITH (secure_aggregation = true, colluders = c)``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from podsql.errors import error

LEAST: Final = 3
"""A sum of fewer pods is never opened: of two, each would know the other's figures."""
LEAST_UNITS: Final = 3
"""Thresholds on totals (``sdc_merged``) are no lower: so groups are fewer than a third of their people."""
TOTAL_ROUNDS: Final = 3
"""Of a sum with such thresholds: new cells and their differences; the shown groups together; the figures."""
MOST_CELLS: Final = 128
"""Figures of one such statement, over all its groups."""
MASKED_SETTINGS: Final = frozenset({"secure_aggregation", "colluders"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """``colluders``: pods that may be in league with whoever adds the sums."""

    colluders: int


def require_one_request(asked: Sequence[Sequence[str]]) -> None:
    """NOT_SUPPORTED where pods lack columns and are asked for NULL instead: pods add what one request asks
    for, or nobody could say that it is not one pod's. ``asked``: the pods of each request."""
    first, *others = asked
    if others:
        unlike = ", ".join(sorted(pod for pods in others for pod in pods))
        raise error(
            "NOT_SUPPORTED",
            f"{unlike}: other columns than {', '.join(first)}, and under masks no pod may lack one",
            hint="take columns that all pods have, or leave pods out: WITH (pods = …)",
        )


def masking_of(settings: Mapping[str, object]) -> Masking | None:
    """What ``settings`` say of masks, None for a statement without; OPTION if it is odd."""
    wanted = settings.get("secure_aggregation", False)
    if not isinstance(wanted, bool):
        raise error("OPTION", "option 'secure_aggregation' takes true or false")
    colluders = settings.get("colluders", 1)
    if "colluders" in settings and not wanted:
        raise error("OPTION", "option 'colluders' goes with secure_aggregation = true")
    if isinstance(colluders, bool) or not isinstance(colluders, int) or colluders < 1:
        raise error("OPTION", "option 'colluders' takes a whole number, 1 or more")
    return Masking(colluders=colluders) if wanted else None
