"""How a statement around SELECT is read: token by token, with its own usage as the error.

Rule to keep: nothing here knows a particular statement, and nothing is read twice.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from podsql.errors import Error, error
from podsql.planner.closing import Value, pairs
from podsql.planner.own_names import own_name
from podsql.planner.syntax import nearest
from podsql.planner.tokens import Token, scalar_text


@dataclass(frozen=True, slots=True)
class Form:
    """How a form is read, and what is said of one that is malformed."""

    read: "Callable[[Rest], Any]"
    usage: str
    example: str


@dataclass(slots=True, kw_only=True)
class Rest:
    """What is still to be read of a form."""

    sql: str
    tokens: list[Token]
    form: Form

    def malformed(self) -> Error:
        """The form's own usage, as an error."""
        return error("STATEMENT", self.form.usage, hint=self.form.example)

    def unread(self) -> Error:
        """SYNTAX, with the place from which it cannot be read."""
        before = self.sql[: self.tokens[0].start if self.tokens else len(self.sql)]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        return error(
            "SYNTAX",
            f"syntax error at line {line}, column {column}: {self.form.usage}",
            hint=self.form.example,
        )

    def takes(self, *words: str) -> bool:
        """Whether the next words are these; then they are read."""
        ahead = self.tokens[: len(words)]
        if [token.text.lower() for token in ahead if token.kind == "word"] != list(words):
            return False
        del self.tokens[: len(words)]
        return True

    def require(self, *words: str) -> None:
        """Read these words, or the form is malformed."""
        if not self.takes(*words):
            raise self.malformed()

    def text(self) -> str:
        """All of it, as written; malformed if there is nothing."""
        if not self.tokens:
            raise self.malformed()
        return self.sql[self.tokens[0].start :]

    def name(self) -> tuple[tuple[str, ...], str]:
        """A name of one part or, with dots, of several; and how it is written."""
        parts: list[str] = []
        start = self.tokens[0].start if self.tokens else 0
        while self.tokens and self.tokens[0].kind in ("word", "name"):
            token = self.tokens.pop(0)
            parts.append(scalar_text(token) or "")
            if not self.tokens or self.tokens[0].text != ".":
                return tuple(parts), self.sql[start : token.end]
            self.tokens.pop(0)
        raise self.malformed()

    def own_name(self) -> str:
        """The name of a temporary table: one part, or two of which the first is ``scratch``."""
        parts, _ = self.name()
        name = own_name(parts)
        if name is None:
            raise self.malformed()
        return name

    def values(self, known: Collection[str]) -> dict[str, Value]:
        """``WITH (name = value, …)`` or nothing, to the end; OPTION for a name not in ``known``."""
        if not self.tokens:
            return {}
        if not self.takes("with") or not self.tokens or self.tokens[0].text != "(":
            raise self.unread()
        if self.tokens[-1].text != ")" or self.tokens[-1].depth != 1:
            self.tokens = self.tokens[-1:]
            raise self.unread()
        found = pairs(self.tokens[1:-1])
        for name in found:
            if name not in known:
                raise error("OPTION", f"unknown option {name!r}", hint=nearest(name, sorted(known)))
        self.tokens.clear()
        return found

    def end(self) -> None:
        """Malformed if anything is left."""
        if self.tokens:
            raise self.malformed()
