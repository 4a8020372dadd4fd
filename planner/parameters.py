"""qmark parameters: each ``?`` becomes a typed literal of the statement's tree.

Rule to keep: a parameter is data. It becomes exactly one literal node (perhaps under a cast or a
minus), never text that is parsed.
"""

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from decimal import Decimal

from sqlglot import exp

from podsql.errors import error


def bind_parameters(tree: exp.Expression, parameters: Sequence[object]) -> exp.Expression:
    """The tree with every ``?`` replaced, in the order of the text; PARAMETERS on a mismatch."""
    marks: list[exp.Expression] = list(tree.find_all(exp.Placeholder, bfs=False))
    marks.extend(tree.find_all(exp.Parameter))
    if any(node.args.get("this") for node in marks):
        raise error("PARAMETERS", "parameters are written as ?", hint="named ones are not known")
    if len(marks) != len(parameters):
        raise error(
            "PARAMETERS", f"the statement has {len(marks)} parameters, {len(parameters)} were given"
        )
    if not marks:
        return tree
    values = iter(parameters)
    # The walk above is depth first in argument order, which differs from text order where a
    # clause is stored out of place; so the marks are bound by regenerating the text's order.
    for node in _in_text_order(tree, marks):
        node.replace(as_literal(next(values)))
    return tree


def _in_text_order(tree: exp.Expression, marks: list[exp.Expression]) -> list[exp.Expression]:
    by_mark = {}
    for position, node in enumerate(marks):
        node.set("this", f"m{position}")
        by_mark[f"$m{position}"] = node
    text = tree.sql(dialect="duckdb", comments=False)
    found = sorted(by_mark, key=lambda mark: _place(text, mark))
    return [by_mark[mark] for mark in found]


def _place(text: str, mark: str) -> int:
    position = text.find(mark)
    while position >= 0 and text[position + len(mark) : position + len(mark) + 1].isdigit():
        position = text.find(mark, position + 1)
    return position


def as_literal(value: object) -> exp.Expression:
    """``value`` as a DuckDB literal of the type a DB-API driver would bind."""
    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int):
        return _signed(exp.Literal.number(str(abs(value))), value < 0)
    if isinstance(value, float):
        text = repr(value) if math.isfinite(value) else str(value)
        return _cast(text, "DOUBLE")
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, str):
        if "\x00" in value:
            raise error("PARAMETERS", "a string parameter holds a null byte")
        return exp.Literal.string(value)
    return _other(value)


def _other(value: object) -> exp.Expression:
    if isinstance(value, dt.datetime):
        aware = value.tzinfo is not None
        return _cast(value.isoformat(sep=" "), "TIMESTAMPTZ" if aware else "TIMESTAMP")
    if isinstance(value, dt.date):
        return _cast(value.isoformat(), "DATE")
    if isinstance(value, dt.time) and value.tzinfo is None:
        return _cast(value.isoformat(), "TIME")
    if isinstance(value, dt.timedelta):
        micros = value // dt.timedelta(microseconds=1)
        return _cast(f"{micros} microseconds", "INTERVAL")
    if isinstance(value, bytes | bytearray | memoryview):
        return _cast("".join(f"\\x{byte:02X}" for byte in bytes(value)), "BLOB")
    if isinstance(value, uuid.UUID):
        return _cast(str(value), "UUID")
    raise error(
        "PARAMETERS",
        f"a parameter of type {type(value).__name__} cannot be bound",
        hint="pass a number, string, bytes, bool, date, time, interval, UUID or None",
    )


def _decimal(value: Decimal) -> exp.Expression:
    if not value.is_finite():
        raise error("PARAMETERS", "a decimal parameter is not finite")
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    width = max(len(digits) + max(0, int(exponent)), scale, 1)
    if width > 38:
        raise error("PARAMETERS", "a decimal parameter has more than 38 digits")
    return _cast(format(value, "f"), f"DECIMAL({width}, {scale})")


def _cast(text: str, type_name: str) -> exp.Expression:
    return exp.Cast(
        this=exp.Literal.string(text), to=exp.DataType.build(type_name, dialect="duckdb")
    )


def _signed(node: exp.Expression, negative: bool) -> exp.Expression:
    return exp.Neg(this=node) if negative else node
