"""A statement as tokens: strings, quoted names, comments and brackets, as DuckDB's scanner sees them.

Rule to keep: nothing here interprets SQL. Where a string, name or comment has no end, the rest of
the text is one token, so that nothing inside it is ever taken for a statement.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: word, string, name (quoted), number, mark, open (has no end).

    ``depth`` counts open brackets.
    """

    kind: str
    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        """Where the text after it starts."""
        return self.start + len(self.text)

    def says(self, *words: str) -> bool:
        """True for a word that is one of ``words`` (lower case)."""
        return self.kind == "word" and self.text.lower() in words


_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n\r]*)
      |(?P<comment>/\*)
      |(?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
      |(?P<string>[eE]'(?:[^'\\]|\\.|'')*+'|'(?:[^']|'')*+')
      |(?P<name>"(?:[^"]|"")*+")
      |(?P<open>(?:[eE]?'|"|\$(?:[^\W\d]\w*)?\$).*)
      |(?P<word>[^\W\d][\w$]*)
      |(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
      |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_KEPT_TEXT: Final = 1 << 14
_COMMENT: Final = re.compile(r"/\*|\*/")


def scan(sql: str) -> list[Token]:
    """The tokens of ``sql``."""
    return list(_kept(sql) if len(sql) <= _KEPT_TEXT else _tokens(sql))


def _tokens(sql: str) -> tuple[Token, ...]:
    found = []
    depth = position = 0
    while (match := _TOKEN.match(sql, position)) is not None:
        position = match.end()
        kind = match.lastgroup or "mark"
        if kind == "comment":
            position = _after_comment(sql, position)
            continue
        if kind == "skip":
            continue
        kind = "string" if kind in ("dollar", "tag") else kind
        text = match.group()
        if text in ("(", "[", "{"):
            depth += 1
        found.append(Token(kind, text, match.start(), depth))
        if text in (")", "]", "}"):
            depth -= 1
    return tuple(found)


_kept = lru_cache(maxsize=128)(_tokens)
"""A statement is looked at several times, and often asked again."""


def _after_comment(sql: str, position: int) -> int:
    """Comments nest."""
    depth = 1
    for match in _COMMENT.finditer(sql, position):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(sql)


def split_statements(sql: str) -> list[str]:
    """The statements of a script, without their semicolons; comments stay with the next one."""
    found = []
    start, empty = 0, True
    for token in scan(sql):
        if token.text != ";":
            empty = False
            continue
        if not empty:
            found.append(sql[start : token.start].strip())
        start, empty = token.end, True
    if not empty:
        found.append(sql[start:].strip())
    return found


def scalar_text(token: Token) -> str | None:
    """The text that a word, a plain string or a quoted name stands for; None of anything else."""
    if token.kind == "string" and token.text.startswith("'"):
        return token.text[1:-1].replace("''", "'")
    if token.kind == "name":
        return token.text[1:-1].replace('""', '"')
    return token.text if token.kind == "word" else None
