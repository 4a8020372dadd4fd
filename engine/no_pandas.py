"""Keeps pandas out of the processes of ours that never use it.

pyarrow looks for pandas when it first meets a Python value and loads it where it is installed: over
a second and 60 MB in every pod, engine and import process. It looks once, and here that is while
none can be found. Rule to keep: called by a process's own entry, never by importing a module: in an
analyst's program pandas is the analyst's.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _Hidden(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out here", name=name)
        return None


def leave_pandas_out() -> None:
    """Let pyarrow look while pandas cannot be found; who imports pandas later still gets it."""
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(hidden)
