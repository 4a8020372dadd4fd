"""Options that several verbs share, and what they stand for.

Rule to keep: an option means the same in every verb that has it.
"""

import os
import sys
import time
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from podsql.errors import error

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
FederationPath = Annotated[
    Path | None,
    typer.Option(
        "--federation",
        help="federation.toml or its directory. Default: $PODSQL_FEDERATION, ., ~/.config/podsql.",
    ),
]
ConvenerDir = Annotated[
    Path,
    typer.Option("--dir", help="Directory that `podsql federation init` wrote."),
]
AskPassphrase = Annotated[
    bool,
    typer.Option(
        "--passphrase",
        help="Keys are sealed under a passphrase: $PODSQL_PASSPHRASE, or asked for.",
    ),
]


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def passphrase(*, new: bool = False, wanted: bool = False) -> str | None:
    """``$PODSQL_PASSPHRASE``; or typed, if ``wanted`` and there is a terminal to ask on."""
    given = os.environ.get("PODSQL_PASSPHRASE")
    if given or not wanted:
        return given or None
    if not sys.stdin.isatty():
        raise error("ARGUMENT", "no terminal to ask on", hint="set PODSQL_PASSPHRASE")
    typed = getpass("passphrase: ")
    if new and typed != getpass("again: "):
        raise error("ARGUMENT", "the two passphrases differ")
    if not typed:
        raise error("ARGUMENT", "the passphrase is empty")
    return typed


def unseal(*, wanted: bool) -> None:
    """Ask for the passphrase of this process's own keys, which a daemon then reads as if it was set."""
    typed = passphrase(wanted=wanted)
    if typed is not None:
        os.environ["PODSQL_PASSPHRASE"] = typed


def named(pairs: list[str], what: str) -> dict[str, list[str]]:
    """``name=value`` arguments as name to values, in order; ARGUMENT if one is malformed."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name or not value:
            raise error("ARGUMENT", f"{what} wants name=value")
        found.setdefault(name, []).append(value)
    return found


def invites(texts: list[str]) -> list[tuple[str, str]]:
    """``name:role`` arguments."""
    found = []
    for text in texts:
        name, sign, role = text.partition(":")
        if not sign or not name or not role:
            raise error("ARGUMENT", "--invite wants NAME:ROLE", hint="--invite north:pod")
        found.append((name, role))
    return found
