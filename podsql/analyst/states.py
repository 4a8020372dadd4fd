"""What a pod's partial results can never be, whatever its rows: checked before they are merged.

A pod may lie about its rows; this finds what no rows give (policy list, X09). Rule to keep: only
what is impossible is refused, never what is merely odd.
"""

import re
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from podsql.errors import Error, error
from podsql.planner.fragment import Aggregate, Binned, Column
from podsql.planner.plan import Stage

_CALL: Final = re.compile(r"(\w+)\((.*)\)(?: FILTER \(WHERE (.*)\))?", re.DOTALL)
_COUNTS: Final = frozenset({"count", "count_if", "regr_count"})
_SQUARES: Final = frozenset({"var_pop", "regr_sxx", "regr_syy"})
_NEEDS_VALUES: Final = frozenset({"sum", "fsum", "favg", "var_pop", "min", "max"})


def require_sound(stage: Stage, table: pa.Table, *, pod: str, exact: bool) -> None:
    """BAD_RESULT if ``table`` holds a state that no rows give. ``exact``: counts are not rounded."""
    fragment = stage.fragment
    if isinstance(fragment, Binned):
        if not fragment.noisy:
            _require_bins(table, pod)
        return
    if not isinstance(fragment, Aggregate):
        return
    counts: dict[str, str] = {}
    for column in fragment.aggregates:
        name, over = _call(column)
        values = table[column.name]
        if name in _COUNTS and name != "count_if" and values.null_count:
            raise _bad(pod)
        if (name in _COUNTS or name in _SQUARES) and _any(pc.less(values, 0)):
            raise _bad(pod)
        if name == "count":
            counts[over] = column.name
    if not exact:
        return
    for column in fragment.aggregates:
        name, over = _call(column)
        if name in _NEEDS_VALUES and over in counts:
            empty = pc.equal(table[counts[over]], 0)
            if _any(pc.xor(empty, pc.is_null(table[column.name]))):
                raise _bad(pod)


def require_one_count(tables: Mapping[str, pa.Table]) -> None:
    """BAD_RESULT unless the last pod, and no other, says how many keys the pods have."""
    last = max(tables)
    for pod, table in tables.items():
        counts = table["n"].to_pylist()
        if len(counts) != (pod == last) or any(count is None or count < 0 for count in counts):
            raise _bad(pod)


def _require_bins(table: pa.Table, pod: str) -> None:
    low, high, n = (table[name] for name in ("low", "high", "n"))
    wrong = (
        pc.less(n, 0),
        pc.less(low, 0),
        pc.greater(low, high),
        pc.xor(*map(pc.is_null, (low, high))),
    )
    if n.null_count or any(_any(one) for one in wrong):
        raise _bad(pod)


def _call(column: Column) -> tuple[str, str]:
    """Name of a partial's aggregate, and what it is over: argument and FILTER."""
    found = _CALL.fullmatch(column.sql)
    if found is None:
        return "", ""
    return found[1].lower(), f"{found[2]} {found[3] or ''}"


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask).as_py())


def _bad(pod: str) -> Error:
    return error(
        "BAD_RESULT",
        "a pod's partial result is one that no rows give",
        pod=pod,
        hint="its custodian's podsql is faulty, or not what it says it is",
    )
