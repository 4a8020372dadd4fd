"""The table that a name outside a SELECT means: found as FROM would find it."""

from sqlglot import exp

from podsql.planner.catalog import Catalog, CatalogTable
from podsql.planner.rules.bind_tables import find_table


def table_named(name: str, catalog: Catalog) -> CatalogTable:
    """``name`` or ``schema.name``; UNKNOWN_TABLE with the nearest name."""
    schema, _, own = name.rpartition(".")
    node = exp.Table(this=exp.to_identifier(own, quoted=True))
    if schema:
        node.set("db", exp.to_identifier(schema, quoted=True))
    return find_table(node, catalog)[0]
