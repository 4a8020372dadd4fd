"""Locks between processes that end with their process, on every system: SQLite's, of an empty file.

Rule to keep: nothing is ever written to such a file.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from podsql.errors import error

PATIENCE: Final = 30.0


def try_lock(path: Path, *, seconds: float = 0.0) -> Callable[[], None] | None:
    """What unlocks it; None if another holds it, in this process or elsewhere, for ``seconds``."""
    held = sqlite3.connect(path, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        held.close()
        return None
    return held.close


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone for a short while; FILE if others never let go."""
    unlock = try_lock(path, seconds=PATIENCE)
    if unlock is None:
        raise error("FILE", f"{path.name!r} is locked by another process")
    try:
        yield
    finally:
        unlock()
