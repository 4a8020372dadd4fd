"""Shamir's secret sharing of 32-byte seeds (Communications of the ACM 22, 1979).

A secret is the constant term of a random polynomial over a prime field; holder i gets its value at
i. Any ``least`` shares give the secret, fewer are uniform numbers. Rule to keep: every coefficient
but the constant is fresh and uniform, and no share is the value at 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

PRIME: Final = 2**256 + 297
"""The least prime above all seeds."""
SHARE_BYTES: Final = 33
SEED_BYTES: Final = 32
_DRAWN_BYTES: Final = 48
"""Reduced modulo the prime they are uniform but for 2^-127."""

Draw = Callable[[int], bytes]
"""Gives that many random bytes: ``os.urandom``, but in tests."""


def split(secret: bytes, places: Iterable[int], least: int, draw: Draw) -> list[bytes]:
    """Shares of ``secret`` for the holders at ``places`` (1, 2, …), of which ``least`` give it."""
    drawn = [int.from_bytes(draw(_DRAWN_BYTES)) % PRIME for _ in range(least - 1)]
    terms = [int.from_bytes(secret), *drawn]
    return [value_at(terms, place).to_bytes(SHARE_BYTES) for place in places]


def value_at(terms: Sequence[int], place: int) -> int:
    """The polynomial's value at ``place``; ``terms`` from the constant one on."""
    value = 0
    for term in reversed(terms):
        value = (value * place + term) % PRIME
    return value


class Interpolation:
    """Secrets from the shares of one set of holders. The weights are worked out once."""

    def __init__(self, places: Sequence[int]) -> None:
        self._weights = {place: _weight(place, places) for place in places}

    def secret(self, shares: Mapping[int, bytes]) -> bytes | None:
        """The secret of which ``shares`` (by place) are; None if it is not one of 32 bytes."""
        value = sum(
            weight * int.from_bytes(shares[place]) for place, weight in self._weights.items()
        )
        value %= PRIME
        return None if value >> 8 * SEED_BYTES else value.to_bytes(SEED_BYTES)


def _weight(place: int, places: Sequence[int]) -> int:
    """Lagrange's basis polynomial of ``place``, at 0."""
    above, below = 1, 1
    for other in places:
        if other != place:
            above = above * other % PRIME
            below = below * (other - place) % PRIME
    return above * pow(below, -1, PRIME) % PRIME
