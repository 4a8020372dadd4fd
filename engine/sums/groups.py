"""A pod's groups of partial states as cells of one sum, and the sums of all pods as such groups again.

Every pod brings all groups of the key lists: what it has no row of as zeros. A group that it may not
show it spoils, that is it brings random words in all its cells, the check among them: so the sum of the
group tells nothing, not even how many pods spoiled it. Rule to keep: what a pod spoils follows from what
it would show in the clear, and a group is read only if no pod spoiled it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from podsql.engine.sums.doubles import ONE, QUANTUM_BITS, units_of
from podsql.errors import Error, error
from podsql.planner.key_lists import KeyList, KeyValue, groups_of
from podsql.planner.masked_states import WIDTH, State

Group = tuple[KeyValue, ...]
Values = list[Any]
"""One a state, as it stands in the pods' tables: int, Decimal, float or None."""
_MISFIT: Final = frozenset({"DATA", "OVERFLOW"})
_ROUNDING: Final = Fraction(4.5e-16)
"""Means of equal values may be off by so much, relatively (``planner/rules/merge_moments.py``)."""
_PRECISION: Final = Fraction(1, 2**40)
"""Of a variance: where the cells' quantum could move it by more, it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSums:
    """What one statement sums: these states for every group of ``lists``."""

    states: tuple[State, ...]
    lists: tuple[KeyList, ...] = ()

    @property
    def width(self) -> int:
        """Cells of one group: its check and its states."""
        return 1 + sum(WIDTH[state.kind] for state in self.states)

    @property
    def cells(self) -> int:
        """Of all groups, and the check of what lies outside the lists."""
        return self.width * len(groups_of(self.lists)) + 1

    def put(
        self, rows: Mapping[Group, Values], *, short: bool, limit: int, hides: bool
    ) -> tuple[list[int], tuple[int, ...]]:
        """The cells of a pod that may show ``rows``, and those that it spoils.

        ``short``: it keeps other groups back. ``hides``: a figure that does not fit is kept back too,
        else it is DATA or OVERFLOW. ``limit``: the largest magnitude of a cell.
        """
        groups = groups_of(self.lists)
        shown: dict[Group, list[int]] = {}
        for group, values in rows.items():
            try:
                shown[group] = self._cells(values, limit)
            except Error as fault:
                if not hides or fault.code not in _MISFIT:
                    raise
                short = True
        figures: list[int] = []
        spoiled: list[int] = []
        for group in groups:
            if short and group not in shown:
                spoiled += range(len(figures), len(figures) + self.width)
            figures += [0, *shown.get(group, [0] * (self.width - 1))]
        if short or not shown.keys() <= set(groups):
            spoiled.append(len(figures))
        return [*figures, 0], tuple(spoiled)

    def read(self, cells: Sequence[int], pods: int) -> tuple[dict[Group, Values], bool]:
        """The states of every group that no pod spoiled, and whether that is all there is.

        BAD_RESULT for what no rows give, NOT_EXACT for a spread that the cells cannot hold.
        """
        found: dict[Group, Values] = {}
        groups = groups_of(self.lists)
        for place, group in enumerate(groups):
            check, *own = cells[place * self.width : (place + 1) * self.width]
            if check == 0:
                found[group] = self._values(own, pods)
        return found, len(found) == len(groups) and cells[-1] == 0

    def _cells(self, values: Values, limit: int) -> list[int]:
        found: list[int] = []
        for state, value in zip(self.states, values, strict=True):
            if value is None:
                found += [0] * WIDTH[state.kind]
            elif state.kind in ("count", "whole"):
                found.append(_integer(value, state.scale))
            else:
                found += divmod(units_of(_additive(state, values, value)), ONE)
        if any(abs(cell) > limit for cell in found):
            raise error("OVERFLOW", "a figure of a sum is out of range")
        return found

    def _values(self, cells: Sequence[int], pods: int) -> Values:
        sums: list[int] = []
        at = 0
        for state in self.states:
            own = cells[at : at + WIDTH[state.kind]]
            sums.append(own[0] if len(own) == 1 else own[0] * ONE + own[1])
            at += len(own)
        return [self._value(state, sums, place, pods) for place, state in enumerate(self.states)]

    def _value(self, state: State, sums: Sequence[int], place: int, pods: int) -> Any:
        own, count = sums[place], sums[place if state.kind == "count" else state.count]
        if not 0 <= count < 2**63:
            raise error("BAD_RESULT", "a secure sum counts what no rows give")
        if state.kind == "count":
            return count
        if not count:
            return None
        if state.kind == "whole":
            return _decimal(own, state.scale)
        if state.kind == "double":
            return own / ONE
        if state.kind == "mean":
            return own / (count * ONE)
        return _variance(count, sums[state.mean], own, pods)


def _additive(state: State, values: Values, value: float) -> float | Fraction:
    """What of a pod's partial adds up; DATA for what is no finite number."""
    if state.kind == "double":
        return value
    count, own = int(values[state.count]), _exact(value)
    return count * (own if state.kind == "mean" else own + _exact(values[state.mean]) ** 2)


def _exact(figure: float) -> Fraction:
    units_of(figure)
    return Fraction(figure)


def _variance(count: int, total: int, squares: int, pods: int) -> float:
    """Of added counts, sums and sums of squares (in quanta), as exact as the pods' own moments."""
    mean = Fraction(total, count * ONE)
    around = Fraction(squares, ONE) - count * mean**2
    lost = Fraction(pods, 2 << QUANTUM_BITS) * (1 + 2 * abs(mean))
    if around < -lost:
        raise error("BAD_RESULT", "a secure sum has squares that no rows give")
    wobble = count * (mean * _ROUNDING) ** 2
    if total == squares == 0 or (around <= wobble and lost <= wobble):
        return 0.0
    if lost > around * _PRECISION:
        raise error(
            "NOT_EXACT",
            "a variance is too small for the cells of a secure sum",
            hint="multiply the column by a constant, or ask without masks",
        )
    return float(around / count)


def _integer(value: int | Decimal, scale: int) -> int:
    """A whole number or decimal in units of its last place, exactly."""
    if isinstance(value, int):
        return value
    sign, digits, exponent = value.as_tuple()
    assert exponent == -scale
    size = int("".join(map(str, digits)))
    return -size if sign else size


def _decimal(units: int, scale: int) -> Decimal:
    digits = tuple(map(int, str(abs(units))))
    return Decimal((int(units < 0), digits, -scale))
