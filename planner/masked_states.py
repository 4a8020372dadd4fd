"""What a pod's row of partial aggregates is made of, so that such rows can be added under masks.

Counts and sums add up as they are. A mean is brought as mean times count, a variance as count times
(variance + mean squared), in exact arithmetic: so both are found again from the sums, without the
cancellation that doubles would have. Rule to keep: analyst and pod read the same columns alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from podsql.errors import error
from podsql.planner.fragment import Column
from podsql.planner.wire_types import INTEGERS, decimal_parts

Kind = Literal["count", "whole", "double", "mean", "spread"]
WIDTH: Final[dict[Kind, int]] = {"count": 1, "whole": 1, "double": 2, "mean": 2, "spread": 2}
"""Cells of 128 bits that a state takes: a double is two."""
_CALL: Final = re.compile(r"(\w+)(\(.*\))", re.DOTALL)
ROWS: Final = "count(*)"
ROWS_ADDED: Final = "rows"
"""Name of that column where the statement itself does not count rows."""
_SUMS: Final = frozenset({"sum", "fsum"})


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One partial. ``count`` and ``mean`` are the places of those over the same values."""

    kind: Kind
    scale: int = 0
    """Decimal places of a ``whole``."""
    count: int = 0
    mean: int = 0


def read_states(columns: Sequence[Column]) -> tuple[State, ...]:
    """How each of ``columns`` adds up; NOT_SUPPORTED names one that does not."""
    calls = [_call(column) for column in columns]
    places: dict[tuple[str, str], int] = {}
    for place, call in enumerate(calls):
        places.setdefault(call, place)
    return tuple(
        _state(name, over, column, places)
        for (name, over), column in zip(calls, columns, strict=True)
    )


def with_counts(columns: Sequence[Column]) -> tuple[Column, ...]:
    """``columns``, and the counts without which a sum could not be told from one over no values."""
    found = list(columns)
    known = {_call(column) for column in columns}
    for column in columns:
        name, over = _call(column)
        if name != "count" and ("count", over) not in known:
            known.add(("count", over))
            place = len(found) - len(columns)
            found.append(Column(f"n{place}", f"count{over}", "BIGINT", "additive"))
    return tuple(found)


def _call(column: Column) -> tuple[str, str]:
    """Name of a partial's aggregate, and what it is over: argument and FILTER."""
    found = _CALL.fullmatch(column.sql)
    if found is None:
        raise _refused(column.sql.partition("(")[0])
    return found[1].lower(), found[2]


def _state(name: str, over: str, column: Column, places: dict[tuple[str, str], int]) -> State:
    if name != "count" and over.lstrip("( ").upper().startswith("DISTINCT"):
        raise _refused(f"{name}(DISTINCT …)")
    if name == "count" and column.type == "BIGINT":
        return State(kind="count")
    count = places.get(("count", over))
    if count is None:
        raise _refused(name)
    decimal = decimal_parts(column.type)
    if name in _SUMS and (decimal is not None or column.type in INTEGERS):
        return State(kind="whole", scale=0 if decimal is None else decimal[1], count=count)
    if name in _SUMS and column.type == "DOUBLE":
        return State(kind="double", count=count)
    if name == "favg" and column.type == "DOUBLE":
        return State(kind="mean", count=count)
    mean = places.get(("favg", over))
    if name == "var_pop" and column.type == "DOUBLE" and mean is not None:
        return State(kind="spread", count=count, mean=mean)
    raise _refused(name)


def _refused(name: str) -> Exception:
    return error(
        "NOT_SUPPORTED",
        f"{name} cannot be added under masks",
        hint="count, sum, avg, variance and standard deviation can",
    )
