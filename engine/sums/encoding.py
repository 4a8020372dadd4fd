"""Figures as cells of a sum: integers exactly, floats to the nearest multiple of a quantum.

Rule to keep: a figure that a sum of all pods' might not hold is refused at the pod, by the number
of its cell and never by its value.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from podsql.engine.sums.words import Words
from podsql.errors import Error, error

Figures: TypeAlias = (
    Sequence[int] | Sequence[float] | NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
)
_FULL: Final = 2**64 - 1


def limit_of(word: int, pods: int) -> int:
    """The largest magnitude that one pod may bring, so that no sum of ``pods`` overflows."""
    return ((1 << (word - 1)) - 1) // pods


def put_integers(cells: Words, figures: Figures, *, limit: int, first: int) -> None:
    """Write integers of magnitude up to ``limit`` into ``cells`` (zero as yet); ``first`` is the first's number.

    DATA if one is no integer, OVERFLOW if one is out of range.
    """
    if not isinstance(figures, np.ndarray):
        cells[:] = _from_python(figures, len(cells), limit, first)
        return
    if figures.dtype.kind not in "iu":
        raise _wrong_kind(first, "an integer")
    # Least and greatest first: a million comparisons with a limit of 127 bits are slow.
    if len(figures) and not -limit <= int(figures.min()) <= int(figures.max()) <= limit:
        _require_in_range((figures > limit) | (figures < -limit), first)
    if figures.dtype.kind == "u":
        cells[0] = figures
        return
    cells[0] = figures.astype(np.int64, copy=False).view(np.uint64)
    if len(cells) == 2:
        np.right_shift(cells[0].view(np.int64), 63, out=cells[1].view(np.int64))


def put_floats(cells: Words, figures: Figures, *, fraction: int, limit: int, first: int) -> None:
    """Write floats, rounded to multiples of 2^-``fraction`` (ties to even), into ``cells``.

    DATA if one is no float, NaN or infinite; OVERFLOW if one is out of range.
    """
    floats = _as_floats(figures, first)
    _require(np.isfinite(floats), first, "DATA", "is not a finite number")
    with np.errstate(over="ignore"):
        scaled = np.rint(np.ldexp(floats, fraction))
    size = np.abs(scaled)
    _require_in_range(size > _float_below(limit), first)
    # Doubles from 2^53 on are integers: what is split off here is exact.
    high = np.floor(np.ldexp(size, -64))
    cells[0] = (size - np.ldexp(high, 64)).astype(np.uint64)
    if len(cells) == 2:
        cells[1] = high.astype(np.uint64)
    _negate(cells, scaled < 0)


def to_integers(cells: Words) -> list[int]:
    """The cells as signed integers, exactly."""
    if len(cells) == 1:
        return [int(cell) for cell in cells[0].view(np.int64).tolist()]
    pairs = zip(cells[0].tolist(), cells[1].view(np.int64).tolist(), strict=True)
    return [(high << 64) + low for low, high in pairs]


def to_floats(cells: Words, fraction: int) -> NDArray[np.float64]:
    """The cells times 2^-``fraction``, each rounded once to the nearest double (ties to even)."""
    negative = cells[-1].view(np.int64) < 0
    size = cells.copy()
    _negate(size, negative)
    magnitude = size[0].astype(np.float64)
    if len(cells) == 2:
        magnitude = np.where(size[1] == 0, magnitude, _wide_floats(size[0], size[1]))
    signed: NDArray[np.float64] = np.where(negative, -magnitude, magnitude)
    return np.ldexp(signed, -fraction)


def _wide_floats(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.float64]:
    """``high`` * 2^64 + ``low``, for positive ``high``, rounded once.

    The leading 64 bits (or 63) are taken, and their last is set if any of the rest was: a double
    has 53, so rounding these gives what rounding all would.
    """
    bits = np.frexp(high.astype(np.float64))[1].astype(np.uint64)
    shift = np.minimum(np.uint64(64) - np.minimum(bits, np.uint64(64)), np.uint64(63))
    # Twice, because a shift by 64 is undefined.
    tail = (low >> np.uint64(1)) >> (np.uint64(63) - shift)
    leading = (high << shift) | tail
    rest = (low << shift) != 0
    leading |= rest.astype(np.uint64)
    return np.ldexp(leading.astype(np.float64), (64 - shift.astype(np.int64)).astype(np.int32))


def _negate(cells: Words, where: NDArray[np.bool_]) -> None:
    """Two's complement of the cells ``where``."""
    flip = np.where(where, np.uint64(_FULL), np.uint64(0))
    cells ^= flip
    cells[0] += where
    if len(cells) == 2:
        cells[1] += where & (cells[0] == 0)


def _from_python(figures: Sequence[float], lanes: int, limit: int, first: int) -> Words:
    """Python's integers, of any size up to ``limit``."""
    whole = bytearray()
    for at, figure in enumerate(figures, first):
        # bool is an int to Python; what is not exactly an int is somebody's mistake.
        if type(figure) is not int:
            raise _wrong_kind(at, "an integer")
        if not -limit <= figure <= limit:
            raise _out_of_range(at)
        whole += figure.to_bytes(8 * lanes, "little", signed=True)
    return np.frombuffer(whole, dtype="<u8").reshape(-1, lanes).T


def _as_floats(figures: Figures, first: int) -> NDArray[np.float64]:
    if isinstance(figures, np.ndarray):
        # A long double would be rounded twice.
        if figures.dtype.kind != "f" or figures.dtype.itemsize > 8:
            raise _wrong_kind(first, "a double")
        return figures.astype(np.float64, copy=False)
    for at, figure in enumerate(figures, first):
        if type(figure) is not float:
            raise _wrong_kind(at, "a double")
    return np.array(figures, dtype=np.float64)


def _float_below(limit: int) -> float:
    """The largest double that is not above ``limit``."""
    near = float(limit)
    return near if int(near) <= limit else float(np.nextafter(near, 0))


def _require_in_range(beyond: NDArray[np.bool_], first: int) -> None:
    if beyond.any():
        raise _out_of_range(first + int(beyond.argmax()))


def _require(good: NDArray[np.bool_], first: int, code: str, what: str) -> None:
    if not good.all():
        raise error(code, f"cell {first + int(good.argmin())} of the sum {what}")


def _out_of_range(cell: int) -> Error:
    return error(
        "OVERFLOW",
        f"cell {cell} of the sum is out of range",
        hint="a wider word, a coarser quantum or clipped figures make room",
    )


def _wrong_kind(cell: int, wanted: str) -> Error:
    return error("DATA", f"cell {cell} of the sum is not {wanted}")
