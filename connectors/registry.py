"""Which connector reads what: by the custodian's word, else by suffix; plug-ins by entry point.

A package adds a kind with an entry point in the group ``podsql.connectors``: its name is the kind,
its object a function ``(path, table) -> Source``. Rule to keep: a plug-in never replaces a kind of ours.
"""

import difflib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from podsql.connectors import arrow, csv, duckdb_file, json, parquet
from podsql.connectors.source import Source
from podsql.errors import error

ENTRY_POINTS: Final = "podsql.connectors"

Open = Callable[[str | Path, str | None], Source]

BUILT_IN: Final[dict[str, tuple[Open, tuple[str, ...]]]] = {
    "parquet": (parquet.open_parquet, parquet.SUFFIXES),
    "csv": (csv.open_csv, csv.SUFFIXES),
    "json": (json.open_json, json.SUFFIXES),
    "duckdb": (duckdb_file.open_duckdb, duckdb_file.SUFFIXES),
    "arrow": (arrow.open_arrow, arrow.SUFFIXES),
}
"""Kind -> how to open it, and the suffixes that mean it."""


def open_source(path: str | Path, *, format: str | None = None, table: str | None = None) -> Source:
    """The source of ``path``; SOURCE if no connector reads it or nothing is there."""
    kind = format or kind_of(path)
    if kind in BUILT_IN:
        return BUILT_IN[kind][0](path, table)
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        opened: Source = entry.load()(path, table)
        return opened
    close = difflib.get_close_matches(kind, BUILT_IN, n=1)
    raise error(
        "SOURCE",
        f"no connector reads {kind!r}",
        hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(BUILT_IN)}",
    )


def kind_of(path: str | Path) -> str:
    """The kind that the suffix (of the file, the pattern, or a folder's first match) means."""
    given = Path(path)
    candidates = [given]
    if given.is_dir():
        candidates = sorted(p for p in given.rglob("*") if p.is_file())
    for candidate in candidates:
        suffix = candidate.suffix.lower()
        if suffix == ".gz":
            suffix = Path(candidate.stem).suffix.lower()
        for kind, (_, suffixes) in BUILT_IN.items():
            if suffix in suffixes:
                return kind
    raise error(
        "SOURCE", f"the format of {given.name!r} is not known", hint="name it with format = …"
    )
