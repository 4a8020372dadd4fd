"""The names of an analyst's own tables: ``x``, or ``scratch.x``; both are the same table."""

from collections.abc import Sequence
from typing import Final

SCRATCH: Final = "scratch"


def own_name(parts: Sequence[str]) -> str | None:
    """The name of a temporary table written as ``x`` or ``scratch.x``; None of any other."""
    if len(parts) == 2 and parts[0].lower() == SCRATCH:
        return parts[1]
    return parts[0] if len(parts) == 1 else None
