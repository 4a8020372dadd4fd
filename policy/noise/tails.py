"""Tails of the discrete Gaussian: thresholds for unknown keys, and widths of error bars.

Sums are taken from the far end inwards and rounded up, so a threshold never releases a single
unit's key with more than the probability it was asked for.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

_REACH: Final = 40
"""Standard deviations beyond which the tail is below 1e-300."""
_SAFETY: Final = 1 + 1e-9
_LARGE: Final = 2000
"""From this scale on the continuous tail at half a step less bounds the discrete one."""


def upper_tail(scale: Fraction, least: int) -> float:
    """An upper bound of P(Z >= least), Z discrete Gaussian of standard deviation ``scale``."""
    sigma = float(scale)
    if least <= -_REACH * sigma:
        return 1.0
    if sigma > _LARGE:
        return min(1.0, 0.5 * math.erfc((least - 1) / sigma / math.sqrt(2)) * _SAFETY)
    reach = math.ceil(_REACH * sigma) + 1
    tail = math.fsum(_weight(x, sigma) for x in range(reach, least - 1, -1))
    return min(1.0, tail / _total(sigma) * _SAFETY)


def threshold(scale: Fraction, delta: float, *, groups: int = 1) -> int:
    """Smallest t such that one unit's keys, of which it has ``groups``, show with at most ``delta``.

    A key of one unit has count 1, and shows if 1 + Z >= t.
    """
    if not 0 < delta < 1:
        raise ValueError("delta must lie between 0 and 1")
    low, high = 1, 2 + math.ceil(_REACH * float(scale))
    while low < high:
        middle = (low + high) // 2
        if groups * upper_tail(scale, middle - 1) <= delta:
            high = middle
        else:
            low = middle + 1
    return low


def half_width(scale: float, confidence: float = 0.95) -> float:
    """Half the width of the interval that holds the true value with ``confidence``.

    ``scale``: standard deviation of all noise in the value; normal approximation, exact to the
    step for scales of 2 and more.
    """
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if math.erf(middle / math.sqrt(2)) < confidence else (low, middle)
        )
    return scale * high


def _weight(x: int, sigma: float) -> float:
    return math.exp(-x * x / (2 * sigma * sigma))


@lru_cache(maxsize=256)
def _total(sigma: float) -> float:
    reach = math.ceil(_REACH * sigma) + 1
    return 1 + 2 * math.fsum(_weight(x, sigma) for x in range(reach, 0, -1))
