"""The groups that pods answer for whatever their rows are: every combination of declared key values.

A list is a fact of the schema (BOOLEAN, ENUM) or of the policy (``values`` of a column), and NULL is in
each. Rule to keep: analyst and pod make the same lists in the same order, each from what it knows.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import product
from math import prod
from typing import Final, TypeAlias

from podsql.planner.wire_types import INTEGERS, enum_values, is_enum

KeyValue: TypeAlias = str | int | None
"""BOOLEAN is an ``int`` here."""
KeyList: TypeAlias = tuple[KeyValue, ...]
NUMBERS: Final = frozenset(INTEGERS) - {"HUGEINT", "UHUGEINT"}
"""Types of whole numbers whose values may be listed."""
_WHOLE: Final = re.compile(r"-?\d{1,19}", re.ASCII)
MOST_GROUPS: Final = 10_000


def declared_texts(key_type: str, declared: Iterable[str | float]) -> tuple[str, ...]:
    """The declared values that a column of that type may hold, as they stand in offers."""
    if key_type in NUMBERS:
        whole = (value for value in declared if not isinstance(value, str))
        return tuple(str(int(value)) for value in whole if float(value).is_integer())
    return tuple(value for value in declared if isinstance(value, str))


def key_list(key_type: str, declared: Iterable[str]) -> KeyList | None:
    """The values of a key of that type, of a column with these declared texts; None: no list."""
    if key_type == "BOOLEAN":
        return False, True, None
    texts = set(declared)
    if key_type in NUMBERS:
        whole = {int(text) for text in texts if _WHOLE.fullmatch(text)}
        return (*sorted(whole), None) if whole else None
    if not texts and is_enum(key_type):
        texts = set(enum_values(key_type))
    return (*sorted(texts), None) if texts else None


def groups_of(lists: Sequence[KeyList]) -> list[tuple[KeyValue, ...]]:
    """Every group in order; without keys the one of all rows."""
    return list(product(*lists))


def group_count(lists: Sequence[KeyList]) -> int:
    """How many groups there are."""
    return prod(map(len, lists))


def too_many(lists: Sequence[KeyList]) -> bool:
    """More groups than are answered for."""
    return group_count(lists) > MOST_GROUPS
