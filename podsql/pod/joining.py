"""Neighbouring bins joined until enough privacy units are in each: what leaves of a binned column.

Rule to keep: joined bins cover the whole range without gaps, so that no edge is a smallest or
largest value, and each has enough units, or the group is withheld.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import pyarrow as pa

from podsql.planner.fragment import Field
from podsql.pod.shares import Shares, read_shares, together
from podsql.policy.binned import BinOrder

Admit = Callable[[list[Shares]], bool]
"""Whether figures with these shares may leave, as far as earlier ones go."""


@dataclass(slots=True)
class _Joined:
    """Bins ``low`` to ``high`` with ``n`` rows; ``people`` per kind of unit, ``shares`` likewise."""

    low: int | None
    high: int | None
    n: int
    people: list[int]
    shares: list[Shares] = field(default_factory=list)

    def add(self, other: "_Joined") -> None:
        self.high = other.high
        self.n += other.n
        self.people = [a + b for a, b in zip(self.people, other.people, strict=True)]
        self.shares = [together(both) for both in zip(self.shares, other.shares, strict=True)]

    def enough(self, least: int) -> bool:
        return all(count >= least for count in self.people)


def join_bins(
    table: pa.Table, order: BinOrder, fields: Sequence[Field], admit: Admit | None
) -> tuple[pa.Table, int]:
    """The table that leaves, and the number of groups withheld."""
    keys = [table[place].to_pylist() for place in range(order.keys)]
    groups = list(zip(*keys, strict=True)) if keys else [()] * table.num_rows
    bins = _read(table, order)
    rows: list[tuple[Any, ...]] = []
    withheld = people = count = 0
    for _, places in groupby(range(len(bins)), key=lambda place: _same(groups[place])):
        listed = list(places)
        count += 1
        people += min(
            (sum(bins[p].people[u] for p in listed) for u in range(order.units)), default=0
        )
        joined = _group([bins[place] for place in listed], order)
        if joined is None or (admit is not None and not _admitted(joined, admit)):
            withheld += 1
            continue
        rows += [(*groups[listed[0]], one.low, one.high, one.n) for one in joined]
    if order.keys == 0 and not bins:
        rows, withheld = ([(None, None, 0)], 0) if order.zero else ([], 1)
    if order.levels and order.keys and (count > order.levels or 3 * count > people):
        rows, withheld = [], count
    types = [table.schema.field(place).type for place in range(order.keys)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    arrays = [
        pa.array(list(values), kind)
        for values, kind in zip(columns, [*types, *[pa.int64()] * 3], strict=True)
    ]
    return pa.table(arrays, names=[one.name for one in fields]), withheld


def _read(table: pa.Table, order: BinOrder) -> list[_Joined]:
    numbers, counts = table["bin"].to_pylist(), table["n"].to_pylist()
    people = [table[f"u{place}"].to_pylist() for place in range(order.units)]
    units = range(order.units if order.named else 0)
    shares = [read_shares(table[f"_u{place}"]) for place in units]
    return [
        _Joined(
            low=numbers[at],
            high=numbers[at],
            n=counts[at],
            people=[column[at] for column in people],
            shares=[column[at] for column in shares],
        )
        for at in range(table.num_rows)
    ]


def _same(group: tuple[Any, ...]) -> tuple[str, ...]:
    """NaN keys are one group."""
    return tuple(repr(value) for value in group)


def _group(bins: list[_Joined], order: BinOrder) -> list[_Joined] | None:
    """The joined bins of one group; None: it is withheld."""
    without = [one for one in bins if one.low is None]
    known = sorted((one for one in bins if one.low is not None), key=lambda one: one.low or 0)
    if order.complement and any(0 < min(one.people) < order.least for one in without):
        return None
    if not known:
        return [_Joined(low=None, high=None, n=0, people=[])] if order.zero else None
    joined: list[_Joined] = []
    for one in known:
        if joined and not joined[-1].enough(order.least):
            joined[-1].add(one)
        else:
            joined.append(one)
    if not joined[-1].enough(order.least):
        if len(joined) == 1:
            return None
        tail = joined.pop()
        joined[-1].add(tail)
    if order.least:
        # No gap tells where there is nobody, and no end where the first or last one is.
        joined[0].low, joined[-1].high = 0, order.last
        for one, following in pairwise(joined):
            one.high = (following.low or 0) - 1
    return joined


def _admitted(joined: list[_Joined], admit: Admit) -> bool:
    """Each figure, and all of them together: a total less their sum must not tell."""
    kinds = zip(*(one.shares for one in joined), strict=True)
    return admit([figure for one in joined for figure in one.shares]) and admit(
        [together(shares) for shares in kinds]
    )
