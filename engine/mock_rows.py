"""Synthetic rows of a declared table, as Parquet.

Rule to keep: a cell is a function of the seed, the place of its row and what is declared about its
column. Nothing here can open a table of a pod, so no cell can depend on a row of one.
"""

import random
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, lcm
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from podsql.connectors.source import path_list, quoted, text_literal
from podsql.engine.lock import NO_SURPRISES
from podsql.errors import error
from podsql.planner.fragment import Field
from podsql.planner.settings import PINNED_SETTINGS
from podsql.planner.wire_types import INTEGERS, decimal_parts, is_enum, known_type

DEFAULT_BOUNDS: Final = (0, 100)
"""Of a number that declares none."""
FIRST_DAY: Final = date(2020, 1, 1)
DAYS: Final = 1827
"""Dates and timestamps lie in 2020 to 2024."""
NAMES: Final = 20
"""Distinct texts of a column that declares no values; few, so that groups have many rows."""
NULL_SHARE: Final = 0.02
MOST_KEYS: Final = 2**53
"""Largest id: exact in every type that holds it, DOUBLE included."""

UNBENT: Final = {"HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "VARCHAR"}
"""Exact forms of types that Parquet would bend to DOUBLE; a cast brings the type back."""

_MANY_DIGITS: Final = Context(prec=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class MockColumn:
    """What is declared about one column. ``key``: distinct ids that equal ids elsewhere."""

    name: str
    type: str
    key: bool = False
    bounds: tuple[float, float] | None = None
    bin: float | None = None
    """Distance of the grid that numbers lie on."""
    values: tuple[str | float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Domain:
    """``size`` values, each as a text that casts to the column's type."""

    size: int
    text: Callable[[int], str]


def write_rows(
    path: Path, table: str, columns: Sequence[MockColumn], *, rows: int, seed: int
) -> tuple[Field, ...]:
    """Write ``rows`` rows of ``table``; the columns as a reader of the file finds them.

    POLICY_FILE for a column whose bounds or values hold nothing of its type.
    """
    texts = {
        f"c{place}": pa.array(_cells(table, column, rows, seed), pa.string())
        for place, column in enumerate(columns)
    }
    con = duckdb.connect(config={"allow_unsigned_extensions": "false"})
    try:
        for setting in (*NO_SURPRISES, *PINNED_SETTINGS):
            con.execute(setting)
        con.register("texts", pa.table(texts))
        for place, column in enumerate(columns):
            _require_castable(con, f"c{place}", table, column)
        select = ", ".join(_select(f"c{place}", column) for place, column in enumerate(columns))
        con.execute(
            f"COPY (SELECT {select} FROM texts) TO {text_literal(str(path))} (FORMAT parquet)"
        )
        file = path_list((path,))
        found = con.execute(f"DESCRIBE SELECT * FROM read_parquet({file})").fetchall()
    except duckdb.IOException:
        raise error(
            "DISK_FULL", f"the mock of {table!r} cannot be written", hint="ask for fewer rows"
        ) from None
    finally:
        con.close()
    return tuple(Field(str(row[0]), str(row[1])) for row in found)


def _select(cell: str, column: MockColumn) -> str:
    value = f"CAST({cell} AS {column.type})"
    if column.type in UNBENT:
        value = f"CAST({value} AS {UNBENT[column.type]})"
    return f"{value} AS {quoted(column.name)}"


def _require_castable(
    con: duckdb.DuckDBPyConnection, cell: str, table: str, column: MockColumn
) -> None:
    row = con.execute(
        f"SELECT count({cell}) - count(TRY_CAST({cell} AS {column.type})) FROM texts"
    ).fetchone()
    if row and row[0]:
        raise _wrong(table, column, "values that are not")


def _cells(table: str, column: MockColumn, rows: int, seed: int) -> list[str | None]:
    domain = _domain(table, column)
    if domain is None:
        return [None] * rows
    size = domain.size
    if column.key:
        # Each seed has its own block of ids: mocks of two pods share none, as local keys must not.
        return [domain.text((seed * rows + row) % size) for row in range(rows)]
    text = lru_cache(maxsize=2**14)(domain.text)
    draw = random.Random(f"{seed}/{table}/{column.name}")
    return [None if draw.random() < NULL_SHARE else text(draw.randrange(size)) for _ in range(rows)]


def _domain(table: str, column: MockColumn) -> _Domain | None:
    """What the column may hold; None: nothing but NULL (nested and rare types)."""
    kind = known_type(column.type)
    if kind is None or kind == "NULL":
        return None
    if column.values is not None:
        domain = _listed(tuple(map(_written, column.values)))
    elif is_enum(kind):
        members = re.findall(r"'((?:[^']|'')*)'", kind)
        domain = _listed(tuple(member.replace("''", "'") for member in members))
    else:
        domain = _numbers(column, kind) or _others(column, kind)
    if domain.size < 1:
        raise _wrong(table, column, "no value of")
    return domain


def _numbers(column: MockColumn, kind: str) -> _Domain | None:
    """Points of a grid within the bounds and the type; None: ``kind`` is no number."""
    limits = _limits(kind)
    if limits is None:
        return None
    least, most, step = limits
    if column.key:
        step = Fraction(1) if step is None or most >= 1 else step
    if column.bin is not None and column.bin > 0:
        grid = _exact(column.bin)
        step = grid if step is None else _common(step, grid)
    if column.bounds is not None:
        low, high = map(_exact, column.bounds)
    elif column.key and step is not None:
        low, high = step, Fraction(MOST_KEYS)
    else:
        low, high = map(Fraction, DEFAULT_BOUNDS)
    low, high = max(low, least), min(high, most)
    if step is None:
        step = _fine(high - low)
        return _Domain(size=floor((high - low) / step) + 1, text=lambda at: _plain(low + at * step))
    first, last = ceil(low / step), floor(high / step)
    return _Domain(size=last - first + 1, text=lambda at: _plain((first + at) * step))


def _limits(kind: str) -> tuple[Fraction, Fraction, Fraction | None] | None:
    """Smallest and largest value of a numeric type, and how far apart values are (None: any)."""
    if kind in INTEGERS:
        base = kind.removeprefix("U")
        bits = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}[base]
        if kind != base:
            return Fraction(0), Fraction(2**bits - 1), Fraction(1)
        # A HUGEINT travels as DECIMAL(38,0), which holds a little less.
        most = min(2 ** (bits - 1), 10**38) - 1
        return Fraction(-most), Fraction(most), Fraction(1)
    parts = decimal_parts(kind)
    if parts is not None:
        step = Fraction(1, 10 ** parts[1])
        return -(10 ** parts[0] - 1) * step, (10 ** parts[0] - 1) * step, step
    if kind == "FLOAT":
        return Fraction(-(2**127)), Fraction(2**127), None
    return (Fraction(-(2**1023)), Fraction(2**1023), None) if kind == "DOUBLE" else None


def _others(column: MockColumn, kind: str) -> _Domain:
    """Values of a type that is no number; keys have room for an id of every row."""
    key = column.key
    start = datetime.combine(FIRST_DAY, datetime.min.time())
    word = "id" if key else "name"
    match kind:
        case "VARCHAR" | "BLOB":
            return _Domain(size=MOST_KEYS if key else NAMES, text=lambda at: f"{word}_{at + 1}")
        case "BOOLEAN":
            return _listed(("false", "true"))
        case "DATE":
            size = 365 * 7000 if key else DAYS
            return _Domain(size=size, text=lambda at: str(FIRST_DAY + timedelta(at)))
        case "TIME" | "TIME WITH TIME ZONE":
            zone = "" if kind == "TIME" else "+00"
            return _Domain(
                size=24 * 3600, text=lambda at: f"{(start + timedelta(seconds=at)).time()}{zone}"
            )
        case "INTERVAL":
            return _Domain(size=10**6 if key else DEFAULT_BOUNDS[1], text=lambda at: f"{at} days")
        case "UUID":
            return _Domain(size=2**122, text=lambda at: str(uuid.UUID(int=at)))
        case "BIT":
            return _Domain(size=MOST_KEYS if key else 256, text=lambda at: f"{at:08b}")
    assert kind.startswith("TIMESTAMP"), kind
    zone = "+00" if kind.endswith("TIME ZONE") else ""
    return _Domain(size=DAYS * 24 * 3600, text=lambda at: f"{start + timedelta(seconds=at)}{zone}")


def _listed(values: tuple[str, ...]) -> _Domain:
    return _Domain(size=len(values), text=values.__getitem__)


def _written(value: str | float) -> str:
    """A declared value as text: TOML's ``1`` is read as 1.0 but means 1."""
    return value if isinstance(value, str) else _plain(_exact(value))


def _exact(number: float) -> Fraction:
    """The decimal that was written, not the binary fraction next to it."""
    return Fraction(repr(number))


def _plain(number: Fraction) -> str:
    """A terminating fraction in digits, without an exponent."""
    return f"{_decimal(number):f}"


def _decimal(number: Fraction) -> Decimal:
    return _MANY_DIGITS.divide(Decimal(number.numerator), Decimal(number.denominator))


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The smallest distance that is a multiple of both."""
    below = a.denominator * b.denominator
    return Fraction(lcm(a.numerator * b.denominator, b.numerator * a.denominator), below)


def _fine(span: Fraction) -> Fraction:
    """A power of ten that cuts ``span`` into 1,000 to 10,000 parts."""
    if span <= 0:
        return Fraction(1)
    return Fraction(10) ** (_decimal(span).adjusted() - 3)


def _wrong(table: str, column: MockColumn, what: str) -> Exception:
    return error(
        "POLICY_FILE",
        f"table {table!r}: column {column.name!r} declares {what} its type {column.type.split('(')[0]}",
        hint="make bounds, bin and values of the policy fit the type of the column",
    )
