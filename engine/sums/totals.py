"""Totals that the pods of a job see and the coordinator does not, and what they judge by them.

Each pod adds, under its other masks, a mask whose seed it has sealed for each other pod. So what the
coordinator opens is uniform to it, and any pod can take those masks off. A check value, under a key made of
all seeds, shows whether the coordinator brought back what it opened. Figures are small numbers of people,
each pod's up to ``cap`` only. Rule to keep: what pods judge by is a function of these totals alone,
so that all pods judge alike, whoever adds up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from podsql.engine.sums.encoding import to_integers
from podsql.engine.sums.job import Job
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.shamir import SEED_BYTES
from podsql.engine.sums.words import words_of_bytes
from podsql.errors import error
from podsql.planner.masking import MOST_CELLS

PAST: Final = 128
"""Cells that left before, at most: each new one is compared with all of them."""
NAME_BYTES: Final = 16
_PRIME: Final = 2**107 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """When a total is of enough people, of a job with ``units`` and ``colluders``.

    A pod counts for ``cap`` people at most, half of ``units``. So a total of ``least`` or more leaves ``units``
    people without any ``colluders`` of the pods, and is of people at ``colluders`` + 2 pods or more.
    """

    units: int
    colluders: int

    @property
    def cap(self) -> int:
        """The most that one pod brings."""
        return -(-self.units // 2)

    @property
    def least(self) -> int:
        """The smallest total that is enough."""
        return self.units + self.colluders * self.cap

    def far(self, total: int) -> bool:
        """Whether cells are equal, or differ by enough."""
        return total == 0 or total >= self.least


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Where the totals of a statement with ``groups`` times ``figures`` candidates stand."""

    groups: int
    figures: int

    @property
    def candidates(self) -> int:
        """Cells that may leave."""
        return self.groups * self.figures

    @property
    def fits(self) -> bool:
        """Whether so many are compared."""
        return self.candidates <= MOST_CELLS

    @property
    def first(self) -> int:
        """Numbers of round 1: how many people; three for each candidate beside each past cell and each
        earlier candidate: people and rows by which they differ, and whether people count unlike."""
        many = self.candidates
        return many + 3 * many * PAST + 3 * many * (many - 1) // 2

    @property
    def second(self) -> int:
        """Numbers of round 2: the same three of the shown groups together, beside past and new cells."""
        return 3 * self.figures * (PAST + self.candidates)

    def cells(self, figures: int) -> int:
        """Of the job, whose last round has ``figures``: as many in each round, and a check value."""
        return max(self.first, self.second, figures) + 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Common:
    """What the pods of one round have in common: the seeds of their masks, the key of the check value."""

    own: bytes
    seeds: tuple[bytes, ...]
    key: int
    cells: int
    most: int

    @classmethod
    def of(cls, job: Job, number: int, pod: str, notes: Mapping[str, bytes]) -> "Common":
        """``notes``: what each member sealed for each other, a seed first. Whoever was told something
        else has another key, and takes no totals."""
        parts = [job.digest, number.to_bytes(8)]
        for name in job.members:
            parts += [name.encode(), b"\0", len(notes[name]).to_bytes(8), notes[name]]
        key = blake2b(b"".join(parts), digest_size=SEED_BYTES, person=b"ps-sum-common").digest()
        bar = Bar(units=job.units, colluders=job.colluders)
        return cls(
            own=notes[pod][:SEED_BYTES],
            seeds=tuple(notes[name][:SEED_BYTES] for name in job.members),
            key=int.from_bytes(key) % _PRIME,
            cells=job.cells - 1,
            most=bar.cap * len(job.members),
        )

    def close(self, numbers: Sequence[int]) -> list[int]:
        """What a pod brings: ``numbers``, zeros after them, the check value last."""
        whole = [*numbers, *[0] * (self.cells - 1 - len(numbers))]
        return [*whole, self._check(whole)]

    def open(self, vector: bytes, word: int) -> list[int]:
        """The totals in what the coordinator brings back; BAD_MESSAGE for other ones."""
        if len(vector) != self.cells * word // 8:
            raise _forged()
        cells = words_of_bytes(vector, word).copy()
        add_masks(cells, plus=(), minus=self.seeds)
        *totals, check = to_integers(cells)
        if any(not 0 <= total <= self.most for total in totals):
            raise _forged()
        if check % _PRIME != self._check(totals):
            raise _forged()
        return totals

    def _check(self, numbers: Sequence[int]) -> int:
        """A polynomial of the numbers in the key: of all that another key is as likely for."""
        found = 0
        for number in reversed(numbers):
            found = (found + number) * self.key % _PRIME
        return found


def note_of(seed: bytes, names: Sequence[bytes]) -> bytes:
    """What a pod seals for the others: its seed, and which statements it remembers."""
    return seed + b"".join(names)


def names_in(note: bytes) -> frozenset[bytes]:
    """The statements that a pod remembers; BAD_MESSAGE for what is no note."""
    body = note[SEED_BYTES:]
    if len(note) < SEED_BYTES or len(body) % NAME_BYTES:
        raise error("BAD_MESSAGE", "a pod of a sum says what is no note")
    return frozenset(body[at : at + NAME_BYTES] for at in range(0, len(body), NAME_BYTES))


def _forged() -> Exception:
    return error("BAD_MESSAGE", "the coordinator brings back other totals than the pods added")
