"""Refuse every node and function DuckDB's tree holds that is not on a closed list.

Reads DuckDB's own (normalised) tree, where names are the ones DuckDB will resolve. Rule to keep:
closed world; a new version of DuckDB can add syntax but never a way through.
"""

from typing import Any, Final

from podsql.errors import Error, error
from podsql.planner.functions import AGGREGATES, NEVER, REFUSED, SCALARS, WINDOWS

_CLASSES: Final = frozenset(
    [
        "CASE",
        "CAST",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "INTERVAL",
        "PARAMETER",
        "BETWEEN",
        "TYPE",
    ]
)
_OPERATORS: Final = frozenset(
    [
        "OPERATOR_IS_NULL",
        "OPERATOR_NOT",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "OPERATOR_COALESCE",
        "GROUPING_FUNCTION",
    ]
)
_WORDS: Final = {
    "LAMBDA": ("a lambda", "use plain expressions"),
    "POSITIONAL_REFERENCE": ("a column by position (#n)", "name the column"),
    "COLLATE": ("COLLATE", "compare lower(column)"),
}
_TABLES: Final = {
    "TABLE_FUNCTION": ("a table function", "only tables that pods offer can be read"),
    "EXPRESSION_LIST": ("VALUES", "put the values into IN or CASE"),
    "COLUMN_DATA": ("a table of literals", "put the values into IN or CASE"),
    "PIVOT": ("PIVOT", "aggregate with FILTER"),
    "SHOW_REF": ("SHOW", "use SHOW TABLES of the driver"),
}
_VOLATILE: Final = frozenset(
    [
        "random",
        "uuid",
        "uuidv4",
        "uuidv7",
        "now",
        "get_current_timestamp",
        "current_timestamp",
        "current_date",
        "current_time",
        "today",
        "get_current_time",
        "current_localtime",
        "current_localtimestamp",
        "localtime",
        "localtimestamp",
        "nextval",
        "currval",
        "setseed",
        "txid_current",
        "age",
    ]
)
_OUTSIDE: Final = frozenset(
    [
        "current_setting",
        "getvariable",
        "getenv",
        "error",
        "sleep_ms",
        "write_log",
        "query",
        "query_table",
        "stats",
        "version",
        "current_schema",
        "current_database",
        "current_user",
        "current_query",
        "json_execute_serialized_sql",
        "current_schemas",
        "current_catalog",
        "current_role",
        "session_user",
        "user",
    ]
)


def refuse_unlisted(tree: Any) -> None:
    """NOT_SUPPORTED with the part's name if ``tree`` holds anything unlisted."""
    for statement in tree["statements"]:
        _select(statement["node"])


def unlisted_function(name: str) -> Error:
    """The refusal of a function, with its reason."""
    if name in _VOLATILE:
        return error(
            "NOT_EXACT",
            f"{name} is not deterministic: every pod would see another value",
            hint="pass the value as a parameter",
        )
    if name in _OUTSIDE:
        return error("NOT_SUPPORTED", f"{name} reads more than the tables of the statement")
    return error(
        "NOT_SUPPORTED",
        f"function {name!r} is not on the list of those that are known to be exact",
        hint="use one of DuckDB's plain deterministic functions",
    )


def _select(node: Any) -> None:
    for entry in node["cte_map"]["map"]:
        if entry["value"].get("key_targets") or entry["value"].get("payload_aggregates"):
            raise _refused("a recursive WITH", "write the steps one by one")
        _select(entry["value"]["query_node"])
    if node["type"] == "SET_OPERATION_NODE":
        for arm in (node.get("left"), node.get("right"), *(node.get("children") or ())):
            if arm is not None:
                _select(arm)
        for modifier in node["modifiers"]:
            _modifier(modifier)
        return
    if node["type"] == "RECURSIVE_CTE_NODE":
        raise _refused("a recursive WITH", "write the steps one by one")
    if node["type"] != "SELECT_NODE":
        raise _refused("this form of query", "write plain SELECTs")
    if node.get("sample"):
        raise error("NOT_EXACT", "a sample is not deterministic", hint="filter on a column instead")
    _table(node["from_table"])
    for key, value in node.items():
        if key not in ("from_table", "cte_map", "modifiers"):
            _walk(value)
    for modifier in node["modifiers"]:
        _modifier(modifier)


def _modifier(modifier: Any) -> None:
    """ORDER BY, LIMIT, DISTINCT; a bare star in ORDER BY is ORDER BY ALL."""
    for order in modifier.get("orders", ()):
        subject = order["expression"]
        if not (subject["class"] == "STAR" and subject.get("columns") and not subject.get("expr")):
            _walk(subject)
    for key, value in modifier.items():
        if key != "orders":
            _walk(value)


def _table(table: Any) -> None:
    kind = table["type"]
    if table.get("sample"):
        raise error("NOT_EXACT", "a sample is not deterministic", hint="filter on a column instead")
    if kind == "JOIN":
        if table.get("ref_type") not in ("REGULAR", "CROSS"):
            raise _refused(f"a {str(table.get('ref_type')).lower()} join", "join on equality")
        _table(table["left"])
        _table(table["right"])
        _walk(table.get("condition"))
        return
    if kind == "SUBQUERY":
        inner = table["subquery"]
        _select(inner.get("node", inner))
        return
    if kind == "BASE_TABLE":
        if table.get("at_clause"):
            raise _refused("a table at a point in time (AT)", "read the current table")
        return
    if kind != "EMPTY":
        raise _refused(*_TABLES.get(kind, (f"FROM {kind.lower()}", "read tables that pods offer")))


def _walk(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _walk(item)
    elif isinstance(node, dict):
        if "class" in node:
            _expression(node)
        for value in node.values():
            if isinstance(value, dict | list):
                _walk(value)


def _expression(node: Any) -> None:
    kind = node["class"]
    if kind == "FUNCTION":
        _function(node, SCALARS | AGGREGATES)
    elif kind == "WINDOW":
        _function(node, WINDOWS | AGGREGATES)
    elif kind == "OPERATOR":
        if node["type"] not in _OPERATORS:
            raise _refused(
                f"operator {str(node['type']).removeprefix('OPERATOR_').lower()}",
                "use plain expressions over columns",
            )
    elif kind == "SUBQUERY":
        _select(node["subquery"].get("node", node["subquery"]))
    elif kind == "STAR":
        if node.get("columns") or node.get("expr") or node.get("replace_list"):
            raise _refused("COLUMNS(…) or a changed star", "name the columns")
    elif kind not in _CLASSES:
        raise _refused(*_WORDS.get(kind, (f"the construct {kind.lower()}", "write it plainly")))


def _function(node: Any, allowed: frozenset[str]) -> None:
    name = str(node["function_name"]).lower()
    if node.get("catalog") or node.get("schema"):
        raise _refused("a function of a named schema", "write the function's plain name")
    if name not in allowed:
        raise unlisted_function(name)
    if name in NEVER:
        raise error("NOT_EXACT", f"{name} cannot be run over the federation: {REFUSED[name]}")
    if node.get("export_state"):
        raise _refused("EXPORT_STATE", "ask for the aggregate itself")


def _refused(part: str, hint: str) -> Error:
    return error("NOT_SUPPORTED", f"{part} is not supported over the federation", hint=hint)
