"""What stands around a SELECT: ``EXPLAIN`` before it, ``WITH (name = value, …)`` after it.

A small scanner of our own, because neither parser knows these forms. Rule to keep: it finds
tokens (strings, quoted names, comments, brackets) and never interprets SQL between them.
"""

import re
from dataclasses import dataclass
from typing import Final

from podsql.errors import error
from podsql.planner.plan import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A SELECT with its closing options still in ``sql``."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """``EXPLAIN <select>``: ``sql`` is the select, with its closing options."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainPolicy:
    """``EXPLAIN POLICY <select>``: what every pod's policy would say; reads no data."""

    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarize:
    """``SUMMARIZE [TABLE] name``: a profile of one table, as far as policies allow."""

    table: str
    """``name`` or ``schema.name``."""
    options: Options


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: word, string, name (quoted), number, mark. ``depth`` counts open brackets."""

    kind: str
    text: str
    start: int
    depth: int


_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/)
      |(?P<dollar>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
      |(?P<string>[eE]?'(?:[^']|'')*')
      |(?P<name>"(?:[^"]|"")*")
      |(?P<word>[^\W\d]\w*)
      |(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)
      |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


def scan(sql: str) -> list[Token]:
    """The tokens of ``sql``."""
    found = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind == "skip":
            continue
        kind = "string" if kind in ("dollar", "tag") else kind
        text = match.group()
        if text in ("(", "[", "{"):
            depth += 1
        found.append(Token(kind, text, match.start(), depth))
        if text in (")", "]", "}"):
            depth -= 1
    return found


Command = Query | Explain | ExplainPolicy | Summarize


def classify(sql: str) -> Command:
    """Tell EXPLAIN, EXPLAIN POLICY and SUMMARIZE from the rest."""
    tokens = scan(sql)
    if tokens and tokens[0].text.lower() == "summarize":
        return _summarize(sql[tokens[0].start + len("summarize") :])
    if tokens and tokens[0].text.lower() == "explain":
        second = tokens[1].text.lower() if len(tokens) > 1 else ""
        if second in ("analyze", "("):
            raise error(
                "STATEMENT",
                "only EXPLAIN and EXPLAIN POLICY are supported",
                hint="write EXPLAIN SELECT … or EXPLAIN POLICY SELECT …",
            )
        if second == "policy":
            return ExplainPolicy(sql=sql[tokens[1].start + len("policy") :].lstrip())
        return Explain(sql=sql[tokens[0].start + len("explain") :].lstrip())
    return Query(sql=sql)


def _summarize(rest: str) -> Summarize:
    text, options = split_options(rest)
    tokens = scan(text)
    if tokens and tokens[0].kind == "word" and tokens[0].text.lower() == "table":
        tokens = tokens[1:]
    names = tokens[::2]
    if (
        len(tokens) not in (1, 3)
        or any(token.kind not in ("word", "name") for token in names)
        or any(token.text != "." for token in tokens[1::2])
        or names[0].text.lower() in ("select", "from", "with")
    ):
        raise error("STATEMENT", "SUMMARIZE takes the name of one table", hint="SUMMARIZE visits")
    return Summarize(table=".".join(_scalar_text(token) for token in names), options=options)


def split_options(sql: str) -> tuple[str, Options]:
    """The SELECT without its closing ``WITH (…)``, and what that says."""
    tokens = scan(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
        sql = sql[: tokens[-1].start + len(tokens[-1].text)] if tokens else ""
    if not tokens or tokens[-1].text != ")" or tokens[-1].depth != 1:
        return sql, Options()
    opening = max(i for i, t in enumerate(tokens) if t.text == "(" and t.depth == 1)
    if opening == 0 or tokens[opening - 1].text.lower() != "with":
        return sql, Options()
    before = tokens[opening - 2].text.lower() if opening > 1 else ""
    if before in ("", "as"):
        return sql, Options()
    values = _pairs(tokens[opening + 1 : -1])
    return sql[: tokens[opening - 1].start].rstrip(), _options(values)


Value = int | float | str | bool | tuple[str, ...]


def _pairs(tokens: list[Token]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    position = 0
    while position < len(tokens):
        if len(tokens) < position + 3 or tokens[position].kind != "word":
            raise _malformed()
        name = tokens[position].text.lower()
        if tokens[position + 1].text != "=" or name in values:
            raise _malformed()
        value, position = _value(tokens, position + 2)
        values[name] = value
        if position < len(tokens):
            if tokens[position].text != "," or position + 1 == len(tokens):
                raise _malformed()
            position += 1
    return values


def _value(tokens: list[Token], position: int) -> tuple[Value, int]:
    token = tokens[position]
    if token.text in ("(", "["):
        names: list[str] = []
        position += 1
        while position < len(tokens) and tokens[position].text not in (")", "]"):
            if tokens[position].text != ",":
                names.append(_scalar_text(tokens[position]))
            position += 1
        if position == len(tokens):
            raise _malformed()
        return tuple(names), position + 1
    if token.kind == "number":
        text = token.text
        return (int(text) if text.isdigit() else float(text)), position + 1
    text = _scalar_text(token)
    if token.kind == "word" and text.lower() in ("true", "false"):
        return text.lower() == "true", position + 1
    return text, position + 1


def _scalar_text(token: Token) -> str:
    if token.kind == "string" and token.text.startswith("'"):
        return token.text[1:-1].replace("''", "'")
    if token.kind == "name":
        return token.text[1:-1].replace('""', '"')
    if token.kind == "word":
        return token.text
    raise _malformed()


_KNOWN: Final = (
    "allow_partial",
    "withheld",
    "pods",
    "timeout",
    "purpose",
    "deterministic",
    "privacy",
    "epsilon",
    "delta",
    "fresh",
)


def _options(values: dict[str, Value]) -> Options:
    for name in values:
        if name not in _KNOWN:
            raise error("OPTION", f"unknown option {name!r}", hint=f"known: {', '.join(_KNOWN)}")
    pods = values.get("pods")
    if isinstance(pods, str):
        pods = (pods,)
    partial, timeout = values.get("allow_partial"), values.get("timeout")
    withheld, purpose = values.get("withheld"), values.get("purpose")
    deterministic = values.get("deterministic", False)
    if partial is not None and (type(partial) is not int or partial < 1):
        raise _wrong("allow_partial", "a number of pods, at least 1")
    if timeout is not None and (type(timeout) not in (int, float) or float(timeout) <= 0):  # type: ignore[arg-type]
        raise _wrong("timeout", "seconds, more than 0")
    if withheld is not None and withheld != "omit":
        raise _wrong("withheld", "'omit'")
    if purpose is not None and not isinstance(purpose, str):
        raise _wrong("purpose", "a string")
    if pods is not None and not (isinstance(pods, tuple) and pods):
        raise _wrong("pods", "a list of pod names")
    if not isinstance(deterministic, bool):
        raise _wrong("deterministic", "true or false")
    privacy, fresh = values.get("privacy"), values.get("fresh", False)
    if privacy is not None and privacy != "dp":
        raise _wrong("privacy", "'dp'")
    if not isinstance(fresh, bool):
        raise _wrong("fresh", "true or false")
    if privacy is None and {"epsilon", "delta", "fresh"} & values.keys():
        raise error("OPTION", "epsilon, delta and fresh need privacy = 'dp'")
    return Options(
        allow_partial=partial,
        withheld=withheld,
        pods=pods,
        timeout=None if timeout is None else float(timeout),  # type: ignore[arg-type]
        purpose=purpose,
        deterministic=deterministic,
        privacy="dp" if privacy is not None else None,
        epsilon=_share(values, "epsilon", most=1000.0),
        delta=_share(values, "delta", most=0.5),
        fresh=fresh,
    )


def _share(values: dict[str, Value], name: str, *, most: float) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if type(value) not in (int, float) or not 0 < float(value) <= most:  # type: ignore[arg-type]
        raise _wrong(name, f"a number between 0 and {most:g}")
    return repr(float(value))  # type: ignore[arg-type]


def _wrong(name: str, wanted: str) -> Exception:
    return error("OPTION", f"option {name!r} takes {wanted}")


def _malformed() -> Exception:
    return error(
        "OPTION",
        "the closing WITH clause is malformed",
        hint="write WITH (name = value, …), e.g. WITH (timeout = 10)",
    )
