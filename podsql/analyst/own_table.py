"""The analyst's own table: its keys in the form that pods give theirs, and its rows that matched."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from podsql.engine.psi.keys import canonical_keys
from podsql.errors import error
from podsql.planner.wire_types import KeyKind

_KINDS: Final = (
    ("integer", pa.types.is_integer),
    ("date", pa.types.is_date),
    ("text", pa.types.is_string),
    ("text", pa.types.is_large_string),
)


def arrow_of(data: Any) -> pa.Table:
    """An Arrow table of what the analyst gave: Arrow, pandas, polars."""
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "to_arrow"):
        return data.to_arrow()
    if type(data).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(data, preserve_index=False)
    raise error(
        "ARGUMENT",
        f"cannot make a table of {type(data).__name__}",
        hint="an Arrow table, or a pandas or polars frame",
    )


def own_keys(table: pa.Table, column: str, kind: KeyKind) -> tuple[list[bytes], list[int | None]]:
    """The different keys of ``column``, and of each row the number of its key (None: it has none)."""
    if column not in table.column_names:
        raise error("ARGUMENT", f"your table has no column {column!r}")
    values = table[column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    own = next((name for name, of in _KINDS if of(values.type)), None)
    # A UUID is text at most analysts'.
    if own != kind and (own, kind) != ("text", "uuid"):
        raise error(
            "ARGUMENT",
            f"your column {column!r} is of type {values.type}, and the pod's key is {kind}",
            hint="cast yours",
        )
    texts = values.cast(pa.string())
    if kind == "uuid":
        texts = pc.utf8_lower(texts)
    listed: Sequence[str | None] = texts.to_pylist()
    present = [text for text in listed if text is not None]
    found = iter(canonical_keys(kind, present, exact=False))
    numbers: dict[bytes, int] = {}
    places = [
        None if text is None else numbers.setdefault(next(found), len(numbers)) for text in listed
    ]
    if not numbers:
        raise error("ARGUMENT", f"your column {column!r} holds no key")
    return list(numbers), places


def rows_of(table: pa.Table, places: Sequence[int | None], matched: Collection[int]) -> pa.Table:
    """The rows whose key is among ``matched``, in their order."""
    kept = [place is not None and place in matched for place in places]
    return table.filter(pa.array(kept, pa.bool_()))
