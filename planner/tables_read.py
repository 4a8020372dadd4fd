"""Which tables a SELECT reads, whatever is known of them.

Rule to keep: the tree is DuckDB's own, so a statement that only DuckDB's grammar knows is read too;
a name that a WITH query hides is no table.
"""

from collections.abc import Iterator
from typing import Any

from podsql.planner.syntax import serialised


def tables_read(sql: str) -> frozenset[tuple[str, ...]]:
    """Names as written, part by part (``("x",)``, ``("main", "x")``); SYNTAX, STATEMENT as ``parse``."""
    return frozenset(_tables(serialised(sql), frozenset()))


def _tables(node: Any, hidden: frozenset[str]) -> Iterator[tuple[str, ...]]:
    if isinstance(node, list):
        for item in node:
            yield from _tables(item, hidden)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") == "BASE_TABLE":
        parts = (node["catalog_name"], node["schema_name"], node["table_name"])
        named = tuple(part for part in parts if part)
        if len(named) > 1 or named[0].lower() not in hidden:
            yield named
        return
    for entry in (node.get("cte_map") or {}).get("map", ()):
        name, query = entry["key"].lower(), entry["value"]["query_node"]
        recursive = query["type"] == "RECURSIVE_CTE_NODE"
        yield from _tables(query, hidden | {name} if recursive else hidden)
        hidden |= {name}
    for key, value in node.items():
        if key != "cte_map":
            yield from _tables(value, hidden)
