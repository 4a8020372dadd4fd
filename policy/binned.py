"""The gate for counts of public bins: what quantiles are made of, without a value leaving.

A bin is ``[low + k·width, low + (k+1)·width)`` of the column's declared bounds; what lies beyond
them counts as the bound. The pod joins neighbouring bins until enough units are in each
(``podsql/pod/joining.py``), so no count is of few people and no edge tells a smallest value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from podsql.planner.fragment import Binned
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.joins import Pair
from podsql.policy.measures import plain_column
from podsql.policy.populations import protected_row, row_of, units, with_public
from podsql.policy.regenerate import Output, select_of
from podsql.policy.rights import ColumnRights, bins_of
from podsql.policy.roles import protected
from podsql.policy.scope import Scope
from podsql.policy.shares import marks_of, share_list
from podsql.policy.total import attempt

MOST_BINS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BinOrder:
    """What the pod does with the bins' counts. Columns: keys, ``bin``, ``n``, ``u0``…, ``_u0``…"""

    keys: int
    last: int
    """Number of the last bin; NULL stands for rows without a value."""
    units: int
    """How many kinds of privacy unit are counted."""
    least: int
    """Units that a joined bin must have; 0: bins leave as they are."""
    complement: bool
    zero: bool
    """A group without a value is shown as such."""
    named: bool
    """``_u`` columns name the units, for the overlap guard."""
    levels: int


def bin_of(column: exp.Expr, scope: Scope, policy: Policy) -> tuple[exp.Expr, int]:
    """The number of the bin a value lies in (NULL, NaN: none), and that of the last one."""
    named = plain_column(column, scope)
    rights = scope.column(named) if named is not None else None
    if named is None or rights is None or not _may(rights, policy):
        raise Denial("AGG_NOT_ALLOWED")
    bins = bins_of(rights, policy)
    if bins is None:
        raise Denial("NO_BOUNDS")
    low, high, width = bins
    last = max(0, -int(-(high - low) // width) - 1)
    if last >= MOST_BINS:
        raise Denial("LIMIT")
    value = f"CAST({column.sql('duckdb')} AS DOUBLE)"
    text = (
        f"CASE WHEN NOT isnan({value}) THEN CAST(least(greatest(floor((least(greatest({value},"
        f" {low!r}::DOUBLE), {high!r}::DOUBLE) - {low!r}::DOUBLE) / {width!r}::DOUBLE), 0),"
        f" {last}) AS BIGINT) END"
    )
    return attempt(exp.maybe_parse(text, dialect="duckdb")), last


def judge_binned(
    fragment: Binned,
    scope: Scope,
    pairs: tuple[Pair, ...],
    outputs: Sequence[Output],
    policy: Policy,
    salt: str,
    *,
    guarded: bool,
) -> tuple[str, BinOrder]:
    """The SQL that counts rows and units of each bin, and what is to be done with them."""
    rules = policy.output
    count = len(fragment.keys)
    number, last = bin_of(scope.outputs[count], scope, policy)
    names = [f"k{place}" for place in range(count)]
    found = units(scope, protected(scope), pairs) if guarded else []
    people = [row_of(protected(scope)) if unit is None else unit for unit in found]
    projections = [
        exp.alias_(exp.TryCast(this=key.copy(), to=output.wire.copy()), name)
        for key, output, name in zip(scope.outputs[:count], outputs, names, strict=False)
    ]
    projections.append(exp.alias_(number, "bin"))
    projections += [exp.alias_(unit.copy(), f"e{place}") for place, unit in enumerate(people)]
    marks = marks_of(scope) if guarded and rules.overlap_guard else []
    projections += [exp.alias_(mark, name) for name, mark in marks]
    if guarded and any(one.inner is not None and with_public(one.inner) for one in scope.sources):
        raise Denial("SUBQUERY_ROWS")  # which may have copied a row to several of its own
    once = guarded and with_public(scope)
    if once:
        if not all(one.rights.table.numbered or one.inner for one in protected(scope)):
            raise Denial("ENTITY_COUNT")
        projections.append(exp.alias_(protected_row(scope), "c"))
    rows = select_of(scope, projections).sql(dialect="duckdb", comments=False)
    order = BinOrder(
        keys=count,
        last=last,
        units=len(people),
        least=rules.min_units if guarded else 0,
        complement=guarded and rules.complement,
        zero=not guarded or rules.zero_cells == "show",
        named=bool(marks),
        levels=rules.group_levels if guarded else 0,
    )
    listed = [
        share_list(f"e{place}", [(name, name) for name, _ in marks], salt)
        for place in range(len(people) if marks else 0)
    ]
    copied = sum(not one.hidden for one in protected(scope)) > 1
    counted = "DISTINCT c" if once else "*"
    return _counts(rows, names, order, listed, counted, copied=copied), order


def _counts(
    rows: str,
    names: Sequence[str],
    order: BinOrder,
    listed: Sequence[str],
    counted: str,
    *,
    copied: bool,
) -> str:
    """Rows and units of each bin. A unit counts in its lowest bin alone, so that units add up.

    What a public table copies counts once (``counted``). ``copied``: protected ones may copy rows;
    where one unit has more than half of them, nobody is counted, and the group is withheld.
    """
    lowest, sums = [], [f"CAST(count({counted}) AS BIGINT) AS n"]
    apart = ", ".join(names)
    group = f"OVER (PARTITION BY {apart})" if names else "OVER ()"
    for place in range(order.units):
        same = ", ".join([*names, f"e{place}"])
        lowest.append(f"min(bin) OVER (PARTITION BY {same}) AS f{place}")
        people = f"count(DISTINCT e{place}) FILTER (WHERE bin IS NULL OR bin = f{place})"
        if copied:
            rows = (
                f"SELECT *, count(e{place}) {group} AS t{place},"
                f" count(e{place}) OVER (PARTITION BY {same}) AS w{place} FROM ({rows})"
            )
            lowest.append(f"max(w{place}) {group} AS m{place}")
            people = f"CASE WHEN bool_and(2 * m{place} <= t{place}) THEN {people} ELSE 0 END"
        sums.append(f"CAST({people} AS BIGINT) AS u{place}")
        if order.named:
            sums.append(f"{listed[place]} FILTER (WHERE NOT (e{place}) IS NULL) AS _u{place}")
    marked = ", ".join(["*", *lowest])
    groups = ", ".join([*names, "bin"])
    return (
        f"WITH placed AS ({rows}), marked AS (SELECT {marked} FROM placed)"
        f" SELECT {groups}, {', '.join(sums)} FROM marked GROUP BY {groups} ORDER BY {groups}"
    )


def _may(rights: ColumnRights, policy: Policy) -> bool:
    listed = rights.aggregates
    return (
        policy.output.quantile == "binned"
        and not rights.is_key
        and rights.may("measure")
        and (listed is None or bool({"quantile", "median"} & listed))
        and (policy.functions.aggregates is None or "quantile" in policy.functions.aggregates)
    )
