"""Opt-out lists: privacy units whose rows a pod never serves, applied when the snapshot is built.

A list is a text file, one unit a line; empty lines and lines that begin with ``#`` do not count.
Rule to keep: no statement starts on a snapshot that is older than a list.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podsql.errors import error

LIST_BYTES: Final = 64 * 1024 * 1024
Mark = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Watch:
    """Files as they were when they were read; ``changed`` costs one ``stat`` a file."""

    marks: tuple[tuple[Path, Mark], ...] = ()

    @classmethod
    def over(cls, paths: list[Path]) -> "Watch":
        """Take the files' marks: before they are read, so that a change in between is seen."""
        return cls(tuple((path, _mark(path)) for path in sorted(set(paths))))

    def changed(self) -> bool:
        """Whether a file is another, or gone."""
        return any(mark is None or _mark(path) != mark for path, mark in self.marks)


def read_list(path: Path) -> tuple[str, ...]:
    """The units of a list; CONFIG if it cannot be read."""
    try:
        if path.stat().st_size > LIST_BYTES:
            raise error("CONFIG", f"opt-out list {path.name!r} is larger than {LIST_BYTES} bytes")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise error(
            "CONFIG",
            f"cannot read the opt-out list {path.name!r}",
            hint="a text file in UTF-8, one unit a line",
        ) from None
    stripped = (line.strip() for line in lines)
    return tuple(line for line in stripped if line and not line.startswith("#"))


def _mark(path: Path) -> Mark:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
