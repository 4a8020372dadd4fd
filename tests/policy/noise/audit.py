"""An empirical privacy audit: can released integers tell two neighbouring tables apart?

Half of the draws choose the most telling event, the other half measure it; Clopper-Pearson bounds
at 99.9 % (Jagielski et al. 2020; Nasr et al. 2021). The result is a lower bound of epsilon.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

Draw = Callable[[], object]
CONFIDENCE = 0.999


def epsilon_floor(one: Sequence[object], other: Sequence[object], delta: float = 0.0) -> float:
    """Largest epsilon that the draws prove the mechanism to exceed."""
    found = 0.0
    for a, b in ((one, other), (other, one)):
        half = len(a) // 2
        event = _telling(a[:half], b[:half])
        hits = sum(map(event, a[half:]))
        misses = sum(map(event, b[half:]))
        low = _lower(hits, len(a) - half)
        high = _upper(misses, len(b) - half)
        if low - delta > 0 and high > 0:
            found = max(found, math.log((low - delta) / high))
    return found


def _telling(a: Sequence[object], b: Sequence[object]) -> Callable[[object], bool]:
    """The single outcome or tail that proves most on these draws."""
    counts_a, counts_b = Counter(a), Counter(b)
    events: list[tuple[float, Callable[[object], bool]]] = []

    def consider(in_a: int, in_b: int, event: Callable[[object], bool]) -> None:
        if in_a >= 20:
            events.append((math.log(_lower(in_a, len(a)) / _upper(in_b, len(b))), event))

    for value, seen in counts_a.most_common(3):
        consider(seen, counts_b[value], lambda found, v=value: found == v)
    if isinstance(a[0], int) and not isinstance(a[0], bool):
        values = sorted({*counts_a, *counts_b})
        step = max(1, len(values) // 100)
        for above in (True, False):
            tail_a = tail_b = 0
            for place, value in enumerate(reversed(values) if above else values):
                tail_a += counts_a[value]
                tail_b += counts_b[value]
                if place % step == 0 and tail_a < len(a) * 0.7:
                    consider(tail_a, tail_b, _tail(value, above))
    return max(events, key=lambda one: one[0], default=(0.0, lambda found: False))[1]


def _tail(edge: object, above: bool) -> Callable[[object], bool]:
    return (lambda found: found >= edge) if above else (lambda found: found <= edge)


def _upper(hits: int, draws: int) -> float:
    return _solve(lambda p: _at_most(hits, draws, p), 1 - CONFIDENCE)


def _lower(hits: int, draws: int) -> float:
    return 1 - _upper(draws - hits, draws)


def _solve(falling: Callable[[float], float], level: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return high


def _at_most(hits: int, draws: int, p: float) -> float:
    """P(Binomial(draws, p) <= hits), by the tail without the mean, each term from its neighbour."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if hits >= draws else 0.0
    below = hits <= draws * p
    k = hits if below else hits + 1
    odds = p / (1 - p)
    term = _chance(k, draws, p) if k <= draws else 0.0
    mass = 0.0
    while term > mass * 1e-17:
        mass += term
        if below:
            term *= k / ((draws - k + 1) * odds)
            k -= 1
        else:
            term *= (draws - k) * odds / (k + 1)
            k += 1
    return min(1.0, mass) if below else max(0.0, 1 - mass)


def _chance(k: int, draws: int, p: float) -> float:
    """P(Binomial(draws, p) = k)."""
    return math.exp(
        math.lgamma(draws + 1)
        - math.lgamma(k + 1)
        - math.lgamma(draws - k + 1)
        + k * math.log(p)
        + (draws - k) * math.log1p(-p)
    )
