"""What a round of a model is as SQL, and the words that all families write it with.

Rule to keep: SQL is made of the family, the number of columns and finite numbers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podsql.errors import error
from podsql.planner.fragment import ModelStep

MOST_ETA: Final = 30.0
"""Linear predictors of a link that is not the identity are cut to this, either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What stands before columns of the design in the sums of a round.

    The state chooses it, and so the analyst: whoever has next to no weight is next to not there.
    """

    sql: str
    """Per row, not negative."""
    pairs: bool = False
    """Before products of two columns too, not before single ones alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A round over a relation of complete rows."""

    relation: str
    """SELECT of the rows with what ``sums`` and ``weights`` name."""
    sums: tuple[tuple[str, str], ...]
    """Name and aggregate of every output, DOUBLE, after ``n``."""
    weights: tuple[Weight, ...] = ()
    """All but those that no number of the state is in."""
    group: str = "0"
    """Of a row: which of ``groups`` of sums it adds to, counted from 0."""
    groups: int = 1
    alone: tuple[str, ...] = ()
    """Per row: what is summed as it is, without a column of the design, and a state is in."""
    mass: str = "1"
    """Per row, 0 to about 1: how much it may move the sums. Their sum is a number of rows."""
    valid: str = "true"
    """What every row must be for the family."""
    bins: int = 0
    """The relation has ``bin``, 0 to so many less one, and ``y``, 0 or 1. The sums are over one row of the
    lists ``ns`` and ``ps``: of each bin, how many rows have y = 0 and y = 1; -1: they are counted with
    those above."""
    half: int = 0
    """Bins below this one are not counted with others from it on, where that can be helped."""


def design(step: ModelStep) -> list[str]:
    """``a0``, ``a1``, … over the columns of complete rows."""
    found = ["1.0::DOUBLE"]
    for place in range(len(step.features)):
        if step.centre:
            centre, scale = number(step.centre[place]), number(step.scale[place])
            found.append(f"(x{place} - {centre}) / {scale}")
        else:
            found.append(f"x{place}")
    return found


def placed(step: ModelStep) -> str:
    """The columns ``a0``, ``a1``, … of a SELECT list."""
    return ", ".join(f"{one} AS a{place}" for place, one in enumerate(design(step)))


def number(value: float) -> str:
    """A finite number as a DOUBLE of DuckDB, to the last bit."""
    return f"({float(value)!r}::DOUBLE)"


def predictor(state: Sequence[float], first: int = 0) -> str:
    """The linear predictor over ``a{first}``, …: one of these for each number of the state."""
    return " + ".join(f"{number(one)} * a{place}" for place, one in enumerate(state, first))


def cut(eta: str) -> str:
    """A linear predictor within ``MOST_ETA``."""
    return f"least(greatest({eta}, {-MOST_ETA}), {MOST_ETA})"


def wrong_state(text: str) -> Exception:
    """MODEL_STATE: numbers that cannot be those of a round."""
    return error("MODEL_STATE", f"the state of a model's round cannot be used: {text}")
