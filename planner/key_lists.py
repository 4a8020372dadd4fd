"""The groups that pods answer for whatever their rows are: every combination of declared key values.

A list is a fact of the schema (BOOLEAN, ENUM) or of the policy (``values`` of a column), and NULL is in
each. Rule to keep: analyst and pod make the same lists in the same order, each from what it knows.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final, TypeAlias

from podsql.planner.wire_types import enum_values, is_enum

KeyValue: TypeAlias = str | bool | None
KeyList: TypeAlias = tuple[KeyValue, ...]
MOST_GROUPS: Final = 10_000


def key_list(key_type: str, declared: Sequence[object]) -> KeyList | None:
    """The values of a key of that type, of a column with these declared ones; None: no list."""
    if key_type == "BOOLEAN":
        return False, True, None
    texts = {value for value in declared if isinstance(value, str)}
    if not texts and is_enum(key_type):
        texts = set(enum_values(key_type))
    return (*sorted(texts), None) if texts else None


def groups_of(lists: Sequence[KeyList]) -> list[tuple[KeyValue, ...]]:
    """Every group in order; without keys the one of all rows."""
    return list(product(*lists))


def too_many(lists: Sequence[KeyList]) -> bool:
    """More groups than are answered for."""
    return prod(map(len, lists)) > MOST_GROUPS
