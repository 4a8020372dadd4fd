"""What the products of a model's columns must be like: the rules on figures, pair by pair.

Over the relation ``complete``, whose columns are numbers already. Rule to keep: these are the rules of
``spread.py`` and ``dominance.py``, stated for every sum of products that a model is made of, and for
every cell that conditions make of rows: what is left besides the levels of a column is one, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, product
from typing import Final

from podsql.policy.document import Output
from podsql.policy.dominance import fair_sum
from podsql.policy.spread import differ

KNOWN: Final = "u IS NOT NULL"
TOGETHER: Final = 12
"""Figures that are checked in one pass over the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignColumn:
    """``of``: what it is 1 for one value of, no two of which a row can have; empty: of nothing."""

    name: str
    indicator: bool = False
    of: str = ""
    magnitude: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows by names of conditions and 1 or 0. ``rest``: of no level of a column, maybe of none."""

    sides: tuple[tuple[str, int], ...]
    rest: bool = False

    @property
    def condition(self) -> str:
        """Over ``complete``."""
        return " AND ".join(f"{name} = {side}" for name, side in self.sides)

    def within(self, other: "Cell") -> "Cell":
        """The rows of both."""
        return Cell((*self.sides, *other.sides), self.rest or other.rest)


@dataclass(frozen=True, slots=True)
class _Figure:
    """A sum of ``value`` over the rows of ``condition``; without a value, their number."""

    value: str
    condition: str = ""
    magnitude: bool = False
    rest: bool = False

    def per_unit(self) -> tuple[str, str, str]:
        """Three aggregates over the rows of a unit: the lowest and highest value, and their sum."""
        kept = f" FILTER (WHERE {self.condition})" if self.condition else ""
        if not self.value:
            some = f"CAST(bool_or({self.condition}) AS DOUBLE)"
            return some, some, "NULL::DOUBLE"
        total = f"sum({self.value}){kept}" if self.magnitude else "NULL::DOUBLE"
        return f"min({self.value}){kept}", f"max({self.value}){kept}", total


def figure_rules(columns: Sequence[DesignColumn], unit: str, output: Output) -> tuple[str, ...]:
    """Queries over ``complete`` of one row, ``ok``, each of some figures; ``unit`` tells units."""
    figures = list(dict.fromkeys(_figures(columns)))
    kinds = (
        ([one for one in figures if one.value and not one.magnitude], _spread(output)),
        ([one for one in figures if one.magnitude], f"{_spread(output)} AND {_fair(output)}"),
        ([one for one in figures if not (one.value or one.rest)], _enough(output)),
        ([one for one in figures if one.rest and not one.value], _enough(output, rest=True)),
    )
    return tuple(
        _query(listed[start : start + TOGETHER], unit, check)
        for listed, check in kinds
        for start in range(0, len(listed), TOGETHER)
    )


def _figures(columns: Sequence[DesignColumn]) -> Iterator[_Figure]:
    numbers = [one for one in columns if not one.indicator]
    for one in numbers:
        yield _Figure(one.name, magnitude=one.magnitude)
    for one, other in combinations_with_replacement(numbers, 2):
        yield _Figure(f"{one.name} * {other.name}")
    for cell in single_cells(columns):
        yield _Figure("", cell.condition, rest=cell.rest)
        for one in numbers:
            yield _Figure(one.name, cell.condition, magnitude=one.magnitude, rest=cell.rest)
    for cell in pair_cells(columns):
        yield _Figure("", cell.condition, rest=cell.rest)


def single_cells(columns: Sequence[DesignColumn]) -> tuple[Cell, ...]:
    """What conditions make of rows, each column of levels by itself."""
    return tuple(cell for cells in _parted(columns) for cell in cells)


def pair_cells(columns: Sequence[DesignColumn]) -> tuple[Cell, ...]:
    """What two of them make of rows together."""
    return tuple(
        left.within(right)
        for one, other in combinations(_parted(columns), 2)
        for left, right in product(one, other)
    )


def _parted(columns: Sequence[DesignColumn]) -> list[list[Cell]]:
    """Parts of all rows: a condition's two sides; a column's levels and what is left."""
    parted: dict[str, list[str]] = {}
    for one in columns:
        if one.indicator:
            parted.setdefault(one.of or one.name, []).append(one.name)
    return [
        [
            *(Cell(((name, 1),)) for name in names),
            Cell(tuple((name, 0) for name in names), rest=len(names) > 1),
        ]
        for names in parted.values()
    ]


def _query(figures: Sequence[_Figure], unit: str, check: str) -> str:
    """A few figures at a time: all at once would hold three numbers of each for every unit."""
    parts = [one.per_unit() for one in figures]
    named = ", ".join(
        f"{sql} AS {name}{place}"
        for place, triple in enumerate(parts)
        for name, sql in zip(("lo", "hi", "t"), triple, strict=True)
    )
    lists = ", ".join(
        f"unnest([{', '.join(f'{name}{place}' for place in range(len(parts)))}]) AS {name}"
        for name in ("lo", "hi", "t")
    )
    places = ", ".join(str(place) for place in range(len(parts)))
    return (
        f"SELECT bool_and(ok) AS ok FROM (SELECT f, {check} AS ok FROM"
        f" (SELECT u, unnest([{places}]) AS f, {lists} FROM"
        f" (SELECT {unit} AS u, {named} FROM complete GROUP BY {unit})) GROUP BY f)"
    )


def _spread(output: Output) -> str:
    """The value differs from its most frequent one for enough units, or for none."""
    one = "CASE WHEN lo = hi THEN lo END"
    return f"({differ(one, 'lo', f' FILTER (WHERE {KNOWN})', output.min_units, weighs=True)})"


def _fair(output: Output) -> str:
    return f"({fair_sum('t', output)})"


def _enough(output: Output, *, rest: bool = False) -> str:
    """Rows of a condition are of enough units; of none where zeros may show, or there is no rest."""
    count = f"(count(*) FILTER (WHERE lo = 1 AND {KNOWN}))"
    least = f"{count} >= {output.min_units}"
    free = rest or output.zero_cells == "show"
    return f"({least} OR NOT bool_or(lo = 1))" if free else f"({least})"
