"""A job as its pods and its coordinator read it: one set of pods, one shape of cells, some rounds.

Rule to keep: everything that both ends of a mask must agree on stands in the job's bytes, whose hash
is in every key, signature and message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from typing import Final

from podsql.engine.sums.encoding import limit_of
from podsql.engine.sums.masks import CELL_LIMIT
from podsql.engine.sums.quorum import quorum, too_few
from podsql.errors import Error, error
from podsql.messages import decode_as
from podsql.planner.masking import LEAST, LEAST_UNITS, TOTAL_ROUNDS
from podsql.sum_messages import SumJob, SumPart

HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a pod's own file says of sums."""

    roster: Mapping[str, bytes]
    """The pods that it sums with, itself among them: name to pinned identity key."""
    least: int = LEAST
    """It signs no list of fewer survivors, whatever the quorum."""
    colluders: int = 1
    """It takes no job that reckons with fewer pods in league with the coordinator."""
    apart: bool = False
    """Its custodian lets the same be summed with this pod and without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that holds together. ``digest`` names it."""

    digest: bytes
    about: bytes
    identities: Mapping[str, bytes]
    """The members' identity keys, ascending by name."""
    colluders: int
    word: int
    parts: tuple[SumPart, ...]
    rounds: int
    units: int
    """0, or how many people are behind each cell that pods let out by their total."""
    members: tuple[str, ...] = field(init=False)
    places: Mapping[str, int] = field(init=False)
    """At which place each member holds its shares: 1, 2, …"""
    quorum: int = field(init=False)
    cells: int = field(init=False)
    """Of a vector: all parts', and the number of rows before them."""
    limit: int = field(init=False)
    """The largest magnitude that a pod may bring."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "members", tuple(self.identities))
        put(self, "places", {name: at for at, name in enumerate(self.members, 1)})
        put(self, "quorum", quorum(len(self.members), self.colluders))
        put(self, "cells", 1 + sum(part.cells for part in self.parts))
        put(self, "limit", limit_of(self.word, len(self.members)))

    @property
    def vector_bytes(self) -> int:
        """Size of a masked vector."""
        return self.cells * self.word // 8


def read_job(body: bytes) -> Job:
    """The job in ``body``; BAD_MESSAGE if it does not hold together, TOO_FEW_PODS if it is none."""
    told = decode_as(SumJob, body)
    names = [member.name for member in told.members]
    identities = {member.name: member.identity for member in told.members}
    if len(names) < LEAST:
        raise too_few(len(names), LEAST)
    if any(one >= two for one, two in pairwise(names)):
        raise _wrong("does not name its pods once each, in order")
    if any("\0" in name for name in names):
        raise _wrong("names a pod by what is no name")
    if len(set(identities.values())) != len(names):
        raise _wrong("gives one key to two pods")
    if {len(told.nonce), len(told.about), *map(len, identities.values())} != {HASH_BYTES}:
        raise _wrong("has a key or hash of a wrong size")
    if told.colluders < 0 or told.rounds < 1 or told.rounds >> 63:
        raise _wrong("has a number out of range")
    if any(part.cells < 1 or not 0 <= part.fraction < told.word - 1 for part in told.parts):
        raise _wrong("has a part of no cells, or of a quantum that its word cannot hold")
    if told.units and not _by_totals(told):
        raise _wrong("judges totals that its cells cannot hold")
    job = Job(
        digest=blake2b(body, digest_size=HASH_BYTES, person=b"ps-sum-job").digest(),
        about=told.about,
        identities=identities,
        colluders=told.colluders,
        word=told.word,
        parts=told.parts,
        rounds=told.rounds,
        units=told.units,
    )
    if job.quorum > len(names):
        raise too_few(len(names), job.quorum)
    if job.cells > CELL_LIMIT:
        raise error("RESULT_TOO_BIG", "a sum has too many cells")
    return job


def require_acceptable(job: Job, terms: Terms, pod: str, identity: bytes) -> None:
    """DENIED or TOO_FEW_PODS unless ``pod`` may take part in ``job``."""
    if job.identities.get(pod) != identity:
        raise _wrong("does not name this pod and its key")
    for name, key in job.identities.items():
        if terms.roster.get(name) != key:
            raise error(
                "DENIED",
                f"the pod's own file does not let it sum with {name!r}",
                hint="its custodian names the pods and their keys",
            )
    if job.colluders < terms.colluders:
        raise error("DENIED", "the sum reckons with fewer dishonest pods than this pod's file does")
    if len(job.members) < terms.least:
        raise too_few(len(job.members), terms.least)


def _by_totals(told: SumJob) -> bool:
    """Whether cells and rounds are those of pods that judge by their totals."""
    [part] = told.parts if len(told.parts) == 1 else [None]
    whole = part is not None and part.fraction == 0 and told.word == 128
    return whole and LEAST_UNITS <= told.units < 2**31 and told.rounds == TOTAL_ROUNDS


def _wrong(what: str) -> Error:
    return error("BAD_MESSAGE", f"the job of a sum {what}")
