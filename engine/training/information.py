"""Information matrices: read from sums, checked for rank, inverted, brought to the raw scale.

Rule to keep: a matrix is scaled to a diagonal of ones before anything is decided on it, so that no
unit of a feature decides.
"""

import numpy as np
from numpy.typing import NDArray

from podsql.engine.training.fitting import Sums
from podsql.engine.training.moments import listed, not_finite
from podsql.errors import error

Array = NDArray[np.float64]

LEAST_PIVOT = 1e-9
"""A column whose part that the others do not explain has less than this share of its variance is
collinear: sums of products have about 13 digits, so no standard error would have more than four."""
_ROUNDING = 1e-13


def square(sums: Sums, size: int, first: int = 0) -> Array:
    """The symmetric matrix of ``h{i}_{j}``; DATA where one is not finite."""
    found = np.empty((size, size))
    for i in range(size):
        for j in range(i, size):
            found[i, j] = found[j, i] = sums[f"h{first + i}_{first + j}"]
    if not np.all(np.isfinite(found)):
        raise not_finite()
    return found


def refuse_collinear(matrix: Array, names: tuple[str, ...]) -> None:
    """COLLINEAR naming the columns of a matrix of full diagonal that depend on one another.

    Cholesky with pivots; the first column, which is the constant of most models, is kept first.
    """
    scaled, _ = _scaled(matrix)
    if _least_pivot(scaled) > LEAST_PIVOT:
        return
    chosen, left = _pivots(scaled)
    if not left:
        return
    kept = np.array(chosen)
    found = []
    for place in left[:3]:
        part, *_ = np.linalg.lstsq(scaled[np.ix_(kept, kept)], scaled[kept, place], rcond=None)
        others = kept[np.abs(part) > 1e-6].tolist()
        found.append(listed([names[place], *(names[one] for one in sorted(others))]))
    more = f"; {len(left) - 3} more columns as well" if len(left) > 3 else ""
    raise error(
        "COLLINEAR",
        f"columns depend on one another: {'; '.join(found)}{more}",
        hint=f"leave out {listed([names[place] for place in left])}, or give a penalty (l2)",
    )


def inverse(matrix: Array) -> Array | None:
    """The inverse of a symmetric matrix; None where it is not positive beyond rounding."""
    if not np.all(np.isfinite(matrix)) or np.any(np.diag(matrix) <= 0):
        return None
    scaled, unit = _scaled(matrix)
    if _least_pivot(scaled) <= _ROUNDING:
        return None
    found = np.asarray(np.linalg.inv(scaled), dtype=np.float64)
    return (found + found.T) / 2 / np.outer(unit, unit)


def to_raw(centre: Array, scale: Array) -> Array:
    """The linear map from coefficients of (1, (x - centre) / scale) to those of (1, x)."""
    size = len(centre) + 1
    found = np.eye(size)
    found[0, 1:] = -centre / scale
    found[1:, 1:] = np.diag(1 / scale)
    return found


def from_raw(centre: Array, scale: Array) -> Array:
    """The inverse of ``to_raw``."""
    size = len(centre) + 1
    found = np.eye(size)
    found[0, 1:] = centre
    found[1:, 1:] = np.diag(scale)
    return found


def _scaled(matrix: Array) -> tuple[Array, Array]:
    unit = np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float64).tiny))
    return matrix / np.outer(unit, unit), unit


def _least_pivot(scaled: Array) -> float:
    """Of the columns in their own order; 0 where the matrix is not positive."""
    try:
        return float(np.min(np.diag(np.linalg.cholesky(scaled))) ** 2)
    except np.linalg.LinAlgError:
        return 0.0


def _pivots(scaled: Array) -> tuple[list[int], list[int]]:
    """Columns in the order in which they were chosen, and those that add nothing to them."""
    size = len(scaled)
    rest, order = np.diag(scaled).copy(), np.empty((size, size))
    chosen: list[int] = []
    for step in range(size):
        best = 0 if step == 0 else int(np.argmax(rest))
        if rest[best] <= LEAST_PIVOT:
            break
        row = (scaled[best] - order[:step].T @ order[:step, best]) / np.sqrt(rest[best])
        order[step] = row
        rest = rest - row**2
        rest[best] = -np.inf
        chosen.append(best)
    return chosen, sorted(set(range(size)) - set(chosen))
