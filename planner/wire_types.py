"""DuckDB types: which ones podsql knows, and the form each takes on the wire.

Types reach us in offers, from pods, and are pasted into SQL: so they are matched against one
closed grammar first. Rule to keep: a type outside it is never pasted anywhere.
"""

import re
from typing import Final, Literal

from podsql.errors import error

INTEGERS: Final = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
    "UHUGEINT",
)
FLOATS: Final = ("FLOAT", "DOUBLE")
TIMES: Final = (
    "DATE",
    "TIME",
    "TIME WITH TIME ZONE",
    "TIMESTAMP",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "TIMESTAMP WITH TIME ZONE",
    "INTERVAL",
)
PLAIN: Final = frozenset((*INTEGERS, *FLOATS, *TIMES, "BOOLEAN", "VARCHAR", "BLOB", "UUID", "BIT"))
SPELLINGS: Final = {
    "INT": "INTEGER",
    "TEXT": "VARCHAR",
    "STRING": "VARCHAR",
    "BOOL": "BOOLEAN",
    "REAL": "FLOAT",
    "TIMETZ": "TIME WITH TIME ZONE",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    '"NULL"': "NULL",
}
_DECIMAL: Final = re.compile(r"DECIMAL\((\d{1,2}),\s?(\d{1,2})\)")
_ENUM: Final = re.compile(r"ENUM\('(?:[^'\0]|'')*'(?:, ?'(?:[^'\0]|'')*')*\)")
_AS_TEXT: Final = frozenset({"UUID", "TIME WITH TIME ZONE", "BIT", "UHUGEINT"})


KeyKind = Literal["integer", "text", "date", "uuid"]


def known_type(duck_type: str) -> str | None:
    """The canonical spelling of a type of the grammar, else None."""
    text = duck_type.strip()
    if _ENUM.fullmatch(text):
        return text
    text = SPELLINGS.get(text.upper(), text.upper())
    if text in PLAIN or text == "NULL":
        return text
    found = _DECIMAL.fullmatch(text)
    if found and 1 <= int(found[1]) <= 38 and int(found[2]) <= int(found[1]):
        return f"DECIMAL({int(found[1])},{int(found[2])})"
    return None


def decimal_parts(duck_type: str) -> tuple[int, int] | None:
    """Width and scale of a DECIMAL, else None."""
    found = _DECIMAL.fullmatch(duck_type)
    return (int(found[1]), int(found[2])) if found else None


def is_enum(duck_type: str) -> bool:
    """True for ENUM('a', …)."""
    return duck_type.startswith("ENUM(")


def enum_values(duck_type: str) -> tuple[str, ...]:
    """The values of ENUM('a', …), in order."""
    texts = re.findall(r"'((?:[^']|'')*)'", duck_type)
    return tuple(text.replace("''", "'") for text in texts)


def key_kind(duck_type: str) -> KeyKind | None:
    """What kind of key a type holds: keys of one kind are equal where their texts are. None: it
    is no type for a key (floating, decimal, a time, nested)."""
    known = known_type(duck_type) or ""
    if known in INTEGERS:
        return "integer"
    if known == "VARCHAR" or is_enum(known):
        return "text"
    if known == "DATE":
        return "date"
    return "uuid" if known == "UUID" else None


def wire_type(duck_type: str) -> str:
    """The DuckDB type a column is cast to before it becomes Arrow; NOT_SUPPORTED if none fits."""
    known = known_type(duck_type)
    if known is None:
        base = duck_type.split("(")[0]
        raise error(
            "NOT_SUPPORTED",
            f"a column of type {base if base.isalpha() else 'that is nested'} cannot leave a pod",
            hint="select its parts, or cast it to a plain type",
        )
    if known == "HUGEINT":
        return "DECIMAL(38,0)"
    if known in _AS_TEXT or is_enum(known):
        return "VARCHAR"
    if known == "NULL":
        return "INTEGER"
    return known
