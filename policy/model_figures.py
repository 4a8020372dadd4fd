"""What the products of a model's columns must be like: the rules on figures, pair by pair.

Over the relation ``complete``, whose columns are numbers already. Rule to keep: these are the rules of ``spread.py`` and ``dominance.py``, stated for
every sum of products that a model is made of, and for every cell that conditions make of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Final

from podsql.policy.document import Output
from podsql.policy.dominance import fair_sum
from podsql.policy.spread import differ

KNOWN: Final = "u IS NOT NULL"
TOGETHER: Final = 12
"""Figures that are checked in one pass over the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignColumn:
    """``level`` of the expression ``of``: rows with different levels of one are different rows."""

    name: str
    indicator: bool = False
    of: str = ""
    level: str = ""
    magnitude: bool = False


@dataclass(frozen=True, slots=True)
class _Figure:
    """A sum of ``value`` over the rows of ``condition``; without a value, their number."""

    value: str
    condition: str = ""
    magnitude: bool = False

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
        ([one for one in figures if not one.value], _enough(output)),
    )
    return tuple(
        _query(listed[start : start + TOGETHER], unit, check)
        for listed, check in kinds
        for start in range(0, len(listed), TOGETHER)
    )


def _figures(columns: Sequence[DesignColumn]) -> Iterator[_Figure]:
    numbers = [one for one in columns if not one.indicator]
    levels = [one for one in columns if one.indicator]
    for one in numbers:
        yield _Figure(one.name, magnitude=one.magnitude)
    for one, other in combinations_with_replacement(numbers, 2):
        yield _Figure(f"{one.name} * {other.name}")
    for level in levels:
        for side in (1, 0):
            yield _Figure("", f"{level.name} = {side}")
            for one in numbers:
                yield _Figure(one.name, f"{level.name} = {side}", magnitude=one.magnitude)
    for place, one in enumerate(levels):
        for other in levels[place + 1 :]:
            if one.of and one.of == other.of and one.level != other.level:
                continue
            for left, right in product((1, 0), repeat=2):
                yield _Figure("", f"{one.name} = {left} AND {other.name} = {right}")


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


def _enough(output: Output) -> str:
    """Rows of a condition are of enough units; of none only where zeros may show."""
    count = f"(count(*) FILTER (WHERE lo = 1 AND {KNOWN}))"
    least = f"{count} >= {output.min_units}"
    return f"({least} OR NOT bool_or(lo = 1))" if output.zero_cells == "show" else f"({least})"
