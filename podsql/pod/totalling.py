"""What pods let out on their total: which groups of a statement, by how many people are behind each.

A pod's part, in the order of the rounds. What is judged are totals that all pods see alike (``totals``), so
each pod comes to the same groups, and none is asked for a verdict. Rule to keep: a cell leaves only if
enough people are behind it, and if it is equal to each cell that left before or differs from it by enough; and
so for the groups of one statement together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from podsql.engine.sums.totals import PAST, Bar, Shape
from podsql.policy.ledger.past import OFTEN, ROWS, Cell

Difference = tuple[int, int, int]
"""People in one of two cells only; those and people with other rows; whether people count unlike."""


def differences(one: Cell, other: Cell, cap: int) -> Difference:
    """By how many people two cells differ, up to ``cap``.

    Unlike (1): beside a count of people, somebody counts in the other another number of times. Then one
    count less the other (or a multiple of it) may be of few, however many they have in common.
    """
    if one == other:
        return 0, 0, 0
    most, least = (one, other) if len(one) >= len(other) else (other, one)
    strict = _of_people(one) or _of_people(other)
    apart = changed = unlike = 0
    for person, rows in most.items():
        found = least.get(person)
        if found is None:
            apart += 1
            if apart >= cap and not strict:
                return cap, cap, 0
        elif found != rows:
            changed += 1
            unlike |= strict and found % OFTEN != rows % OFTEN
    apart += len(least.keys() - most.keys())
    return min(apart, cap), min(apart + changed, cap), int(unlike)


def _of_people(cell: Cell) -> bool:
    """Whether nobody's rows are in it."""
    return next(iter(cell.values()), OFTEN) < OFTEN


def union(cells: Sequence[Cell]) -> Cell:
    """The people behind several cells together, whose rows are those of all."""
    found: Cell = {}
    for cell in cells:
        for person, rows in cell.items():
            found[person] = (found.get(person, 0) + rows) % ROWS
    return found


@dataclass(slots=True, kw_only=True, repr=False)
class Totalling:
    """One statement at one pod. ``cells``: of each group, in the order of the lists, of each figure."""

    bar: Bar
    shape: Shape
    cells: Sequence[Sequence[Cell]]
    past: Sequence[Cell] = ()
    """What left before, in the order that all pods have it in."""
    shown: list[int] = field(default_factory=list)
    """Groups that may leave."""
    empty: frozenset[int] = frozenset()
    """Groups in which no pod has anybody."""
    fresh: list[Cell] = field(default_factory=list)
    """Cells that leave and are not known from before."""
    full: bool = False
    """There is no room to remember what would leave: so nothing does."""

    def first(self) -> list[int]:
        """What this pod brings to round 1."""
        cap = self.bar.cap
        flat = [cell for group in self.cells for cell in group]
        found = [min(len(cell), cap) for cell in flat]
        for cell in flat:
            found += self._beside_past(cell)
        for one, other in combinations(flat, 2):
            found += differences(one, other, cap)
        return found

    def judge_first(self, totals: Sequence[int]) -> None:
        """Which groups may leave by themselves, in the order of the lists."""
        many, step = self.shape.candidates, 3 * PAST
        counts = totals[:many]
        beside = [_triples(totals[many + step * at : many + step * (at + 1)]) for at in range(many)]
        between = _triples(totals[many + step * many : self.shape.first])
        pairs = dict(zip(combinations(range(many), 2), between, strict=True))
        kept: list[int] = []
        known: set[int] = set()
        for group in range(self.shape.groups):
            own = self._places(group)
            near = [pair for at in own for pair in beside[at]]
            near += [pairs[one, at] for at in own for one in kept]
            near += [pairs[both] for both in combinations(own, 2)]
            enough = all(counts[at] >= self.bar.least for at in own)
            if not enough or not all(map(self._far, near)):
                continue
            self.shown.append(group)
            for at in own:
                same = [*beside[at][: len(self.past)], *(pairs[one, at] for one in kept)]
                kept.append(at)
                if (0, 0, 0) not in same:
                    known.add(at)
        self.empty = frozenset(
            group
            for group in range(self.shape.groups)
            if not any(counts[at] for at in self._places(group))
        )
        step = self.shape.figures
        self.fresh = [self.cells[at // step][at % step] for at in sorted(known)]

    def second(self) -> list[int]:
        """What this pod brings to round 2."""
        found: list[int] = []
        for whole in self._together():
            found += self._beside_past(whole)
            for cell in self.fresh:
                found += differences(whole, cell, self.bar.cap)
            found += [0, 0, 0] * (self.shape.candidates - len(self.fresh))
        return found

    def judge_second(self, totals: Sequence[int]) -> None:
        """Whether the groups that may leave may do so together."""
        step = 3 * (PAST + self.shape.candidates)
        added: list[Cell] = []
        for at, whole in enumerate(self._together()):
            pairs = _triples(totals[at * step : (at + 1) * step])
            if not all(map(self._far, pairs)):
                self.shown, self.fresh = [], []
                return
            known = [*pairs[: len(self.past)], *pairs[PAST : PAST + len(self.fresh)]]
            if (0, 0, 0) not in known:
                added.append(whole)
        self.fresh += added
        if len(self.past) + len(self.fresh) > PAST:
            self.shown, self.fresh, self.full = [], [], True

    def _places(self, group: int) -> range:
        """Of a group's figures among all candidates."""
        return range(group * self.shape.figures, (group + 1) * self.shape.figures)

    def _together(self) -> list[Cell]:
        """Of each figure, the shown groups as one cell."""
        if not self.shown:
            return []
        return [
            union([self.cells[group][at] for group in self.shown])
            for at in range(self.shape.figures)
        ]

    def _beside_past(self, cell: Cell) -> list[int]:
        found: list[int] = []
        for other in self.past:
            found += differences(cell, other, self.bar.cap)
        return found + [0, 0, 0] * (PAST - len(self.past))

    def _far(self, difference: Difference) -> bool:
        people, rows, unlike = difference
        return self.bar.far(people) and self.bar.far(rows) and unlike == 0


def _triples(totals: Sequence[int]) -> list[Difference]:
    return list(zip(totals[::3], totals[1::3], totals[2::3], strict=True))


def ordered(past: Mapping[bytes, Sequence[Cell]], names: frozenset[bytes]) -> list[Cell]:
    """The cells of the statements ``names`` in the order that all pods have them in."""
    return [cell for name in sorted(names) for cell in past[name]]
