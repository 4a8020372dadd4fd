"""Marked pairs: how a pod sees that its points came back whole, all times one secret.

A pair is a random point and its multiple by a mark that the pod alone knows. Whoever multiplies every
point by one secret keeps all pairs; who leaves points out to make room for other multiples of some,
so that one key counts several times, breaks pairs without knowing which points they are. To make one
key of N count m times takes the place of m - 1 points for each point it is tried on, so it works with
a chance of at most 1 / (2·e·PAIRS·(m - 1)): for m = 10 once in 3,100 times, and is else found out.
"""

import os
from typing import Final

from podsql.engine.psi.points import hide, multiply_points, split
from podsql.errors import error

PAIRS: Final = 64
LEAST_POINTS: Final = 256


def with_marks(secret: bytes, mark: bytes, domain: bytes, hidden: bytes, keys: int) -> bytes:
    """``hidden``, the points of ``keys`` keys, with marked pairs, and with random points up to a
    power of two, so that their number does not tell how many keys there are."""
    points = hide(secret, domain, _nobodys(PAIRS))
    whole = keys + 2 * PAIRS
    least = max(LEAST_POINTS, 1 << (whole - 1).bit_length())
    filling = hide(secret, domain, _nobodys(least - whole))
    return hidden + points + multiply_points(mark, points) + filling


def require_marks(points: bytes, marked: bytes) -> None:
    """BAD_MESSAGE unless all pairs are among ``points``; ``marked`` are those times the mark."""
    if len(frozenset(split(points)).intersection(split(marked))) < PAIRS:
        raise error("BAD_MESSAGE", "a set of blinded keys did not come back as it was sent")


def _nobodys(count: int) -> list[bytes]:
    """Random keys: none that anybody has is like them."""
    return [os.urandom(32) for _ in range(count)]
