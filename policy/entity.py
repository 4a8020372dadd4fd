"""The rights on a derived table that is grouped by its privacy unit (relation state ENTITY).

Grouping by the unit releases nothing: each row is still about one unit, so the threshold waits for
the aggregate around it (Snowflake calls this deferral). Rule to keep: a column computed here may
be used for no more than the columns it was computed from.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sqlglot import exp

from podsql.planner.fragment import Field
from podsql.policy.denial import Denial
from podsql.policy.document import Policy
from podsql.policy.functions import aggregate
from podsql.policy.joins import Pair
from podsql.policy.measures import degree
from podsql.policy.populations import calls_in, same_units
from podsql.policy.reading import Derived
from podsql.policy.rights import ColumnRights, PodTable, TableRights, strictest
from podsql.policy.roles import (
    arguments,
    protected,
    require_aggregates,
    require_no_aggregates,
    require_output,
)
from podsql.policy.scope import Scope
from podsql.policy.total import leans_on_bounds

COUNTED: Final = frozenset({"dimension", "filter"})
SUMMED: Final = frozenset({"measure"})
COMPUTED: Final = "DOUBLE"
"""Never a lossless target of a cast, so that nothing built on the value passes as plain."""


def entity_rights(
    inner: Scope,
    derived: Derived,
    policy: Policy,
    *,
    open_rows: bool,
    pairs: tuple[Pair, ...] = (),
) -> TableRights:
    """Rights on ``derived``. ``open_rows``: everything it reads may leave row by row.

    ``pairs``: what its tables are joined on.
    """
    keys = [inner.outputs[place] for place in sorted(derived.keys)]
    values = [out for place, out in enumerate(inner.outputs) if place not in derived.keys]
    require_no_aggregates(keys)
    require_aggregates(values)
    for value in values:
        require_output(value, inner, policy, guarded=not open_rows)
    owners = protected(inner)
    columns = dict(_columns(inner, derived, free=open_rows or not owners))
    base = owners[0].rights if owners else inner.sources[0].rights
    # A row of it is about every protected table that it is made of.
    release = strictest(base.release, *(owner.rights.release for owner in owners))
    table = PodTable(
        name=base.table.name,
        kind=base.table.kind,
        columns=tuple(Field(column.name, column.type) for column in columns.values()),
        numbered=False,
    )
    if open_rows or not owners:
        return TableRights(
            table=table,
            columns=columns,
            release=release,
            rows=frozenset(columns),
            unit=None,
            public=not owners,
        )
    return TableRights(
        table=table,
        columns=columns,
        release=release,
        rows=frozenset(),
        unit=_unit(inner, derived, pairs),
        public=False,
    )


def _unit(inner: Scope, derived: Derived, pairs: tuple[Pair, ...]) -> str:
    """The key that names the unit: of the first protected table, and by the joins of any other."""
    (owner, *others) = protected(inner)
    outer = any(source.use.kind in ("right", "full") for source in inner.sources)
    if outer or owner.hidden or owner.rights.unit is None:
        raise Denial("SUBQUERY_ROWS")
    if {other.use.alias for other in others} - same_units(inner, [owner, *others], pairs):
        raise Denial("SUBQUERY_ROWS")
    for place in derived.keys:
        key = inner.outputs[place]
        if (
            isinstance(key, exp.Column)
            and key.table == owner.use.alias
            and key.name == owner.rights.unit
        ):
            return derived.names[place]
    raise Denial("SUBQUERY_ROWS")


def _columns(inner: Scope, derived: Derived, *, free: bool) -> Iterator[tuple[str, ColumnRights]]:
    owners = protected(inner)
    keys = [inner.outputs[place] for place in derived.keys]
    tables = {column.table for key in keys for column in key.find_all(exp.Column)}
    # A key of another protected table repeats the values of the first, once for each of its rows.
    copied = len(owners) > 1 and tables != {owners[0].use.alias}
    for place, (name, tree) in enumerate(zip(derived.names, inner.outputs, strict=True)):
        if place in derived.keys and isinstance(tree, exp.Column):
            own = inner.column(tree)
            roles = own.roles - SUMMED if copied and own.roles is not None else own.roles
            yield name.lower(), replace(own, name=name, roles=roles)
        else:
            yield (
                name.lower(),
                ColumnRights(
                    name=name,
                    type=COMPUTED,
                    roles=None if free else _roles(tree, inner),
                    aggregates=None if free else _aggregates(tree, inner),
                    magnitude=any(inner.column(one).magnitude for one in tree.find_all(exp.Column)),
                    origin="",
                ),
            )


def _roles(tree: exp.Expr, inner: Scope) -> frozenset[str]:
    """A FILTER inside would tell units apart without being counted as a contribution.

    So would one column that weighs another, or a power: what is around it sees one value only.
    Rows of one protected table may be copied by those of another, so they are only counted.
    """
    copied = len(protected(inner)) > 1
    columns = {(column.table, column.name) for column in tree.find_all(exp.Column)}
    if len(columns) > 1 or degree(tree) > 1:
        raise Denial("PREDICATE_IN_AGG")
    if tree.find(exp.Filter) is not None:
        raise Denial("PREDICATE_IN_AGG")
    # Nothing withholds a row of a derived table for a value outside its bounds.
    if any(leans_on_bounds(one, inner) for call in calls_in([tree]) for one in arguments(call)):
        raise Denial("ENCODE_IN_AGG")
    found = aggregate(tree)
    if found is not None and isinstance(tree, exp.Count) and isinstance(tree.this, exp.Star):
        return COUNTED if copied else COUNTED | SUMMED
    families = {one[1] for node in tree.walk() if (one := aggregate(node)) is not None}
    if families == {"count"}:
        return COUNTED
    if copied:
        raise Denial("PREDICATE_IN_AGG")
    # Anything but the bare aggregate could compare a measure, or mark one unit.
    if found is None or found[1] in ("extreme", "predicate"):
        raise Denial("PREDICATE_IN_AGG")
    return SUMMED


def _aggregates(tree: exp.Expr, inner: Scope) -> frozenset[str] | None:
    """What may be computed of it: what may be computed of every column in it."""
    listed = [inner.column(column).aggregates for column in tree.find_all(exp.Column)]
    given = [names for names in listed if names is not None]
    return frozenset.intersection(*given) if given else None
