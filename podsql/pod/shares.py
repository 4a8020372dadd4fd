"""What each unit adds to a figure, read from the columns that the gate adds for the overlap guard.

Rule to keep: shares of figures add up as the figures do; what is compared is the same however often
a join copies everybody's rows, and has an entry for each unit.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from podsql.policy.ledger.overlap import Member

Shares = list[Counter[Member]]
"""Of one figure: how many rows each unit has, then for each way to mark rows how often each is there."""


def read_shares(column: pa.ChunkedArray) -> list[Shares]:
    """Of each group, from one list of entries a group."""
    lists = column.combine_chunks()
    entries, groups = lists.flatten(), pc.list_parent_indices(lists)
    units = entries.field("u")
    found: list[Shares] = [[] for _ in range(len(column))]
    _count(found, groups, units, pa.repeat(pa.scalar(0, pa.uint64()), len(units)))
    for field in entries.type:
        marks = entries.field(field.name)
        if field.name == "u":
            continue
        if pa.types.is_list(field.type):
            rows = pc.list_parent_indices(marks)
            _count(found, groups.take(rows), units.take(rows), marks.flatten())
        else:
            _count(found, groups, units, marks)
    return found


def _count(found: list[Shares], groups: pa.Array, units: pa.Array, marks: pa.Array) -> None:
    table = pa.table({"g": groups, "u": units, "r": marks})
    counted = table.group_by(["g", "u", "r"], use_threads=False).aggregate([([], "count_all")])
    for shares in found:
        shares.append(Counter())
    columns = (counted[name].to_pylist() for name in ("g", "u", "r", "count_all"))
    for group, unit, mark, times in zip(*columns, strict=True):
        found[group][-1][unit, mark] = times


def together(figures: Iterable[Shares]) -> Shares:
    """The shares of the sum of ``figures``."""
    summed: Shares = []
    for listed in zip(*figures, strict=True):
        total: Counter[Member] = Counter()
        for counted in listed:
            total.update(counted)
        summed.append(total)
    return summed


def views(shares: Shares) -> Iterator[set[Member]]:
    """What the guard compares: rows as often as they are there, and in parts of how often most are."""
    everybody = {unit for unit, _ in shares[0]}
    for counted in shares:
        numbers = Counter(counted.values())
        # Of two numbers that are as usual the smaller.
        usual = min(numbers, key=lambda number: (-numbers[number], number), default=1)
        without = everybody - {unit for unit, _ in counted}
        for step in sorted({1, usual}):
            often = {number: _often(number, step) for number in (0, *numbers)}
            view = {(unit, mark ^ often[number]) for (unit, mark), number in counted.items()}
            yield view | {(unit, often[0]) for unit in without}


def _often(number: int, step: int) -> int:
    """What turns the mark of a row into that of one which is there ``number / step`` times."""
    if number == step:
        return 0
    text = str(Fraction(number, step)).encode()
    return int.from_bytes(blake2b(text, digest_size=8, person=b"ps-share").digest())
