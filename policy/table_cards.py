"""A table as the custodian's policy service sees it: what may be used how. Never a value of it."""

from podsql.policy.rights import TableRights
from podsql.service_messages import TableCard


def table_card(rights: TableRights) -> TableCard:
    """Names and declared types of the columns that the document lists, with their roles."""
    return TableCard(
        name=rights.table.name,
        kind=rights.table.kind,
        privacy_unit=rights.unit or "",
        release=rights.release,
        columns=tuple(
            (column.name, column.type, _roles(column.roles)) for column in rights.columns.values()
        ),
    )


def _roles(roles: frozenset[str] | None) -> str:
    return "any" if roles is None else ", ".join(sorted(roles)).replace("_", " ")
