"""The SELECT behind survival curves: rows by bin of time, with the event and without, a row an arm and bin.

It is a statement like any other, so planner, gate, ledger and audit treat it as one.
Rule to keep: a row that no bin is for (no time, a negative one, an arm without a value) makes a group of its
own, and one whose event is not known a difference of counts; none is left out in silence.
"""

from collections.abc import Sequence
from typing import Final

NEGATIVE: Final = -1
"""The bin of times below 0; that of rows without a time is NULL."""
_LONGEST: Final = "1e308"
"""Infinity and NaN are no times."""


def curve_select(
    select: str,
    *,
    time: str,
    event: str,
    condition: bool,
    arms: Sequence[str],
    edges: Sequence[float],
) -> str:
    """The statement. Columns: ``arm0``, …, ``bin``, ``n`` rows, ``known`` ones by event, ``events``.

    Args:
        select: the SELECT of the rows.
        time, event, arms: names of its columns.
        condition: the event is true or false, not 1 or 0.
        edges: where bins begin, from 0, and the horizon.
    """
    when, happened = _quoted(time), _quoted(event)
    known = f"{happened} IS NOT NULL" if condition else f"{happened} IN (0, 1)"
    true = happened if condition else f"{happened} = 1"
    names = [f"arm{place}" for place in range(len(arms))]
    shown = [f"{_quoted(arm)} AS {name}" for arm, name in zip(arms, names, strict=True)]
    places = [f"WHEN {when} < {edge!r} THEN {place}" for place, edge in enumerate(edges[1:-1])]
    bins = " ".join(
        [
            f"WHEN {when} < 0 THEN {NEGATIVE}",
            *places,
            f"WHEN {when} <= {_LONGEST} THEN {len(places)}",
        ]
    )
    figures = [
        f"CASE {bins} END AS bin",
        "count(*) AS n",
        f"count(*) FILTER (WHERE {known}) AS known",
        f"count(*) FILTER (WHERE {true} AND {when} < {edges[-1]!r}) AS events",
    ]
    keys = ", ".join(str(place + 1) for place in range(len(arms) + 1))
    return f"SELECT {', '.join([*shown, *figures])} FROM ({select}) AS s GROUP BY {keys}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
