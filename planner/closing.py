"""What closes a statement: ``WITH (name = value, …)``, and the options it sets.

Rule to keep: an option that is unknown or has a wrong value is an error, never passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from podsql.errors import error
from podsql.planner.masking import MASKED_SETTINGS, masking_of
from podsql.planner.plan import Options
from podsql.planner.tokens import Token, scalar_text, scan


def split_options(sql: str) -> tuple[str, Options]:
    """The SELECT without its closing ``WITH (…)``, and what that says."""
    tokens = scan(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
        sql = sql[: tokens[-1].end] if tokens else ""
    if not tokens or tokens[-1].text != ")" or tokens[-1].depth != 1:
        return sql, Options()
    opening = max(i for i, t in enumerate(tokens) if t.text == "(" and t.depth == 1)
    if opening == 0 or tokens[opening - 1].text.lower() != "with":
        return sql, Options()
    before = tokens[opening - 2].text.lower() if opening > 1 else ""
    if before in ("", "as"):
        return sql, Options()
    values = pairs(tokens[opening + 1 : -1])
    return sql[: tokens[opening - 1].start].rstrip(), _options(values)


Value = int | float | str | bool | tuple[str, ...]
"""Of a list, each item as it is written, numbers too."""


def pairs(tokens: list[Token]) -> dict[str, Value]:
    """``name = value, …``, each name once; OPTION if it is malformed."""
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
                number = tokens[position].kind == "number"
                names.append(tokens[position].text if number else _text(tokens[position]))
            position += 1
        if position == len(tokens):
            raise _malformed()
        return tuple(names), position + 1
    if token.kind == "number":
        text = token.text
        return (int(text) if text.isdigit() else float(text)), position + 1
    text = _text(token)
    if token.kind == "word" and text.lower() in ("true", "false"):
        return text.lower() == "true", position + 1
    return text, position + 1


def _text(token: Token) -> str:
    found = scalar_text(token)
    if found is None:
        raise _malformed()
    return found


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
    *sorted(MASKED_SETTINGS),
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
    noise = noise_of(values)
    masking = masking_of(values)
    if masking is not None and {"privacy", "allow_partial"} & values.keys():
        raise error("OPTION", "secure_aggregation takes neither privacy nor allow_partial")
    return Options(
        allow_partial=partial,
        withheld=withheld,
        pods=pods,
        timeout=None if timeout is None else float(timeout),  # type: ignore[arg-type]
        purpose=purpose,
        deterministic=deterministic,
        privacy="dp" if noise is not None else None,
        epsilon=noise.epsilon if noise else "",
        delta=noise.delta if noise else "",
        fresh=noise is not None and noise.fresh,
        masking=masking,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """``privacy = 'dp'`` with its price: decimal text, empty for what the pods give one statement."""

    epsilon: str
    delta: str
    fresh: bool
    """New noise at a new price."""


def noise_of(values: Mapping[str, Value]) -> Noise | None:
    """What is said of noise; None: no noise is asked for. OPTION if it is odd."""
    privacy, fresh = values.get("privacy"), values.get("fresh", False)
    if privacy is not None and privacy != "dp":
        raise _wrong("privacy", "'dp'")
    if not isinstance(fresh, bool):
        raise _wrong("fresh", "true or false")
    if privacy is None:
        if {"epsilon", "delta", "fresh"} & values.keys():
            raise error("OPTION", "epsilon, delta and fresh need privacy = 'dp'")
        return None
    return Noise(
        epsilon=_share(values, "epsilon", most=1000.0),
        delta=_share(values, "delta", most=0.5),
        fresh=fresh,
    )


def _share(values: Mapping[str, Value], name: str, *, most: float) -> str:
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
