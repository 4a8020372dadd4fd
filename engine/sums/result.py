"""An opened sum: figures of all survivors together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podsql.engine.sums.encoding import to_floats, to_integers
from podsql.engine.sums.job import Job
from podsql.engine.sums.words import Words
from podsql.errors import error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartSum:
    """The sums of one part's cells, in units of 2^-``fraction``."""

    cells: Words
    fraction: int

    def units(self) -> list[int]:
        """As integers, exactly: multiples of 2^-``fraction``."""
        return to_integers(self.cells)

    def floats(self) -> NDArray[np.float64]:
        """As doubles, each the nearest one to the exact sum."""
        return to_floats(self.cells, self.fraction)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sum:
    """The sum of one round over ``pods``; ``missing`` had begun it and are not in it."""

    round: int
    rows: int
    parts: tuple[PartSum, ...]
    pods: tuple[str, ...]
    missing: tuple[str, ...]


def read_sum(
    cells: Words, job: Job, number: int, *, pods: tuple[str, ...], missing: tuple[str, ...]
) -> Sum:
    """What unmasked ``cells`` say; BAD_RESULT if no honest pods can have brought them."""
    rows = to_integers(cells[:, :1])[0]
    if not 0 <= rows <= job.limit * len(pods):
        raise error("BAD_RESULT", "a sum counts an impossible number of rows")
    parts: list[PartSum] = []
    first = 1
    for part in job.parts:
        parts.append(PartSum(cells=cells[:, first : first + part.cells], fraction=part.fraction))
        first += part.cells
    return Sum(round=number, rows=rows, parts=tuple(parts), pods=pods, missing=missing)
