"""What a statement says of secure sums: ``WITH (secure_aggregation = true, colluders = c)``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from podsql.errors import error

LEAST: Final = 3
"""A sum of fewer pods is never opened: of two, each would know the other's figures."""
MASKED_SETTINGS: Final = frozenset({"secure_aggregation", "colluders"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """``colluders``: pods that may be in league with whoever adds the sums."""

    colluders: int


def require_one_request(requests: int) -> None:
    """NOT_SUPPORTED where pods lack columns and are asked for NULL instead: under masks, all are asked
    the same, or those asked for less would leave the others' figures bare."""
    if requests > 1:
        raise error(
            "NOT_SUPPORTED",
            "not under masks: columns that some of the pods lack",
            hint="leave out the columns, or the pods: WITH (pods = …)",
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
