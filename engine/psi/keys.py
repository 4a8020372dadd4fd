"""One text form for a key, whoever holds it and in whichever integer type.

A key is compared as bytes once it is hashed, so two spellings of one value would be two keys. Rule
to keep: equal values of the declared type have one form, and different ones have two.
"""

import unicodedata
from collections.abc import Iterable, Iterator

from podsql.errors import error
from podsql.planner.wire_types import KeyKind


def canonical_keys(kind: KeyKind, values: Iterable[str], *, exact: bool) -> Iterator[bytes]:
    """The bytes of each key, given as DuckDB's text of its declared type.

    Text is taken in Unicode's NFC. ``exact``: a text that is not in NFC already is refused
    (NOT_EXACT), because one DuckDB over all rows would tell it from its normal form.
    """
    mark = kind.encode() + b"\0"
    for value in values:
        normal = unicodedata.normalize("NFC", value) if kind == "text" else value
        if exact and normal != value:
            raise error(
                "NOT_EXACT",
                "a key is not in Unicode's normal form NFC",
                hint="its custodian may store nfc_normalize(key)",
            )
        yield mark + normal.encode()
