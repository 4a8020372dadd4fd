"""``SHOW PODS | TABLES | GRANTS`` and ``DESCRIBE t``: what the pods' offers say, as tables.

Every word of it comes from the signed offers (and, for temporary tables, from the connection);
nothing else is asked and no data is read. Several names in one cell are joined by commas, so that
every format holds them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.engine.temporary import Table
from podsql.planner.catalog import CatalogColumn, CatalogTable
from podsql.planner.naming import table_named
from podsql.planner.offer import ColumnOffer, TableOffer

PODS: Final = pa.schema(
    [
        ("pod", pa.string()),
        ("state", pa.string()),
        ("tables", pa.int64()),
        ("offer_until", pa.timestamp("ms", "UTC")),
    ]
)
"""``state``: ``ready``, or the code of the error that its silence is."""
TABLES: Final = pa.schema(
    [
        ("name", pa.string()),
        ("kind", pa.string()),
        ("columns", pa.int64()),
        ("rows", pa.int64()),
        ("pods", pa.string()),
        ("release", pa.string()),
    ]
)
"""``kind``: federated, reference or temporary. ``rows``: of temporary tables."""
COLUMNS: Final = pa.schema(
    [
        ("column_name", pa.string()),
        ("column_type", pa.string()),
        ("nullable", pa.bool_()),
        ("roles", pa.string()),
        ("local_key", pa.bool_()),
        ("privacy_unit", pa.bool_()),
        ("bins", pa.string()),
        ("pods", pa.string()),
        ("deviations", pa.string()),
    ]
)
"""``roles``: what every pod allows the column to be used as; ``any`` where no pod restricts it."""
GRANTS: Final = pa.schema(
    [
        ("table", pa.string()),
        ("pod", pa.string()),
        ("release", pa.string()),
        ("classes", pa.string()),
        ("min_units", pa.int64()),
        ("columns", pa.int64()),
        ("purpose", pa.string()),
        ("project", pa.string()),
    ]
)
"""``classes``: which classes of partial results may leave. ``min_units``: smallest group."""


def pods_shown(bound: Bound) -> pa.Table:
    """One row a pod of the manifest."""
    rows = []
    for name in sorted(bound.cards):
        offer, missing = bound.offers.get(name), bound.missing.get(name)
        rows.append(
            {
                "pod": name,
                "state": "ready" if missing is None else missing.code,
                "tables": None if offer is None else len(offer.tables),
                "offer_until": None if offer is None else offer.expires,
            }
        )
    return pa.Table.from_pylist(rows, schema=PODS)


def tables_shown(bound: Bound, temporary: Iterable[Table]) -> pa.Table:
    """One row a table: the pods' first, then this connection's own."""
    rows: list[dict[str, Any]] = [
        {
            "name": table.name,
            "kind": table.kind,
            "columns": len(table.columns),
            "pods": _listed(table.pods),
            "release": _listed(sorted(set(table.releases))),
        }
        for table in bound.catalog.tables.values()
    ]
    rows += [
        {
            "name": table.name,
            "kind": "temporary",
            "columns": len(table.fields),
            "rows": table.rows,
            "pods": _listed(table.origin.pods),
            "release": table.origin.release,
        }
        for table in temporary
    ]
    return pa.Table.from_pylist(rows, schema=TABLES)


def grants_shown(bound: Bound, purpose: str, project: str) -> pa.Table:
    """One row a table and pod."""
    rows = [
        {
            "table": table.name,
            "pod": pod,
            "release": table.release,
            "classes": "noised" if table.release == "dp" else _listed(table.disclosures),
            "min_units": table.min_units or None,
            "columns": len(table.columns),
            "purpose": purpose or None,
            "project": project or None,
        }
        for pod, offer in bound.offers.items()
        for table in offer.tables
    ]
    rows.sort(key=lambda row: (str(row["table"]), str(row["pod"])))
    return pa.Table.from_pylist(rows, schema=GRANTS)


def described(name: str, bound: Bound) -> pa.Table:
    """One row a column of a federated or reference table; UNKNOWN_TABLE with the nearest name."""
    table = table_named(name, bound.catalog)
    offers = {
        pod: offered
        for pod in table.pods
        for offered in bound.offers[pod].tables
        if offered.name == table.name
    }
    rows = [_column(column, table, offers) for column in table.columns]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def described_temporary(table: Table) -> pa.Table:
    """One row a column of a temporary table."""
    rows = [{"column_name": f.name, "column_type": f.type, "nullable": True} for f in table.fields]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def _column(
    column: CatalogColumn, table: CatalogTable, offers: Mapping[str, TableOffer]
) -> dict[str, Any]:
    own = {
        pod: found
        for pod, offered in offers.items()
        for found in offered.columns
        if found.name.lower() == column.name.lower()
    }
    roles, differing = _roles(own)
    return {
        "column_name": column.name,
        "column_type": column.type,
        "nullable": column.nullable,
        "roles": roles,
        "local_key": column.name.lower() in table.local_keys,
        "privacy_unit": column.name.lower() == (table.privacy_unit or "").lower(),
        "bins": None if column.bins is None else "{:g} to {:g} by {:g}".format(*column.bins),
        "pods": _listed(own),
        "deviations": "; ".join(_deviations(column, table, offers) + differing) or None,
    }


def _roles(own: Mapping[str, ColumnOffer]) -> tuple[str, list[str]]:
    """The roles that every pod gives, and the pods that give others than those."""
    restricted = [set(found.roles) for found in own.values() if found.roles]
    if not restricted:
        return "any", []
    common = set.intersection(*restricted)
    others = [
        f"{pod}: roles {_listed(found.roles) or 'any'}"
        for pod, found in own.items()
        if set(found.roles) != common
    ]
    return _listed(sorted(common)) or "none", others


def _deviations(
    column: CatalogColumn, table: CatalogTable, offers: Mapping[str, TableOffer]
) -> list[str]:
    """Who differs, and how: the type it has, or what it does not declare."""
    found = [
        f"{pod}: {'has type ' + own if own else 'has no such column'}"
        for pod, own in column.deviations
    ]
    name = column.name.lower()
    for pod, offered in offers.items():
        if name in {key.lower() for key in offered.local_keys} and name not in table.local_keys:
            found.append(f"{pod}: a local key there only")
        if name == (offered.privacy_unit or "").lower() and table.privacy_unit is None:
            found.append(f"{pod}: the privacy unit there only")
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
