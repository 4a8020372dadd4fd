"""A table of groups with its hidden columns as the cells that are judged on the total of all pods.

Rule to keep: a cell names each person once, with all of their rows in it, whatever else the group shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import pyarrow as pa

from podsql.engine.sums.totals import Bar, Shape
from podsql.planner.key_lists import KeyValue, groups_of
from podsql.pod.shares import Shares, read_shares
from podsql.pod.summed_groups import sums_of
from podsql.pod.totalling import Totalling
from podsql.policy.ledger.past import OFTEN, ROWS, Cell, Past
from podsql.policy.verdict import Verdict

Group = tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TotalGroups:
    """What a pod has of one statement, and what its project was shown before.

    ``rows``: the states of each group that has rows; ``outside``: there are rows of other groups."""

    verdict: Verdict
    scope: str
    past: Past
    known: Mapping[bytes, Sequence[Cell]]
    rows: Mapping[Group, list[object]]
    cells: Sequence[Sequence[Cell]]
    outside: bool

    def totalling(self, bar: Bar) -> Totalling:
        """The pod's part in what all pods judge."""
        return Totalling(bar=bar, shape=shape_of(self.verdict), cells=self.cells)

    def put(
        self, shown: Sequence[int], empty: frozenset[int], limit: int
    ) -> tuple[list[int], tuple[int, ...]]:
        """What is brought of the ``shown`` groups, and which cells are spoiled: all others, but
        where those are empty and nothing is kept back."""
        assert self.verdict.sums is not None
        groups = groups_of(self.verdict.sums.lists)
        kept = {groups[at]: self.rows[groups[at]] for at in shown if groups[at] in self.rows}
        # Without keys there is one group, also of nobody, and then it is kept back.
        settled = {*shown, *empty} if self.verdict.keys else {*shown}
        whole = not self.outside and len(settled) == len(groups)
        # A pod that has nobody in a group that is shown brings zeros to it.
        zeros: list[object] = [0] * len(self.verdict.sums.states)
        kept |= {groups[at]: zeros for at in shown if groups[at] not in self.rows}
        return sums_of(self.verdict.sums).put(kept, short=not whole, limit=limit, hides=True)


def shape_of(verdict: Verdict) -> Shape:
    """Of a verdict that is judged on the total."""
    assert verdict.sums is not None
    assert verdict.merged is not None
    return Shape(groups=len(groups_of(verdict.sums.lists)), figures=verdict.merged.figures)


def groups_in(verdict: Verdict, arrow: bytes, past: Past, scope: str) -> TotalGroups:
    """The groups of a result with its hidden columns; what was shown before is read too."""
    assert verdict.sums is not None
    table = pa.ipc.open_stream(arrow).read_all()
    columns = [column.to_pylist() for column in table.columns[: len(verdict.fields)]]
    rows = {row[: verdict.keys]: list(row[verdict.keys :]) for row in zip(*columns, strict=True)}
    figures = [list(map(_cell, read_shares(table[f"_u{place}"]))) for place in range(verdict.cells)]
    found = dict(zip(rows, zip(*figures, strict=True), strict=True))
    groups = groups_of(verdict.sums.lists)
    nobody: list[Cell] = [{} for _ in figures]
    return TotalGroups(
        verdict=verdict,
        scope=scope,
        past=past,
        known=past.load(scope),
        rows=rows,
        cells=[list(found.get(group, nobody)) for group in groups],
        outside=not rows.keys() <= set(groups),
    )


def _cell(shares: Shares) -> Cell:
    """Each person with their rows; in a count of people each counts once."""
    if len(shares) == 1:
        return {unit: 1 for unit, _ in shares[0]}
    found: Cell = {unit: number for (unit, _), number in shares[0].items()}
    for counted in shares[1:]:
        for (unit, mark), number in counted.items():
            found[unit] = (found[unit] + OFTEN * number * _hash(mark)) % ROWS
    return found


def _hash(mark: int) -> int:
    return int.from_bytes(blake2b(mark.to_bytes(8), digest_size=8, person=b"ps-past-row").digest())
