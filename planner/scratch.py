"""``scratch.name``: an analyst's own temporary tables as a catalog that ordinary SQL can write.

``scratch.x`` and ``x`` are the same table. Rule to keep: what changes a table names it first, so that
nothing is run before it is known to be the analyst's own.
"""

from dataclasses import dataclass
from typing import Final

from podsql.planner.forms import Form, Rest


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeTable:
    """``CREATE [OR REPLACE] TABLE [IF NOT EXISTS] scratch.name (column type, …)``."""

    name: str
    columns: str
    """From the opening bracket on."""
    replace: bool
    if_absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``INSERT INTO``, ``UPDATE`` or ``DELETE FROM`` a temporary table."""

    name: str
    verb: str
    rest: str
    """What follows the name."""
    words: frozenset[str]
    """Every word and name in it, lower case: tables that it may read are among them."""


def read_make(rest: Rest, name: str, *, replace: bool, if_absent: bool) -> MakeTable:
    """The columns after the name, to the end."""
    if not rest.tokens or rest.tokens[0].text != "(":
        raise rest.malformed()
    return MakeTable(name=name, columns=rest.text(), replace=replace, if_absent=if_absent)


def _insert(rest: Rest) -> Change:
    rest.require("into")
    return _change(rest, "INSERT INTO")


def _update(rest: Rest) -> Change:
    return _change(rest, "UPDATE")


def _delete(rest: Rest) -> Change:
    rest.require("from")
    return _change(rest, "DELETE FROM")


def _change(rest: Rest, verb: str) -> Change:
    name = rest.own_name()
    if any(token.says("returning") for token in rest.tokens):
        raise rest.malformed()
    words = frozenset(t.text.strip('"').lower() for t in rest.tokens if t.kind in ("word", "name"))
    return Change(name=name, verb=verb, rest=rest.text() if rest.tokens else "", words=words)


_USAGE: Final = "only the connection's own tables can be changed, without RETURNING"
FORMS: Final = {
    "insert": Form(_insert, _USAGE, "INSERT INTO scratch.name VALUES (…)"),
    "update": Form(_update, _USAGE, "UPDATE scratch.name SET …"),
    "delete": Form(_delete, _USAGE, "DELETE FROM scratch.name WHERE …"),
}
