"""A page as Markdown. Rule to keep: text of others (names, purposes, statements) cannot become markup."""

import re
from typing import Final

from podsql.governance.pages import (
    NOT_STATED,
    Code,
    Grid,
    Heading,
    Items,
    Page,
    Pairs,
    Part,
    Text,
)

_MARKUP: Final = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that may mark text up; a line under a name's middle (``patient_id``) does not."""
_BEGINS_BLOCK: Final = re.compile(r"^(\d*)([#>]|[+.)-](?=\s|$))")


def markdown(page: Page) -> str:
    """The whole page, ending with a line break."""
    blocks = [f"# {_inline(page.title)}", *(_part(part) for part in page.parts)]
    return "\n\n".join(blocks) + "\n"


def _part(part: Part) -> str:
    match part:
        case Heading():
            return f"## {_inline(part.text)}"
        case Text():
            return _inline(part.text)
        case Items():
            return "\n".join(f"- {_inline(one)}" for one in part.items) or f"*{part.none}*"
        case Pairs():
            rows = tuple((name, value or NOT_STATED) for name, value in part.pairs.items())
            return _table(("", ""), rows)
        case Grid():
            return _table(part.columns, part.rows) if part.rows else f"*{_inline(part.none)}*"
        case Code():
            return _fenced(part)


def _table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _inline(text)


def _fenced(part: Code) -> str:
    longest = max((len(run) for run in re.findall(r"`+", part.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{part.language}\n{part.text}\n{fence}"


def _inline(text: str) -> str:
    one_line = re.sub(r"\s+", " ", text).strip()
    escaped = _MARKUP.sub(r"\\\g<0>", one_line).replace("<", "&lt;")
    return _BEGINS_BLOCK.sub(r"\1\\\2", escaped)
