"""Keys as points of the Ed25519 group, multiplied by secrets until nobody can tell whose they are.

Multiplying commutes, so points that the same parties multiplied are equal where their keys are
(Meadows 1986, Huberman, Franklin & Hogg 1999); telling a multiplied point from a random one is the
decisional Diffie-Hellman problem. A list of points is their bytes one after the other, 32 each,
ascending: that order depends on secrets alone, so it is as good as a shuffle, and it shows repeats.
Rule to keep: no point of another party is used before it is known to be of the prime-order group.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import merge
from itertools import groupby
from typing import Final, Literal

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from podsql.errors import error

POINT_BYTES: Final = 32
Counted = Literal["union", "overlap"]


def new_secret() -> bytes:
    """A scalar for one statement."""
    return bindings.crypto_core_ed25519_scalar_reduce(os.urandom(64))


def to_point(domain: bytes, key: bytes) -> bytes:
    """Hash ``key`` into the group, apart from every other ``domain`` (32 bytes).

    The sum of two Elligator maps is indifferentiable from a random point (Brier et al. 2010); one
    alone reaches half of the group only.
    """
    digest = blake2b(key, digest_size=64, key=domain, person=b"ps-psi-key").digest()
    return bindings.crypto_core_ed25519_add(
        bindings.crypto_core_ed25519_from_uniform(digest[:32]),
        bindings.crypto_core_ed25519_from_uniform(digest[32:]),
    )


def hide(secret: bytes, domain: bytes, keys: Iterable[bytes]) -> bytes:
    """The multiplied points of ``keys``, in their order."""
    multiply = bindings.crypto_scalarmult_ed25519_noclamp
    return b"".join(multiply(secret, to_point(domain, key)) for key in keys)


def multiply_points(secret: bytes, points: bytes) -> bytes:
    """Each of another party's points times ``secret``, in their order; BAD_MESSAGE on a bad one.

    libsodium itself refuses encodings that are not canonical, the identity, points of small order
    and points outside the prime-order group (a test holds it to that).
    """
    multiply = bindings.crypto_scalarmult_ed25519_noclamp
    try:
        return b"".join(multiply(secret, point) for point in split(points))
    except SodiumError:
        raise error("BAD_MESSAGE", "a blinded key is not a point of the group") from None


def split(points: bytes) -> Iterator[bytes]:
    """The points one by one."""
    for at in range(0, len(points), POINT_BYTES):
        yield points[at : at + POINT_BYTES]


def ordered(points: bytes) -> bytes:
    """The points in ascending order."""
    return b"".join(sorted(split(points)))


def is_ascending(points: bytes) -> bool:
    """Whether they are whole points, each greater than the one before: none twice."""
    if len(points) % POINT_BYTES:
        return False
    last = b""
    for point in split(points):
        if point <= last:
            return False
        last = point
    return True


def count_points(sets: Iterable[bytes], counted: Counted) -> int:
    """How many points are in any of the ascending ``sets`` (``union``), or in all (``overlap``)."""
    listed = list(sets)
    same = groupby(merge(*map(split, listed)))
    if counted == "union":
        return sum(1 for _ in same)
    return sum(1 for _, found in same if sum(1 for _ in found) == len(listed))
