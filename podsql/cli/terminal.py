"""What a verb writes: data to stdout, progress and errors to stderr.

Text of other people (names, cells, error texts) may hold terminal escape sequences; rule to keep:
it passes ``visible`` before it reaches a terminal.
"""

import json
import logging
import sys
import unicodedata
from typing import Any

from podsql.errors import Error


def visible(text: str, *, keep_newlines: bool = False) -> str:
    """The text with control, format and direction characters as escapes."""
    return "".join(
        char
        if char.isprintable()
        or unicodedata.category(char) == "Zs"
        or (keep_newlines and char == "\n")
        else char.encode("unicode_escape").decode()
        for char in text
    )


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(visible(text, keep_newlines=True) + "\n")


def log_to_stderr(*, verbose: bool = True) -> None:
    """Show what a daemon logs; without ``verbose`` only what needs attention."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )


def put(text: str) -> None:
    """One line of data."""
    sys.stdout.write(visible(text, keep_newlines=True) + "\n")


def put_json(value: Any) -> None:
    """A JSON document of data; everything beyond ASCII is escaped by JSON itself."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")


def put_pairs(pairs: dict[str, Any], *, as_json: bool) -> None:
    """Named values: a JSON object, or one aligned line each."""
    if as_json:
        put_json(pairs)
        return
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        put(f"{name:<{width}}  {value}")


def put_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Records: a JSON array, or a block of named values each."""
    if as_json:
        put_json(rows)
        return
    for row in rows:
        put("  ".join(f"{name}={value}" for name, value in row.items() if value not in (None, "")))


def report(fault: Error) -> None:
    """``CODE: message`` and ``hint: …`` on stderr."""
    where = f" (pod {fault.pod!r})" if fault.pod else ""
    sys.stderr.write(f"{visible(fault.code)}: {visible(fault.message)}{visible(where)}\n")
    if fault.hint:
        sys.stderr.write(f"hint: {visible(fault.hint)}\n")
