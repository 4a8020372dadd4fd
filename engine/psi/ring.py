"""One pod's part in counting keys that several pods hold, without showing any. No I/O, no clock.

Every pod's points pass through all other pods, in the ring of their names, and end at the last
pod by name, which counts points that everybody has multiplied (an analyst with keys of his own
takes the place of a pod before it). Each pod hands a set on as a whole
and in a new order, so no point can be followed through it. What a pod sees: how many keys each pod
brings; the counting pod also how many keys which pods share (docs/decisions/0010).

Rule to keep: what arrives out of place ends the count with an error; nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from podsql.engine.psi.points import POINT_BYTES, Counted, count_points, is_ascending, ordered
from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import PsiClaim

ANALYST: Final = "(analyst)"
"""What an analyst who brings keys of his own is called: no pod may have such a name."""
PART_POINTS: Final = 2048
"""Points that travel in one message: 64 KiB, and about a third of a second of one core."""


@dataclass(frozen=True, slots=True)
class Multiply:
    """Multiply ``points`` by the party's secret, then ``multiplied``. ``own``: its own points, which
    have come back: only see that they are points."""

    origin: str
    index: int
    points: bytes
    own: bool


@dataclass(frozen=True, slots=True)
class Order:
    """``in_order(parts)``, then ``settled``."""

    origin: str
    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HandOn:
    """Send ``points`` to the pod ``to``, then ``handed_on``."""

    origin: str
    to: str
    claim: Signed
    points: bytes


@dataclass(frozen=True, slots=True)
class Count:
    """``released(sets, claims)`` is the number to release."""

    sets: tuple[bytes, ...]
    claims: tuple[PsiClaim, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """This pod has done its part."""


Effect = Multiply | Order | HandOn | Count | Over


@dataclass(slots=True)
class _Set:
    """One pod's points as far as they are here. ``edges``: first and last of each arrived part."""

    claim: PsiClaim
    document: Signed
    parts: dict[int, bytes] = field(default_factory=dict)
    edges: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)


class Ring:
    """What one party does of one count. ``pods``: all parties in ring order, of which the last one
    counts. ``most``: keys that another one may bring."""

    def __init__(self, *, pod: str, pods: Sequence[str], session: bytes, most: int) -> None:
        if len(set(pods)) != len(pods) or len(pods) < 2 or pod not in pods:
            raise error("BAD_MESSAGE", "a count of shared keys needs two different pods or more")
        self.session = session
        self._pod = pod
        self._ring = list(pods)
        self._most = most
        self._claim: PsiClaim | None = None
        self._sets: dict[str, _Set] = {}
        self._whole: dict[str, bytes] = {}
        self._away: set[str] = set()

    @property
    def counts(self) -> bool:
        """Whether this pod is the one that counts."""
        return self._pod == self._ring[-1]

    def route(self, origin: str) -> list[str]:
        """The pods that the set of ``origin`` comes through after it, in order."""
        at = self._ring.index(origin)
        others = [*self._ring[at + 1 :], *self._ring[:at]]
        last = self._ring[-1]
        return [*(pod for pod in others if pod != last), last]

    # -- what happens ------------------------------------------------------------------------------

    def bring(self, claim: PsiClaim, document: Signed, points: bytes) -> list[Effect]:
        """This pod's own keys: multiplied, in ascending order."""
        self._claim = claim
        return [HandOn(self._pod, self.route(self._pod)[0], document, points)]

    def take(
        self, sender: str, claim: PsiClaim, document: Signed, index: int, points: bytes
    ) -> list[Effect]:
        """A part of a set from the pod before; only once ``bring`` was called."""
        assert self._claim is not None
        origin = claim.pod
        if origin not in self._ring or sender != self._before(origin):
            raise _wrong("came from a pod that is not the one before")
        found = self._sets.get(origin)
        if found is None:
            self._require_acceptable(claim)
            found = self._sets[origin] = _Set(claim, document)
        if found.claim != claim:
            raise _wrong("says two things of itself")
        if index in found.edges:
            raise error("REPLAY", "a part of a set of blinded keys came twice")
        if len(points) != _part_size(claim.size, index) * POINT_BYTES:
            raise _wrong("has another size than its pod signed")
        if not is_ascending(points):
            raise _wrong("is not in ascending order")
        found.edges[index] = points[:POINT_BYTES], points[-POINT_BYTES:]
        return [Multiply(origin, index, points, own=origin == self._pod)]

    def multiplied(self, origin: str, index: int, points: bytes) -> list[Effect]:
        """A part that ``Multiply`` asked for."""
        found = self._sets[origin]
        found.parts[index] = points
        if len(found.parts) < part_count(found.claim.size):
            return []
        edges = [found.edges[place] for place in sorted(found.edges)]
        if any(one[1] >= two[0] for one, two in pairwise(edges)):
            raise _wrong("is not in ascending order")
        parts = tuple(found.parts.values())
        found.parts.clear()
        return [Order(origin, parts)]

    def settled(self, origin: str, points: bytes) -> list[Effect]:
        """A whole set that ``Order`` asked for."""
        found = self._sets[origin]
        if not self.counts:
            route = self.route(origin)
            return [HandOn(origin, route[route.index(self._pod) + 1], found.document, points)]
        self._whole[origin] = points
        if len(self._whole) < len(self._ring):
            return []
        names = self._ring
        return [
            Count(
                tuple(self._whole[name] for name in names),
                tuple(self._sets[name].claim for name in names),
            )
        ]

    def handed_on(self, origin: str) -> list[Effect]:
        """The next pod has all of the set of ``origin``."""
        self._away.add(origin)
        if not self.counts and len(self._away) == len(self._ring):
            return [Over()]
        return []

    # -- checks ------------------------------------------------------------------------------------

    def _before(self, origin: str) -> str | None:
        """The pod from which this one gets the set of ``origin``; None: from nobody."""
        route = [origin, *self.route(origin)]
        places = [at for at, pod in enumerate(route) if pod == self._pod and at > 0]
        return route[places[0] - 1] if places else None

    def _require_acceptable(self, claim: PsiClaim) -> None:
        """A set small enough to be a question about few people is not answered, nor a huge one."""
        own = self._claim
        assert own is not None
        if claim.session != self.session:
            raise _wrong("belongs to another statement")
        if claim.pod == self._pod and claim != own:
            raise _wrong("is not the one this pod signed")
        if claim.pod != self._pod and claim.size > self._most:
            raise error("RESULT_TOO_BIG", "a pod brings more keys than another one's policy allows")
        if claim.size < own.least and not (claim.size == 0 and own.zero):
            raise withheld()


def in_order(parts: Sequence[bytes]) -> bytes:
    """All points of ``parts`` in ascending order: an order that tells nothing of the one before."""
    return ordered(b"".join(parts))


def released(sets: Sequence[bytes], claims: Sequence[PsiClaim], counted: Counted) -> int:
    """The number of shared or united keys, as far as every pod lets it leave; WITHHELD if not."""
    number = count_points(sets, counted)
    least = max(claim.least for claim in claims)
    zero = all(claim.zero for claim in claims)
    if number < least and not (number == 0 and zero):
        raise withheld()
    # What the number tells beside the counts that each pod may release of its own keys.
    told = [sum(claim.size for claim in claims) - number] if counted == "union" else []
    if any(claim.complement for claim in claims):
        told += [abs(number - claim.size) for claim in claims]
    if any(0 < rest < least for rest in told):
        raise withheld()
    base = max(1, *(claim.base for claim in claims))
    return (number + base // 2) // base * base


def withheld() -> Error:
    """What an analyst reads of a count of too few keys, at whichever pod."""
    return error(
        "WITHHELD",
        "the answer is withheld: it covers too few keys at a pod",
        hint="ask about a larger group",
    )


def parts_of(points: bytes) -> list[bytes]:
    """The points in the pieces that they travel in: at least one, which may be empty."""
    step = PART_POINTS * POINT_BYTES
    return [points[at : at + step] for at in range(0, len(points), step)] or [b""]


def part_count(size: int) -> int:
    """In how many pieces a set of ``size`` points travels."""
    return max(1, -(-size // PART_POINTS))


def _part_size(size: int, index: int) -> int:
    if not 0 <= index < part_count(size):
        raise _wrong("has a part too many")
    return min(PART_POINTS, size - index * PART_POINTS)


def _wrong(what: str) -> Error:
    return error("BAD_MESSAGE", f"a set of blinded keys {what}")
