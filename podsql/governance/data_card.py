"""Row 3: the data card. Names, types, roles, bounds, units and dates; never a value or a count of rows."""

import msgspec

from podsql.governance.declared import Data
from podsql.governance.facts import Facts, Table
from podsql.governance.pages import Grid, Heading, Page, Pairs, Part, Text
from podsql.policy.document import ColumnClause, TableClause
from podsql.times import iso


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column that the policy lists; one that is not listed does not exist for analysts."""

    name: str
    type: str
    roles: tuple[str, ...] | None
    """None: every role."""
    bounds: tuple[float, float] | None
    bin: str
    declared_values: int
    """How many values the policy calls no secret; which, only policy.toml says."""
    leaves_by_row: bool


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One table."""

    table: str
    description: str
    source: str
    sensitivity: str
    controller: str
    kind: str
    file: str
    mode: str
    privacy_unit: str
    local_keys: tuple[str, ...]
    release: str
    source_changed: str
    opt_out: str
    columns: tuple[Column, ...]
    every_other_column: bool


class DataCard(msgspec.Struct, frozen=True, kw_only=True):
    """Every table of the pod."""

    pod: str
    at: str
    data_version: str
    refreshed: str
    """When the pod last took a snapshot."""
    tables: tuple[Dataset, ...]


def data_card(facts: Facts) -> DataCard:
    """The card."""
    taken = [e for e in facts.log.entries if e.event in ("start", "data")]
    return DataCard(
        pod=facts.pod,
        at=iso(facts.now),
        data_version=taken[-1].data_version if taken else "",
        refreshed=iso(taken[-1].time) if taken else "",
        tables=tuple(_dataset(facts, table) for table in facts.tables),
    )


def clause_of(facts: Facts, table: str) -> TableClause | None:
    """What the policy says of a table: by its full name, its short one in ``main``, or ``*``."""
    folded = {name.lower(): clause for name, clause in facts.policy.tables.items()}
    short = table.removeprefix("main.")
    return folded.get(table.lower()) or folded.get(short.lower()) or folded.get("*")


def _dataset(facts: Facts, table: Table) -> Dataset:
    told = facts.declared.data.get(table.name, Data())
    clause = clause_of(facts, table.name) or TableClause()
    types = {name.lower(): kind for name, kind in table.types.items()}
    opted = table.opt_out
    return Dataset(
        table=table.name,
        description=told.description,
        source=told.source,
        sensitivity=told.sensitivity,
        controller=told.controller,
        kind=table.kind,
        file=table.source,
        mode=table.mode,
        privacy_unit=clause.privacy_unit or table.privacy_unit or "",
        local_keys=table.local_keys,
        release=clause.release or facts.policy.release,
        source_changed=iso(table.refreshed) if table.refreshed is not None else "",
        opt_out="none"
        if opted is None
        else f"{opted.units if opted.units is not None else '?'} units",
        columns=tuple(
            _column(name, rules, types.get(name.lower(), ""), clause)
            for name, rules in clause.columns.items()
            if name != "*"
        ),
        every_other_column="*" in clause.columns,
    )


def _column(name: str, rules: ColumnClause, kind: str, clause: TableClause) -> Column:
    return Column(
        name=name,
        type=kind,
        roles=rules.roles,
        bounds=rules.bounds,
        bin="" if rules.bin is None else str(rules.bin),
        declared_values=len(rules.values or ()),
        leaves_by_row=name in clause.rows or "*" in clause.rows,
    )


def page(found: DataCard) -> Page:
    """For people."""
    parts: list[Part] = [
        Text(
            f"As of {found.at}. Data version {found.data_version or 'none yet'}, taken {found.refreshed or 'never'}."
        )
    ]
    for one in found.tables:
        parts += [Heading(one.table), Pairs(_pairs(one)), _columns(one)]
    return Page(f"Data at pod {found.pod}", tuple(parts))


def _pairs(one: Dataset) -> dict[str, str]:
    return {
        "description": one.description,
        "source": one.source,
        "sensitivity": one.sensitivity,
        "controller": one.controller,
        "kind": f"{one.kind}, {one.mode}",
        "file": f"{one.file}, last changed {one.source_changed or 'unknown'}",
        "privacy unit": one.privacy_unit or "none: each row counts as a unit",
        "local keys": ", ".join(one.local_keys) or "none",
        "release": one.release,
        "opted out": one.opt_out,
    }


def _columns(one: Dataset) -> Part:
    rows = tuple(
        (
            column.name,
            column.type or "as the file has it",
            "every role" if column.roles is None else ", ".join(column.roles),
            "none" if column.bounds is None else f"{column.bounds[0]:g} to {column.bounds[1]:g}",
            column.bin or "none",
            str(column.declared_values) if column.declared_values else "none",
            "yes" if column.leaves_by_row else "no",
        )
        for column in one.columns
    )
    if one.every_other_column:
        rows += (("every other column", "", "as the policy's * says", "", "", "", ""),)
    names = ("column", "type", "roles", "bounds", "bin", "declared values", "leaves by row")
    return Grid(names, rows, none="the policy lists no column: nobody can use this table")
