"""What a noisy release costs, and when a sum of costs still fits a budget. Exact integers.

A cost is a vector of Rényi divergences at twelve fixed orders, so that SQL (zCDP) and training
(subsampled Gaussian) share one budget. A budget (epsilon, delta) is turned into one cap per order;
a sum of costs fits while some order stays under its cap (Rényi filter: Feldman & Zrnic 2021;
Lécuyer 2021). Rule to keep: costs round up, caps round down.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

ORDERS: Final = (1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Rényi orders."""
NANO: Final = 10**9
"""Units of a cost."""
DELTA_UNITS: Final = 10**18
_SLACK: Final = 1e-9
"""Of the float logarithms below: far above their error, far below anything that matters."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``renyi`` in nano-units, one per order; ``delta`` in units of 1e-18."""

    renyi: tuple[int, ...]
    delta: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        summed = tuple(a + b for a, b in zip(self.renyi, other.renyi, strict=True))
        return Cost(summed, self.delta + other.delta)


NOTHING: Final = Cost((0,) * len(ORDERS))


@dataclass(frozen=True, slots=True)
class Cap:
    """Most that may be spent: per order (0: that order cannot vouch), and of delta."""

    renyi: tuple[int, ...]
    delta: int

    def admits(self, spent: Cost) -> bool:
        """Whether ``spent`` still satisfies the budget this cap was made of."""
        if spent.delta > self.delta:
            return False
        return any(s <= c for s, c in zip(spent.renyi, self.renyi, strict=True) if c > 0)

    def fits(self, spent: Cost, each: Cost) -> int:
        """How many more releases of cost ``each`` it admits after ``spent``."""
        by_delta = (self.delta - spent.delta) // each.delta if each.delta else None
        orders = [
            (c - s) // e
            for c, s, e in zip(self.renyi, spent.renyi, each.renyi, strict=True)
            if c > 0 and e > 0
        ]
        found = max(orders, default=0)
        return max(0, found if by_delta is None else min(found, by_delta))


def zcdp_cost(rho: Fraction, delta: Fraction = Fraction(0)) -> Cost:
    """Of a release that is ``rho``-zCDP (Bun & Steinke 2016): rho·alpha at every order."""
    renyi = tuple(math.ceil(rho * Fraction(order) * NANO) for order in ORDERS)
    return Cost(renyi, math.ceil(delta * DELTA_UNITS))


def cap_of(epsilon: float, delta: float) -> Cap:
    """The caps of a budget. Half of ``delta`` converts, half pays for the deltas of thresholds."""
    renyi = tuple(
        max(0, math.floor((epsilon - _overhead(o, delta / 2) - _SLACK) * NANO)) for o in ORDERS
    )
    return Cap(renyi, math.floor(Fraction(delta) / 2 * DELTA_UNITS))


def epsilon_of(cost: Cost, delta: float) -> float:
    """Smallest epsilon that ``cost`` satisfies at ``delta`` by the same accounting."""
    if cost == NOTHING:
        return 0.0
    if cost.delta > Fraction(delta) / 2 * DELTA_UNITS:
        return math.inf
    return max(
        0.0,
        min(
            spent / NANO + _overhead(order, delta / 2) + _SLACK
            for order, spent in zip(ORDERS, cost.renyi, strict=True)
        ),
    )


def rho_for(epsilon: float, delta: float) -> Fraction:
    """The largest rho (to 1e-9, rounded down) that one budget (epsilon, delta) admits."""
    cap = cap_of(epsilon, delta)
    low, high = 0, NANO * 64
    while low < high:
        middle = (low + high + 1) // 2
        if cap.admits(zcdp_cost(Fraction(middle, NANO))):
            low = middle
        else:
            high = middle - 1
    return Fraction(low, NANO)


def _overhead(order: float, delta: float) -> float:
    """epsilon less the divergence (Canonne, Kamath & Steinke 2020, Proposition 12)."""
    return math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
