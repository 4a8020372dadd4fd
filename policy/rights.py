"""What the policy document says about one table of the pod. Rule to keep: unlisted means absent."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from podsql.errors import error
from podsql.planner.fragment import Disclosure, Field
from podsql.policy.document import ColumnClause, Policy, Release, TableClause, Use

STRENGTH: Final[tuple[Release, ...]] = ("dp", "sdc_merged", "sdc_local", "rows")
"""Strictest first: of several releases for one table, the strictest holds."""
PLAIN_ROLES: Final[frozenset[str]] = frozenset({"join_key", "dimension", "filter", "measure"})
KEY_ROLES: Final[frozenset[str]] = frozenset({"join_key", "entity_key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTable:
    """A table as this pod has it. ``name`` is ``schema.table``."""

    name: str
    kind: Literal["federated", "reference"] = "federated"
    columns: tuple[Field, ...]
    privacy_unit: str | None = None
    local_keys: tuple[str, ...] = ()
    content_hash: str = ""
    rows: int = 0
    numbered: bool = True
    """The engine numbers its rows (``rowid``): false of a dataset that is served in place."""
    origins: tuple[str, ...] = ()
    """The files that its rows come from, by whatever name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRights:
    """A column the analyst may name. ``roles`` None: every role, no rule about roles."""

    name: str
    type: str
    roles: frozenset[str] | None
    aggregates: frozenset[str] | None
    max_distinct: int | None = None
    """Most distinct values it may have as a group key."""
    magnitude: bool = False
    """Sums of it are checked for dominance."""
    bounds: tuple[float, float] | None = None
    values: tuple[str | float, ...] | None = None
    bin: float | None = None
    """Width of its public bins."""
    origin: str
    """``schema.table.column`` of the pod's own table; empty for a value computed from several."""

    def may(self, role: str) -> bool:
        """Whether the column has ``role``."""
        return self.roles is None or role in self.roles

    @property
    def is_key(self) -> bool:
        """Whether it names a privacy unit: counted and joined on, never looked at."""
        return self.roles is not None and "entity_key" in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRights:
    """A table the analyst may name; ``columns`` by lower-case name."""

    table: PodTable
    columns: dict[str, ColumnRights]
    release: Release
    rows: frozenset[str]
    """Lower-case names of columns that may leave row by row."""
    unit: str | None
    public: bool


def table_rights(policy: Policy, table: PodTable, use: Use = "select") -> TableRights | None:
    """Rights on ``table``, or None if the document does not list it for ``use``."""
    clause = _clause(policy, table.name)
    if clause is None or use not in (clause.allow if clause.allow is not None else policy.allow):
        return None
    unit = _unit(clause, table)
    listed = {name.lower(): rules for name, rules in clause.columns.items()}
    columns = {}
    for column in table.columns:
        folded = column.name.lower()
        named = listed.get(folded)
        rules = named if named is not None else listed.get("*")
        if rules is not None:
            is_unit = unit is not None and folded == unit.lower()
            columns[folded] = _column(
                table.name, column, rules, is_unit=is_unit, named=named is not None
            )
    if not columns:
        return None
    public = table.kind == "reference" if clause.public is None else clause.public
    if public:
        columns = {name: _without_roles(column) for name, column in columns.items()}
    release = clause.release or policy.release
    rows = (
        frozenset(columns)
        if "*" in clause.rows
        else frozenset(name.lower() for name in clause.rows)
    )
    return TableRights(
        table=table,
        columns=columns,
        release=release,
        rows=rows & columns.keys() if release == "rows" else frozenset(),
        unit=unit,
        public=public,
    )


def with_explicit_roles(rights: TableRights) -> TableRights:
    """``rights`` where protected columns without roles have those of ordinary ones.

    Where rows may not leave, "every role" would let a condition or a CASE pick one row out.
    """
    if rights.public:
        return rights
    unit = (rights.unit or "").lower()
    columns = {
        name: column
        if column.roles is not None
        else replace(column, roles=KEY_ROLES if name == unit else PLAIN_ROLES)
        for name, column in rights.columns.items()
    }
    return rights if columns == rights.columns else replace(rights, columns=columns)


def bins_of(column: ColumnRights, policy: Policy) -> tuple[float, float, float] | None:
    """Low, high and width of the column's public bins, if quantiles of it may be had to the bin."""
    if policy.output.quantile != "binned" or column.bounds is None or column.bin is None:
        return None
    return (*column.bounds, column.bin)


def strictest(*releases: Release | None) -> Release:
    """The strictest of the releases that are not None."""
    given = [release for release in releases if release is not None]
    return min(given, key=STRENGTH.index)


def disclosures(policy: Policy, by_row: bool) -> tuple[Disclosure, ...]:
    """Classes of partials that may leave, for the offer; ``by_row``: rows may."""
    found: tuple[Disclosure, ...] = ("additive", "moments", "distinct")
    if by_row:
        return (*found, "extreme", "rows")
    return (*found, "extreme") if policy.output.extremes == "allow" else found


def _clause(policy: Policy, name: str) -> TableClause | None:
    for written, clause in policy.tables.items():
        qualified = written if "." in written or written == "*" else f"main.{written}"
        if qualified.lower() == name.lower():
            return clause
    return policy.tables.get("*")


def _unit(clause: TableClause, table: PodTable) -> str | None:
    keys = [
        name
        for name, rules in clause.columns.items()
        if rules.roles is not None and "entity_key" in rules.roles and name != "*"
    ]
    declared = [
        name for name in (clause.privacy_unit, table.privacy_unit, *keys) if name is not None
    ]
    if len({name.lower() for name in declared}) > 1:
        raise error(
            "POLICY_FILE",
            f"table {table.name!r} has more than one privacy unit: {', '.join(sorted(set(declared)))}",
            hint="pod file, privacy_unit and the role entity_key must name the same column",
        )
    if not declared:
        return None
    for column in table.columns:
        if column.name.lower() == declared[0].lower():
            return column.name
    raise error(
        "POLICY_FILE", f"privacy unit {declared[0]!r} is not a column of table {table.name!r}"
    )


def _without_roles(column: ColumnRights) -> ColumnRights:
    return replace(column, roles=None, aggregates=None, max_distinct=None, magnitude=False)


def _column(
    table: str, column: Field, rules: ColumnClause, *, is_unit: bool, named: bool
) -> ColumnRights:
    roles = None if rules.roles is None else frozenset(rules.roles)
    if is_unit and roles is not None:
        # A unit covered only by "*" is not thereby given the roles of ordinary columns.
        roles = (roles if named else roles & {"join_key"}) | {"entity_key"}
    return ColumnRights(
        name=column.name,
        type=column.type,
        roles=roles,
        aggregates=None if rules.aggregates is None else frozenset(rules.aggregates),
        max_distinct=rules.max_distinct,
        magnitude=rules.magnitude,
        bounds=rules.bounds,
        values=rules.values,
        bin=rules.bin if not isinstance(rules.bin, str) else None,
        origin=f"{table}.{column.name}",
    )
