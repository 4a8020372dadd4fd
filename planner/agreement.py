"""When two serialised DuckDB trees are the same statement: the closed list of foldings.

The input is what DuckDB's ``json_serialize_sql`` prints for the original text and for the text
that sqlglot regenerated. Rule to keep: every folding stands here, each is a spelling of the same
meaning in DuckDB, and anything else that differs is a disagreement. Pure: no parser is imported.
"""

import re
from typing import Final

Tree = object
"""Decoded JSON."""

ALIASES: Final = {
    "mod": "%",
    "multiply": "*",
    "^": "**",
    "pow": "**",
    "power": "**",
    "add": "+",
    "date_add": "+",
    "subtract": "-",
    "factorial": "!__postfix",
    "argmax": "arg_max",
    "max_by": "arg_max",
    "argmin": "arg_min",
    "min_by": "arg_min",
    "mean": "avg",
    "ceiling": "ceil",
    "countif": "count_if",
    "arbitrary": "first",
    "gcd": "greatest_common_divisor",
    "lcm": "least_common_multiple",
    "to_hex": "hex",
    "to_binary": "bin",
    "position": "strpos",
    "instr": "strpos",
    "fsum": "kahan_sum",
    "sumkahan": "kahan_sum",
    "char_length": "length",
    "character_length": "length",
    "len": "length",
    "lcase": "lower",
    "ucase": "upper",
    "quantile": "quantile_disc",
    "roundbankers": "round_even",
    "stddev": "stddev_samp",
    "variance": "var_samp",
    "group_concat": "string_agg",
    "listagg": "string_agg",
    "array_agg": "list",
    "substr": "substring",
    "suffix": "ends_with",
    "starts_with": "^@",
    "ord": "unicode",
    "datediff": "date_diff",
    "datesub": "date_sub",
    "datetrunc": "date_trunc",
    "datepart": "date_part",
    "regexp_split_to_array": "string_split_regex",
    "str_split_regex": "string_split_regex",
    "str_split": "string_split",
    "split": "string_split",
    "string_to_array": "string_split",
    "geometric_mean": "geomean",
    "wavg": "weighted_avg",
    "ifnull": "coalesce",
}
"""DuckDB's own aliases (``duckdb_functions().alias_of`` and its macros of one call)."""

DATE_PART_FUNCTIONS: Final = frozenset({"date_trunc", "date_diff", "date_sub", "date_part"})
"""Functions whose first argument is a date part: a literal whose case means nothing."""

TYPE_NAMES: Final = {
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "CHAR": "VARCHAR",
    "BPCHAR": "VARCHAR",
    "INT": "INTEGER",
    "INT4": "INTEGER",
    "INT8": "BIGINT",
    "INT2": "SMALLINT",
    "INT1": "TINYINT",
    "INT128": "HUGEINT",
    "UINT128": "UHUGEINT",
    "LONG": "BIGINT",
    "SHORT": "SMALLINT",
    "BOOL": "BOOLEAN",
    "LOGICAL": "BOOLEAN",
    "REAL": "FLOAT",
    "FLOAT4": "FLOAT",
    "FLOAT8": "DOUBLE",
    "NUMERIC": "DECIMAL",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP_US": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMETZ": "TIME WITH TIME ZONE",
    "BITSTRING": "BIT",
    "BYTEA": "BLOB",
    "BINARY": "BLOB",
    "VARBINARY": "BLOB",
}
_IGNORED: Final = frozenset(
    {
        "query_location",
        "query_location_length",
        "qualified_name",
        "is_operator",
        "is_legacy_function_call",
        "named_param_map",
    }
)
_ORDER_DEFAULTS: Final = (("type", "ASCENDING"), ("null_order", "NULLS LAST"))
"""The pinned settings' defaults: sqlglot leaves out what it takes for the default."""
_INTERVAL_TEXT: Final = re.compile(r"\s*(\d+)\s+([a-zA-Z]+?)s?\s*")
_INTEGER: Final = re.compile(r"\d+")
_COMMA: Final = {
    "name": "",
    "expression": {
        "class": "CONSTANT",
        "type": "VALUE_CONSTANT",
        "alias": "",
        "literal": {"kind": "STRING", "text": ","},
    },
}
"""What ``string_agg`` puts between values where nothing is said."""
_UNITS: Final = {
    f"to_{unit}s": unit
    for unit in [
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "week",
        "quarter",
        "millisecond",
        "microsecond",
    ]
}


def normalise(tree: Tree) -> Tree:
    """The tree with every listed spelling folded."""
    if isinstance(tree, list):
        return [normalise(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    node = {key: normalise(value) for key, value in tree.items() if key not in _IGNORED}
    for key, default in _ORDER_DEFAULTS:
        if node.get(key) == "ORDER_DEFAULT":
            node[key] = default
    kind = node.get("class")
    fold = _FOLDINGS.get(kind) if isinstance(kind, str) else None
    return node if fold is None else fold(node)


def first_difference(a: Tree, b: Tree, path: str = "statement") -> str | None:
    """Where two normalised trees first differ (a path of node names, never a value), or None."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            found = first_difference(a.get(key), b.get(key), f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return path
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            found = first_difference(one, other, f"{path}[{index}]")
            if found:
                return found
        return None
    return None if type(a) is type(b) and a == b else path


def _fold_function(node: dict[str, object]) -> object:
    name = str(node["function_name"]).lower()
    name = node["function_name"] = ALIASES.get(name, name)
    arguments = [a["expression"] for a in node["arguments"]]  # type: ignore[attr-defined]
    if name in DATE_PART_FUNCTIONS and arguments:
        _fold_part(arguments[0])
    if name in ("bool_and", "bool_or") and len(arguments) == 1:
        node["arguments"][0]["expression"] = _without_boolean_cast(arguments[0])  # type: ignore[index]
    if name == "string_agg" and len(arguments) == 1:
        node["arguments"] = [*node["arguments"], _COMMA]  # type: ignore[misc]
    if name == "+" and len(arguments) == 1:
        return {**arguments[0], "alias": node["alias"]}
    if name == "if" and len(arguments) == 3:
        return {
            "class": "CASE",
            "type": "CASE_EXPR",
            "alias": node["alias"],
            "case_checks": [{"when_expr": arguments[0], "then_expr": arguments[1]}],
            "else_expr": arguments[2],
        }
    if name == "coalesce" and len(arguments) > 1:
        return {
            "class": "OPERATOR",
            "type": "OPERATOR_COALESCE",
            "alias": node["alias"],
            "children": arguments,
        }
    if name in _UNITS and len(arguments) == 1:
        count = _interval_count(arguments[0])
        if count is not None:
            return _interval(node, count, _UNITS[name])
    return node


def _fold_window(node: dict[str, object]) -> object:
    name = str(node["function_name"]).lower()
    return {**node, "function_name": ALIASES.get(name, name)}


def _fold_part(argument: dict[str, object]) -> None:
    literal = argument.get("literal")
    if isinstance(literal, dict) and literal.get("kind") == "STRING":
        literal["text"] = str(literal["text"]).lower()


def _without_boolean_cast(argument: dict[str, object]) -> object:
    target = argument.get("type_expr")
    boolean = isinstance(target, dict) and target.get("type_name") == "BOOLEAN"
    if argument.get("class") == "CAST" and boolean and not argument.get("try_cast"):
        return argument["child"]
    return argument


def _interval_count(argument: dict[str, object]) -> str | None:
    """The n of ``to_days(CAST(trunc(CAST(n AS DOUBLE)) AS INTEGER))``, a literal's expansion."""
    node: object = argument
    for _ in range(4):
        if not isinstance(node, dict):
            return None
        if node.get("class") == "CAST":
            node = node["child"]
        elif node.get("function_name") == "trunc":
            node = node["arguments"][0]["expression"]
    literal = node.get("literal") if isinstance(node, dict) else None
    if isinstance(literal, dict) and _INTEGER.fullmatch(str(literal.get("text", ""))):
        return _plain(str(literal["text"]))
    return None


def _plain(number: str) -> str:
    """Without leading zeros; however long it is."""
    sign = "-" if number.startswith("-") else ""
    digits = number.lstrip("+-").lstrip("0")
    return sign + digits if digits else "0"


def _interval(node: dict[str, object], count: str, unit: str) -> dict[str, object]:
    return {"class": "INTERVAL", "alias": node["alias"], "count": count, "unit": unit}


def _fold_cast(node: dict[str, object]) -> object:
    target, child = node.get("type_expr"), node.get("child")
    if isinstance(target, dict) and target.get("type_name") == "INTERVAL":
        literal = child.get("literal") if isinstance(child, dict) else None
        if isinstance(literal, dict) and literal.get("kind") == "STRING":
            found = _INTERVAL_TEXT.fullmatch(str(literal["text"]))
            if found and f"to_{found[2].lower()}s" in _UNITS and not node.get("try_cast"):
                return _interval(node, _plain(found[1]), found[2].lower())
    return node


def _fold_type(node: dict[str, object]) -> object:
    name = str(node["type_name"]).upper()
    name = node["type_name"] = TYPE_NAMES.get(name, name)
    if name == "VARCHAR":
        node["children"] = []  # DuckDB reads and ignores a length
    return node


def _fold_constant(node: dict[str, object]) -> object:
    literal = node.get("literal")
    if isinstance(literal, dict) and literal.get("kind") not in ("STRING", None):
        text = str(literal.get("text", "")).replace("_", "")
        literal["text"] = f"0{text}" if text.startswith(".") else text
    return node


def _fold_operator(node: dict[str, object]) -> object:
    if node["type"] == "OPERATOR_IS_NOT_NULL":
        inner = {**node, "type": "OPERATOR_IS_NULL", "alias": ""}
        return {**node, "type": "OPERATOR_NOT", "children": [inner]}
    return node


def _fold_comparison(node: dict[str, object]) -> object:
    if node["type"] == "COMPARE_DISTINCT_FROM":
        inner = {**node, "type": "COMPARE_NOT_DISTINCT_FROM", "alias": ""}
        return {
            "class": "OPERATOR",
            "type": "OPERATOR_NOT",
            "alias": node["alias"],
            "children": [inner],
        }
    return node


_FOLDINGS: Final = {
    "FUNCTION": _fold_function,
    "WINDOW": _fold_window,
    "CAST": _fold_cast,
    "TYPE": _fold_type,
    "CONSTANT": _fold_constant,
    "OPERATOR": _fold_operator,
    "COMPARISON": _fold_comparison,
}
