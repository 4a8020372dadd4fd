"""Which bins of a model's predictions are counted together, so that no count is of few units.

From the lowest bin on, bins are joined until enough units of either target are in them; what is left at
the end goes to the last that were. A unit counts in its lowest bin of a target only, so the units of joined
bins are at least the sum of theirs. Rule to keep: every count that leaves, and all that it leaves out, is of
``least`` units of each kind.
"""

from collections.abc import Sequence

from podsql.planner.training.written import Written


def joined_bins(written: Written, units: Sequence[str], least: int) -> str:
    """SELECT over ``binned`` of every ``bin`` and its ``cell``: the last of the bins that it is joined with;
    NULL: there are too few units in all."""
    names = [f"u{kind}_{target}" for kind in range(len(units)) for target in (0, 1)]
    counted = [
        f"counted{kind} AS (SELECT bin AS b,"
        f" count(*) FILTER (WHERE y = 0) AS u{kind}_0, count(*) FILTER (WHERE y = 1) AS u{kind}_1"
        f" FROM (SELECT {unit} AS e, y, min(bin) AS bin FROM binned WHERE {unit} IS NOT NULL"
        f" GROUP BY {unit}, y) GROUP BY bin)"
        for kind, unit in enumerate(units)
    ]
    joins = " ".join(f"LEFT JOIN counted{kind} USING (b)" for kind in range(len(units)))
    here = ", ".join(f"'{name}': coalesce({name}, 0)" for name in names)
    enough = " AND ".join(f"a.{name} >= {least}" for name in names)
    anew = ", ".join(f"'{name}': x.{name}" for name in names)
    added = ", ".join(f"'{name}': a.{name} + x.{name}" for name in names)
    last = written.bins - 1
    return (
        f"WITH {', '.join(counted)}, walked AS (SELECT list_reduce(list("
        f"{{'b': b, {here}, 'ends': []::BIGINT[]}} ORDER BY b), lambda a, x:"
        f" CASE WHEN {enough} THEN {{'b': x.b, {anew}, 'ends': list_append(a.ends, a.b)}}"
        # the lower half's rest goes down, so that the halves stay apart
        f" WHEN x.b = {written.half} AND len(a.ends) > 0"
        f" THEN {{'b': x.b, {anew}, 'ends': list_append(a.ends[:-2], a.b)}}"
        f" ELSE {{'b': x.b, {added}, 'ends': a.ends}} END) AS a"
        f" FROM range({written.bins}) t(b) {joins})"
        f", ended AS (SELECT CASE WHEN {enough} THEN list_append(a.ends, {last})"
        f" WHEN len(a.ends) > 0 THEN list_append(a.ends[:-2], {last}) END AS ends FROM walked)"
        f" SELECT b AS bin, list_filter(ends, lambda one: one >= b)[1] AS cell"
        f" FROM range({written.bins}) t(b), ended"
    )
