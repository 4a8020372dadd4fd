"""Doubles as pairs of whole cells, so that a sum of any size is exact and needs no scale.

A figure is a multiple of 2^-112: ``whole`` of ones and a ``rest`` of 0 to 2^112 - 1 of these. Cells of
128 bits then hold figures up to 2^127 over the number of pods, and each double of 2^-60 or more without
a bit lost; smaller ones are rounded to a multiple of 2^-112, ties to even.
Rule to keep: the sum of the cells is the sum of the figures, rounded once and at the end, so it is the
one that ``math.fsum`` gives over the figures of all pods in the clear.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Final

from podsql.errors import error

QUANTUM_BITS: Final = 112
"""A rest needs 112 bits, so up to 2^15 pods may add theirs in a cell of 128."""
CELLS: Final = 2
"""Of a figure."""
ONE: Final = 1 << QUANTUM_BITS


def to_cells(figures: Sequence[float]) -> list[int]:
    """All ``whole`` cells, then all ``rest``; DATA for what is no finite number."""
    pairs = [divmod(units_of(figure), ONE) for figure in figures]
    return [whole for whole, _ in pairs] + [rest for _, rest in pairs]


def from_cells(cells: Sequence[int]) -> list[float]:
    """The figures of added cells, each the nearest double (ties to even)."""
    half = len(cells) // CELLS
    pairs = zip(cells[:half], cells[half:], strict=True)
    return [(whole * ONE + rest) / ONE for whole, rest in pairs]


def units_of(figure: float | Fraction) -> int:
    """The nearest multiple of the quantum, in quanta; of a fraction that doubles make by adding and
    multiplying, so its denominator is a power of two. DATA for what is no finite number."""
    if isinstance(figure, float) and not isfinite(figure):
        raise error("DATA", "a figure of a sum is not a finite number")
    above, below = figure.as_integer_ratio()
    bits = below.bit_length() - 1
    if bits <= QUANTUM_BITS:
        return above << (QUANTUM_BITS - bits)
    half = 1 << (bits - QUANTUM_BITS - 1)
    floor, rest = divmod(above, 2 * half)
    return floor + (rest > half or (rest == half and floor & 1))
