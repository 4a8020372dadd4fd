"""Analyst literals out of an expression and back: ``$1`` in the text, a typed Literal beside it.

Rule to keep: what comes back is one SQL token, whatever the literal holds: numbers match a
grammar, strings are escaped, and a ``$n`` inside quotes is never touched.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from sqlglot import exp

from podsql.errors import error
from podsql.planner.fragment import Literal

_NUMBER: Final = re.compile(r"(\d{1,60}(\.\d{0,60})?|\.\d{1,60})([eE][+-]?\d{1,4})?", re.ASCII)
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\d+)""", re.DOTALL)


SCALAR: Final = "scalar"
"""Meta of a NULL that stands for a value which an earlier stage releases: its number."""


def scalar_literal(number: int) -> Literal:
    """What stands in a fragment until the value is known (no value holds a NUL)."""
    return Literal("string", f"\x00{number}")


class Lifter:
    """Collects the literals of one fragment; equal ones share a number."""

    def __init__(self) -> None:
        self._numbers: dict[Literal, int] = {}

    @property
    def literals(self) -> tuple[Literal, ...]:
        """What ``$1``, ``$2``, … stand for."""
        return tuple(self._numbers)

    def lift(self, tree: exp.Expression) -> exp.Expression:
        """A copy of ``tree`` whose literals are placeholders (lengths in types stay)."""
        return tree.copy().transform(self._put, copy=False)

    def text(self, tree: exp.Expression) -> str:
        """The lifted text of ``tree``."""
        return self.lift(tree).sql(dialect="duckdb", comments=False)

    def _put(self, node: exp.Expression) -> exp.Expression:
        if SCALAR in node.meta:
            return self._numbered(scalar_literal(node.meta[SCALAR]))
        if isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal):
            node.set("this", exp.Paren(this=self._placeholder(node.this)))
            return node
        if not isinstance(node, exp.Literal) or _keeps_literal(node):
            return node
        return self._placeholder(node)

    def _placeholder(self, node: exp.Literal) -> exp.Expression:
        return self._numbered(Literal("string" if node.is_string else "number", node.this))

    def _numbered(self, literal: Literal) -> exp.Expression:
        position = self._numbers.setdefault(literal, len(self._numbers) + 1)
        return exp.Placeholder(this=str(position))


def _keeps_literal(node: exp.Literal) -> bool:
    """Literals that are syntax: in types, and the date part sqlglot prints as a word."""
    return isinstance(node.parent, exp.DataTypeParam | exp.DataType | exp.Interval)


def lower(text: str, literals: Sequence[Literal]) -> str:
    """Put the literals back into ``text``."""
    return _TOKEN.sub(_restorer(literals), text)


def _restorer(literals: Sequence[Literal]) -> Callable[[re.Match[str]], str]:
    def restore(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        position = int(match[1])
        if not 1 <= position <= len(literals):
            raise error("BAD_MESSAGE", "a fragment names a literal it does not carry")
        return literal_sql(literals[position - 1])

    return restore


def literal_sql(literal: Literal) -> str:
    """One literal as a DuckDB token."""
    if literal.kind == "null":
        return "NULL"
    if literal.kind == "string":
        if "\x00" in literal.text:
            raise error("BAD_MESSAGE", "a string literal holds a null byte")
        return "'" + literal.text.replace("'", "''") + "'"
    if _NUMBER.fullmatch(literal.text) is None:
        raise error("BAD_MESSAGE", "a number literal is not a number")
    return literal.text
