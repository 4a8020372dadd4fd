"""Messages of a secure sum, between the coordinator of a job and its pods.

Everything goes through the coordinator, who is not trusted: what one pod says to another is sealed
for it or signed (kinds ``sum-key``, ``sum-list``). Rule to keep: no field holds a
value or a row count of a pod; those travel in ``SumMasked.vector`` only, under its masks.
"""

from typing import Literal

from podsql.message import Message, Signed


class SumMember(Message, frozen=True, array_like=True, tag="sum-member/1"):
    """A pod of a job, with its identity key (32 bytes)."""

    name: str
    identity: bytes


class SumPart(Message, frozen=True, array_like=True, tag="sum-part/1"):
    """``cells`` numbers in units of 2^-``fraction``; a fraction of 0: integers, exactly."""

    cells: int
    fraction: int


class SumJob(Message, frozen=True, array_like=True, tag="sum-job/1"):
    """What is summed, by whom. A job is named by the BLAKE2b-256 of its bytes."""

    nonce: bytes
    """32 random bytes."""
    about: bytes
    """32 bytes: a hash of the fragment or model whose figures are summed."""
    members: tuple[SumMember, ...]
    """Ascending by name."""
    colluders: int
    """How many pods may be in league with the coordinator."""
    word: Literal[64, 128]
    """Bits of a cell."""
    parts: tuple[SumPart, ...]
    rounds: int
    """The rounds are 1 to this."""
    units: int = 0
    """Not 0: pods judge on their total (``engine/sums/totals.py``), with so many units behind each cell."""


class SumStart(Message, frozen=True, array_like=True, tag="sum-start/1"):
    """Asks a pod to take part in a job; answered by ``SumKeyed``. ``job``: bytes of a ``SumJob``."""

    job: bytes


class SumKey(Message, frozen=True, array_like=True, tag="sum-key/1"):
    """A pod's X25519 key of one job (signed by it, kind ``sum-key``)."""

    job: bytes
    pod: str
    key: bytes
    apart: bool
    """Its custodian lets the same tables be summed with this pod and without it."""


class SumKeyed(Message, frozen=True, array_like=True, tag="sum-keyed/1"):
    """A pod takes part."""

    key: Signed


class SumKeys(Message, frozen=True, array_like=True, tag="sum-keys/1"):
    """The keys of all members, in their order; answered by ``Done``."""

    job: bytes
    keys: tuple[Signed, ...]


class SumRound(Message, frozen=True, array_like=True, tag="sum-round/1"):
    """A round begins, and an unfinished one before it is over; answered by ``SumDeal``."""

    job: bytes
    round: int


class SumDeal(Message, frozen=True, array_like=True, tag="sum-deal/1"):
    """What makes a pod's masks of one round removable. Tuples are in the order of its neighbours."""

    job: bytes
    round: int
    self_tag: bytes
    """A hash of the self-mask's seed, so that a wrong one is known."""
    pair_tags: tuple[bytes, ...]
    """Hashes of the seeds that it shares with each neighbour."""
    bundle: bytes
    """Those seeds, sealed under a fresh key."""
    shares: tuple[bytes, ...]
    """For each neighbour, sealed for it: its shares of the self-mask's seed and of that key."""


class SumShares(Message, frozen=True, array_like=True, tag="sum-shares/1"):
    """Who dealt, and their shares for the receiver; answered by ``SumMasked``.

    ``dealers`` are in the job's order, the receiver among them; ``shares`` are the others'.
    """

    job: bytes
    round: int
    dealers: tuple[str, ...]
    shares: tuple[bytes, ...]


class SumMasked(Message, frozen=True, array_like=True, tag="sum-masked/1"):
    """A pod's masked cells, the number of its rows the first of them.

    ``vector``: the low 64 bits of every cell, little-endian, then the high ones if there are such.
    """

    job: bytes
    round: int
    vector: bytes


class SumSurvivors(Message, frozen=True, array_like=True, tag="sum-survivors/1"):
    """Which dealers' vectors are in the sum, and who is missing; answered by ``SumAgreed``."""

    job: bytes
    round: int
    alive: tuple[str, ...]
    missing: tuple[str, ...]


class SumList(Message, frozen=True, array_like=True, tag="sum-list/1"):
    """The same, as a pod saw it: it signs one list a round (kind ``sum-list``)."""

    job: bytes
    round: int
    dealers: bytes
    """BLAKE2b-256 of their names."""
    alive: tuple[str, ...]
    missing: tuple[str, ...]


class SumAgreed(Message, frozen=True, array_like=True, tag="sum-agreed/1"):
    """A pod's signed list."""

    survivors: Signed


class SumTotals(Message, frozen=True, array_like=True, tag="sum-totals/1"):
    """What a round opened that is for the pods alone; answered by ``Done``. ``vector``: as in ``SumMasked``,
    without the number of rows, under the pods' common mask."""

    job: bytes
    round: int
    vector: bytes


class SumUnmask(Message, frozen=True, array_like=True, tag="sum-unmask/1"):
    """The lists that pods signed; answered by ``SumOpening`` if enough of them say the same."""

    job: bytes
    round: int
    lists: tuple[Signed, ...]


class SumOpening(Message, frozen=True, array_like=True, tag="sum-opening/1"):
    """One holder's shares: of a survivor's self-mask, of the key to a missing pod's pair seeds.

    In the order of the list that it signed; never both kinds of one pod.
    """

    job: bytes
    round: int
    alive: tuple[bytes, ...]
    missing: tuple[bytes, ...]
