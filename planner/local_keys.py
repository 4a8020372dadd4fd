"""Local keys: columns whose values never occur in two pods.

A custodian writes ``visit_id``, or ``order_no as order`` where columns of several tables hold keys
of one kind: then equal values of the kind are in one pod, whatever the columns are called.
"""

import re
from typing import Final

_WRITTEN: Final = re.compile(r"(?P<column>.+?)\s+as\s+(?P<kind>\w+)", re.IGNORECASE)


def key_column(written: str) -> str:
    """The column that a declaration names."""
    found = _WRITTEN.fullmatch(written.strip())
    return found["column"] if found else written


def key_kind(written: str) -> str:
    """The kind of its values, in lower case: the column's own name if none is given."""
    found = _WRITTEN.fullmatch(written.strip())
    return (found["kind"] if found else written).lower()
