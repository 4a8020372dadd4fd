"""One pod's part in one round. No I/O; the steps come in order, each once.

A pod shows two kinds of shares: of the self-mask of who is in the sum, and of the key to the pair
seeds of who is missing. Whoever has both for one pod can take all masks off it. Rule to keep: a pod
masks its cells against a quorum, signs one list a round, and opens what that list says and nothing
else, and only if a quorum signed the same (``quorum`` says why that is enough).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from podsql.engine.sums.documents import read_list, signers
from podsql.engine.sums.encoding import Figures, put_floats, put_integers
from podsql.engine.sums.job import Job
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.quorum import neighbours, too_few
from podsql.engine.sums.seeds import (
    names_hash,
    pair_mask,
    pair_seed,
    seal,
    share_key,
    tag,
    unseal,
)
from podsql.engine.sums.shamir import SEED_BYTES, SHARE_BYTES, Draw, split
from podsql.engine.sums.words import Words, words_of_bytes, zero_words
from podsql.errors import error
from podsql.messages import encode
from podsql.relay.signing import sign
from podsql.sum_messages import (
    SumAgreed,
    SumDeal,
    SumList,
    SumMasked,
    SumOpening,
    SumShares,
    SumSurvivors,
    SumUnmask,
)


class Step(IntEnum):
    """What a pod has done of a round."""

    DEALT = 0
    TAKEN = 1
    MASKED = 2
    AGREED = 3
    OPENED = 4


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Input:
    """What a pod brings to a round: ``rows``, the number of rows that its figures are of, and the
    figures of each part of the job."""

    round: int
    rows: int
    parts: tuple[Figures, ...]
    spoiled: tuple[int, ...] = ()
    """Cells after that of the rows in which the pod brings a random word instead, uniform and of its own:
    so their sums are uniform too, and tell neither its figure nor another pod's."""
    hidden: bytes = b""
    """Seed of a mask on all figures that the other pods of the job know (``totals``); empty: none."""
    asked: bytes = b""
    """What the figures answer: with a pod that was asked otherwise no mask vanishes, and the sum is noise."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Party:
    """A pod in a job: its signing seed, what it shares with each other member, its own ``least``."""

    job: Job
    name: str
    seed: bytes
    roots: dict[str, bytes]
    least: int
    draw: Draw


@dataclass(frozen=True, slots=True, repr=False)
class _Shares:
    """A dealer's, as one holder has them."""

    own_mask: bytes
    bundle_key: bytes


class PodRound:
    """A round of ``party``, until it is opened or another one begins."""

    def __init__(self, party: Party, number: int) -> None:
        self.number = number
        self._party = party
        self._step = Step.DEALT
        self._self_seed = party.draw(SEED_BYTES)
        self._pairs = {pod: pair_seed(root, number) for pod, root in party.roots.items()}
        self._held: dict[str, _Shares] = {}
        self._dealers: tuple[str, ...] = ()
        self._list: SumList | None = None
        self.notes: dict[str, bytes] = {}
        """What each dealer sealed for this pod beside its shares, and this pod for the others."""

    # -- shares ------------------------------------------------------------------------------------

    def deal(self, note: bytes = b"") -> SumDeal:
        """Share what makes this pod's masks removable among it and its neighbours, and tell them
        ``note``."""
        party, job = self._party, self._party.job
        others = neighbours(job.members, party.name)
        bundle_key = party.draw(SEED_BYTES)
        places = [job.places[pod] for pod in (*others, party.name)]
        held = [
            _Shares(own_mask, key)
            for own_mask, key in zip(
                split(self._self_seed, places, job.quorum, party.draw),
                split(bundle_key, places, job.quorum, party.draw),
                strict=True,
            )
        ]
        self._held[party.name] = held.pop()
        self.notes[party.name] = note
        return SumDeal(
            job=job.digest,
            round=self.number,
            self_tag=tag(self._self_seed),
            pair_tags=tuple(tag(self._pairs[pod]) for pod in others),
            bundle=seal(bundle_key, b"".join(self._pairs[pod] for pod in others), party.draw),
            shares=tuple(
                seal(
                    self._box_key(pod, dealer=party.name),
                    one.own_mask + one.bundle_key + note,
                    party.draw,
                )
                for pod, one in zip(others, held, strict=True)
            ),
        )

    def take(self, asked: SumShares) -> None:
        """Others' shares; only pods that dealt are masked against, since others' masks would stay."""
        self._require(Step.DEALT)
        party = self._party
        others = neighbours(asked.dealers, party.name)
        ordered = tuple(pod for pod in party.job.members if pod in asked.dealers)
        if party.name not in asked.dealers or ordered != asked.dealers:
            _refuse("the dealers of a round are not pods of its job, each once and in order")
        if len(others) != len(asked.shares):
            _refuse("a round has other shares than dealers")
        least = max(party.job.quorum, party.least)
        if len(asked.dealers) < least:
            raise too_few(len(asked.dealers), least)
        held: dict[str, _Shares] = {}
        notes: dict[str, bytes] = {}
        for pod, box in zip(others, asked.shares, strict=True):
            shares = unseal(self._box_key(pod, dealer=pod), box)
            size = 2 * SHARE_BYTES
            if shares is None or len(shares) < size or (shares[size:] and not party.job.units):
                _refuse(f"a share is not one that {pod!r} sealed for this pod in this round")
            held[pod] = _Shares(shares[:SHARE_BYTES], shares[SHARE_BYTES:size])
            notes[pod] = shares[size:]
        self._held |= held
        self.notes |= notes
        self._dealers = asked.dealers
        self._step = Step.TAKEN

    # -- the masked vector -------------------------------------------------------------------------

    def mask(self, brought: Input) -> SumMasked:
        """The figures under all masks; what is out of range is refused, and may be brought again."""
        self._require(Step.TAKEN)
        party = self._party
        cells = _cells_of(party.job, brought, party.draw)
        pairs = {
            pod: pair_mask(self._pairs[pod], brought.asked)
            for pod in neighbours(self._dealers, party.name)
        }
        add_masks(
            cells,
            plus=[self._self_seed, *(seed for pod, seed in pairs.items() if party.name < pod)],
            minus=[seed for pod, seed in pairs.items() if pod < party.name],
        )
        self._step = Step.MASKED
        return SumMasked(job=party.job.digest, round=self.number, vector=cells.tobytes())

    # -- the list of survivors ---------------------------------------------------------------------

    def agree(self, asked: SumSurvivors) -> SumAgreed:
        """Sign who is in the sum and who is missing: the one list of this pod in this round."""
        self._require(Step.MASKED)
        party = self._party
        alive, missing = asked.alive, asked.missing
        if sorted((*alive, *missing)) != sorted(self._dealers):
            _refuse("a list does not name each dealer once, as in the sum or as missing")
        if party.name not in alive:
            _refuse("a list leaves out the pod that is to sign it")
        least = max(party.job.quorum, party.least)
        if len(alive) < least:
            raise too_few(len(alive), least)
        self._list = SumList(
            job=party.job.digest,
            round=self.number,
            dealers=names_hash(self._dealers),
            alive=tuple(pod for pod in self._dealers if pod in alive),
            missing=tuple(pod for pod in self._dealers if pod not in alive),
        )
        self._step = Step.AGREED
        return SumAgreed(survivors=sign("sum-list", encode(self._list), party.seed))

    def open(self, asked: SumUnmask) -> SumOpening:
        """This pod's shares for the list that it signed, if a quorum signed the same."""
        self._require(Step.AGREED)
        party, mine = self._party, self._list
        assert mine is not None
        signed = signers(party.job, asked.lists)
        for pod, document in zip(signed, asked.lists, strict=True):
            if read_list(party.job, self.number, pod, document) != mine:
                _refuse(f"{pod!r} signed another list of survivors")
        if party.name not in signed or not set(signed) <= set(mine.alive):
            _refuse("a list is not signed by this pod, or by one that is not in the sum")
        if len(signed) < party.job.quorum:
            raise too_few(len(signed), party.job.quorum)
        opening = SumOpening(
            job=party.job.digest,
            round=self.number,
            alive=tuple(self._held[pod].own_mask for pod in mine.alive),
            missing=tuple(self._held[pod].bundle_key for pod in mine.missing),
        )
        self._step = Step.OPENED
        self._held.clear()
        self._pairs.clear()
        self._self_seed = b""
        return opening

    # -- checks ------------------------------------------------------------------------------------

    def _box_key(self, other: str, *, dealer: str) -> bytes:
        """Of the box with the shares of ``dealer``, between this pod and ``other``."""
        return share_key(self._party.roots[other], self.number, dealer)

    def _require(self, step: Step) -> None:
        if self._step > step:
            raise error("REPLAY", "a step of a round is asked for a second time")
        if self._step < step:
            _refuse("a step of a round comes before the one that it follows")


def _cells_of(job: Job, brought: Input, draw: Draw) -> Words:
    """The number of rows and the figures, as cells."""
    if len(brought.parts) != len(job.parts) or any(
        len(figures) != part.cells for figures, part in zip(brought.parts, job.parts, strict=True)
    ):
        raise error("DATA", "a pod brings another number of figures than the job has cells")
    if not 0 <= brought.rows <= job.limit:
        raise error("OVERFLOW", "a number of rows is out of range")
    cells = zero_words(job.word, job.cells)
    put_integers(cells[:, :1], [brought.rows], limit=job.limit, first=0)
    first = 0
    for figures, part in zip(brought.parts, job.parts, strict=True):
        place = cells[:, 1 + first : 1 + first + part.cells]
        if part.fraction:
            put_floats(place, figures, fraction=part.fraction, limit=job.limit, first=first)
        else:
            put_integers(place, figures, limit=job.limit, first=first)
        first += part.cells
    if brought.spoiled:
        words = draw(len(brought.spoiled) * job.word // 8)
        cells[:, [1 + cell for cell in brought.spoiled]] = words_of_bytes(words, job.word)
    if brought.hidden:
        add_masks(cells[:, 1:], plus=[brought.hidden], minus=())
    return cells


def _refuse(what: str) -> NoReturn:
    raise error("BAD_MESSAGE", what)
