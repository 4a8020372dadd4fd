"""``$name`` and ``:name`` with a mapping: rewritten to ``?`` and the values in order.

Rule to keep: only whole tokens are replaced, never text inside strings, names or comments, and a
``:`` that is part of a cast, a slice or a struct stays unless the mapping has that very name.
"""

from collections.abc import Mapping

from podsql.errors import error
from podsql.planner.tokens import Token, scan


def by_place(sql: str, values: Mapping[str, object]) -> tuple[str, tuple[object, ...]]:
    """The statement with ``?`` and their values; PARAMETERS for a name that one of both lacks."""
    written: list[str] = []
    ordered: list[object] = []
    used: set[str] = set()
    position = 0
    before: Token | None = None
    tokens = scan(sql)
    for at, token in enumerate(tokens):
        name = _named(token, tokens[at + 1] if at + 1 < len(tokens) else None, before)
        before = token
        if name is None or (token.text == ":" and name not in values):
            continue
        if name not in values:
            raise error("PARAMETERS", f"no value for parameter {name!r}")
        used.add(name)
        ordered.append(values[name])
        written.append(sql[position : token.start] + "?")
        position = tokens[at + 1].end
    unused = sorted(str(name) for name in values if name not in used)
    if unused:
        raise error("PARAMETERS", f"the statement has no parameter {unused[0]!r}")
    return "".join(written) + sql[position:], tuple(ordered)


def _named(token: Token, following: Token | None, before: Token | None) -> str | None:
    """The name after ``$`` or ``:``, if they stand together."""
    if token.text not in ("$", ":") or following is None or following.kind != "word":
        return None
    if following.start != token.end:
        return None
    glued = before is not None and before.end == token.start
    # ``::name`` is a cast, ``a[:b]`` a slice, ``{a:b}`` a struct.
    if token.text == ":" and glued and before is not None and before.kind != "mark":
        return None
    if token.text == ":" and glued and before is not None and before.text in ":[])}":
        return None
    return following.text
