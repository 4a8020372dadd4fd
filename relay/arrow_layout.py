"""What an Arrow IPC message claims about itself, read from its flatbuffer without Arrow.

Format: Arrow's ``Message.fbs`` and ``Schema.fbs``, metadata version 5. A hostile sender chooses every
byte, so each claim is bounded here before pyarrow allocates or follows an offset. Rule to keep: no
kind of column may have rows that cost no bytes, and whatever is not listed is refused.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from podsql.errors import Error, error

SCHEMA: Final = 1
RECORD_BATCH: Final = 3
MAX_FIELDS: Final = 16_384
ALIGNMENT: Final = 8
MAX_NESTING: Final = 2
MAX_NAME_BYTES: Final = 1024
_ZONE: Final = re.compile(r"[A-Za-z0-9_+:/-]{0,64}")
_VERSION_5: Final = 4
_LIST, _STRUCT, _MAP = 12, 13, 17
_NAMES: Final = {
    0: "untyped",
    1: "null",
    14: "union",
    15: "fixed-size binary",
    16: "fixed-size list",
    21: "large list",
    22: "run-end encoded",
    23: "binary view",
    24: "text view",
    25: "list view",
    26: "large list view",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a column lies in buffers: fixed bits a row, or offsets (of ``offsets`` bytes) and data."""

    nullable: bool
    fixed: int = 0
    offsets: int = 0
    data: bool = False
    children: tuple["Shape", ...] = ()
    same_length: bool = False
    """Children have the parent's rows (structs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A message's kind, the size of its body, and where its header table stands."""

    kind: int
    body: int
    header: "Table"


def refuse(what: str) -> Error:
    """Make the one error of this guard."""
    return error("BAD_RESULT", f"arrow data refused: {what}")


class Table:
    """A flatbuffer table at ``at``; every read is bounded by the message's metadata."""

    __slots__ = ("_at", "_data", "_vtable", "_vtable_size")

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - self._int("<i", at)
        self._vtable_size = self._int("<H", self._vtable)

    def _int(self, form: str, at: int) -> int:
        if not 0 <= at <= len(self._data) - struct.calcsize(form):
            raise refuse("metadata points outside itself")
        number: int = struct.unpack_from(form, self._data, at)[0]
        return number

    def _slot(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry + 2 > self._vtable_size:
            return 0
        offset = self._int("<H", self._vtable + entry)
        return self._at + offset if offset else 0

    def scalar(self, field: int, form: str, default: int) -> int:
        """Read a number field."""
        slot = self._slot(field)
        return self._int(form, slot) if slot else default

    def has(self, field: int) -> bool:
        """Whether a field is present at all."""
        return bool(self._slot(field))

    def table(self, field: int) -> "Table":
        """Follow a field that must be a table."""
        slot = self._slot(field)
        if not slot:
            raise refuse("metadata lacks a part")
        return Table(self._data, slot + self._int("<I", slot))

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        slot = self._slot(field)
        if not slot:
            return 0, 0
        at = slot + self._int("<I", slot)
        count = self._int("<I", at)
        if count * size > len(self._data) - at - 4:
            raise refuse("metadata points outside itself")
        return at + 4, count

    def count(self, field: int) -> int:
        """How many entries a vector field claims."""
        return self._vector(field, 1)[1]

    def tables(self, field: int) -> Iterator["Table"]:
        """Follow a vector of tables."""
        start, count = self._vector(field, 4)
        for at in range(start, start + 4 * count, 4):
            yield Table(self._data, at + self._int("<I", at))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Read a vector of structs of two 64-bit numbers (nodes, buffers)."""
        start, count = self._vector(field, 16)
        return list(struct.iter_unpack("<qq", self._data[start : start + 16 * count]))

    def text(self, field: int) -> str:
        """Read a short string field."""
        start, count = self._vector(field, 1)
        if count > MAX_NAME_BYTES:
            raise refuse("a name is too long")
        try:
            return self._data[start : start + count].decode()
        except UnicodeDecodeError:
            raise refuse("a name is not text") from None


def read_claim(metadata: bytes) -> Claim:
    """Read the outer message table."""
    if len(metadata) < 8:
        raise refuse("metadata too short")
    message = Table(metadata, int.from_bytes(metadata[:4], "little"))
    if message.scalar(0, "<h", 0) != _VERSION_5:
        raise refuse("metadata version")
    kind = message.scalar(1, "<B", 0)
    if kind not in (SCHEMA, RECORD_BATCH):
        raise refuse("a dictionary" if kind == 2 else "an unknown kind of message")
    return Claim(kind=kind, body=message.scalar(3, "<q", 0), header=message.table(2))


def read_shapes(schema: Table) -> tuple[Shape, ...]:
    """Shapes of a schema message's columns, all of listed types."""
    if schema.scalar(0, "<h", 0) != 0:
        raise refuse("big-endian numbers")
    if schema.count(3):
        raise refuse("optional features")
    budget = [MAX_FIELDS]
    shapes = tuple(_shape(field, 0, budget) for field in schema.tables(1))
    if not shapes:
        raise refuse("no columns")
    return shapes


def _shape(field: Table, nesting: int, budget: list[int]) -> Shape:
    budget[0] -= 1
    if budget[0] < 0:
        raise refuse("too many columns")
    if field.has(4):
        raise refuse("a dictionary")
    if field.count(6):
        # Extension types live here; nothing of ours writes any metadata on a field.
        raise refuse("metadata on a column")
    field.text(0)
    code = field.scalar(2, "<B", 0)
    nullable = bool(field.scalar(1, "<B", 0))
    if code not in (_LIST, _STRUCT, _MAP):
        leaf = _leaf(code, field.table(3), nullable)
        if field.count(5):
            raise refuse("a plain column with children")
        return leaf
    if nesting == MAX_NESTING:
        raise refuse(f"nesting over {MAX_NESTING}")
    if code == _MAP:
        entries = _only(field)
        if entries.scalar(2, "<B", 0) != _STRUCT or entries.count(5) != 2:
            raise refuse("a map without keys and values")
        child = _shape(entries, nesting, budget)
        # The entries' struct is the map's own level, not one more.
        return Shape(nullable=nullable, offsets=4, children=(child,))
    if code == _LIST:
        return Shape(
            nullable=nullable, offsets=4, children=(_shape(_only(field), nesting + 1, budget),)
        )
    children = tuple(_shape(child, nesting + 1, budget) for child in field.tables(5))
    if not children:
        raise refuse("a struct without fields")
    return Shape(nullable=nullable, children=children, same_length=True)


def _only(field: Table) -> Table:
    if field.count(5) != 1:
        raise refuse("a list with other than one child")
    return next(field.tables(5))


def _leaf(code: int, kind: Table, nullable: bool) -> Shape:
    match code:
        case 2:
            bits = kind.scalar(0, "<i", 0)
            fine = bits in (8, 16, 32, 64)
        case 3:
            bits = {0: 16, 1: 32, 2: 64}.get(kind.scalar(0, "<h", 0), 0)
            fine = bits > 0
        case 4 | 5:
            return Shape(nullable=nullable, offsets=4, data=True)
        case 19 | 20:
            return Shape(nullable=nullable, offsets=8, data=True)
        case 6:
            bits, fine = 1, True
        case 7:
            bits = kind.scalar(2, "<i", 128)
            precision, scale = kind.scalar(0, "<i", 0), kind.scalar(1, "<i", 0)
            fine = 0 <= scale <= precision <= {128: 38, 256: 76}.get(bits, -1)
        case 8:
            bits = {0: 32, 1: 64}.get(kind.scalar(0, "<h", 1), 0)
            fine = bits > 0
        case 9:
            bits = kind.scalar(1, "<i", 32)
            fine = bits in (32, 64)
        case 10:
            bits, fine = 64, _ZONE.fullmatch(kind.text(1)) is not None
        case 11:
            bits, fine = 128, kind.scalar(0, "<h", 0) == 2
        case 18:
            bits, fine = 64, True
        case _:
            raise refuse(f"a column of type {_NAMES.get(code, 'unknown')}")
    if not fine:
        raise refuse("a column type of an unlisted width or unit")
    return Shape(nullable=nullable, fixed=bits)


def check_batch(batch: Table, body: int, shapes: tuple[Shape, ...], max_rows: int) -> int:
    """Check a record batch's claims against its columns; return its rows."""
    if batch.has(3):
        raise refuse("compressed buffers")
    if batch.count(4):
        raise refuse("view buffers")
    rows = batch.scalar(0, "<q", 0)
    if not 0 <= rows <= max_rows:
        raise refuse("more rows than promised")
    nodes, buffers = iter(batch.pairs(1)), iter(batch.pairs(2))
    taken = 0
    try:
        for shape in shapes:
            taken = _check_column(shape, rows, nodes, buffers, taken, body)
    except StopIteration:
        raise refuse("fewer buffers than columns need") from None
    if next(nodes, None) is not None or next(buffers, None) is not None:
        raise refuse("more buffers than columns need")
    return rows


def _check_column(
    shape: Shape,
    rows: int | None,
    nodes: Iterator[tuple[int, int]],
    buffers: Iterator[tuple[int, int]],
    taken: int,
    body: int,
) -> int:
    """Check one column and its children; ``taken`` is where the buffers before it end."""
    length, nulls = next(nodes)
    if length < 0 or (rows is not None and length != rows):
        raise refuse("a column of another length than its batch")
    if not 0 <= nulls <= length or (nulls and not shape.nullable):
        raise refuse("an impossible count of nulls")

    def take(least: int) -> int:
        start, size = next(buffers)
        # In order and apart: the sum of all buffers then fits the body.
        if start < taken or size < least or start + size > body or start % ALIGNMENT:
            raise refuse("buffers that do not fit the body")
        return start + size

    bitmap = (length + 7) // 8
    taken = take(bitmap if nulls else 0)
    if shape.fixed:
        taken = take((length * shape.fixed + 7) // 8)
    if shape.offsets:
        taken = take((length + 1) * shape.offsets if length else 0)
    if shape.data:
        taken = take(0)
    for child in shape.children:
        within = length if shape.same_length else None
        taken = _check_column(child, within, nodes, buffers, taken, body)
    return taken
