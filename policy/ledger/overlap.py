"""The overlap guard: two answered cells never differ by the rows of 1 to ``least - 1`` units.

Each answered cell is kept as a bitmap of its members (a unit and one of its rows, or how many it
has), sealed at rest (it says who is in the data). A new cell is compared with every earlier one of
its scope, twice: by its units alone, and by the units of which the two hold other rows. Pairwise
only: a combination of three answers can pass, which is why caps and differential privacy exist
(docs/privacy.md).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import nacl.exceptions
from nacl.secret import SecretBox

from podsql.errors import error
from podsql.policy.ledger.store import Ledger

_SCOPES: Final = 64

Member = tuple[int, int]
"""Names of a unit and of one of its rows, 64 bits each."""


@dataclass(slots=True)
class _Scope:
    """What is known of one scope: earlier cells by digest, and whose bit is whose."""

    cells: dict[bytes, int] = field(default_factory=dict)
    crowds: set[int] = field(default_factory=set)
    """The units of each cell, by their own bits."""
    names: dict[int, int] = field(default_factory=dict)
    """The bit of each unit."""
    places: dict[Member, int] = field(default_factory=dict)
    units: list[int] = field(default_factory=list)
    """Unit of each place."""

    def crowd(self, bitmap: int) -> int:
        """The units of a cell."""
        found = {
            self.names.setdefault(self.units[place], len(self.names)) for place in _places(bitmap)
        }
        return _bitmap(iter(found))

    def near(self, bitmap: int, least: int) -> bool:
        """Whether an earlier cell differs from this one by few units, or by few units' rows.

        Cells that share nothing have no difference in which the rest cancels out.
        """
        crowd = self.crowd(bitmap)
        return any(0 < (crowd ^ other).bit_count() < least for other in self.crowds) or any(
            bitmap & other and _near(bitmap ^ other, self.units, least)
            for other in self.cells.values()
        )


class Overlaps:
    """Bitmaps of one ledger; one caller at a time (the ledger's transactions serialise them)."""

    def __init__(self, ledger: Ledger, key: bytes) -> None:
        """``key``: 32 bytes that seal the bitmaps at rest."""
        self._ledger = ledger
        self._box = SecretBox(key)
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()

    def admit(
        self, scope: str, figures: Sequence[Sequence[Collection[Member]]], least: int
    ) -> list[bool]:
        """For each figure, given by its cells, whether it may leave; those that may are kept.

        The cells of one figure say the same in several ways, and are not compared with each other.
        """
        found = []
        try:
            with self._ledger.transaction() as db:
                known = self._load(db, scope)
                self._place(db, scope, known, [cell for cells in figures for cell in cells])
                for cells in figures:
                    bitmaps = [_bitmap(known.places[member] for member in cell) for cell in cells]
                    fresh = {_digest(bitmap): bitmap for bitmap in bitmaps}
                    for digest in fresh.keys() & known.cells.keys():
                        del fresh[digest]
                    near = any(known.near(bitmap, least) for bitmap in fresh.values())
                    found.append(not near)
                    if near:
                        continue
                    for digest, bitmap in fresh.items():
                        known.cells[digest] = bitmap
                        known.crowds.add(known.crowd(bitmap))
                        body = bytes(self._box.encrypt(_bytes(bitmap)))
                        db.execute("INSERT INTO cell VALUES (?, ?, ?)", [scope, digest, body])
        except BaseException:
            # What was not committed must not be remembered either.
            self._scopes.pop(scope, None)
            raise
        return found

    def known(self, scope: str) -> int:
        """How many cells of ``scope`` left."""
        with self._ledger.transaction() as db:
            (count,) = db.execute("SELECT count(*) FROM cell WHERE scope = ?", [scope]).fetchone()
        return int(count)

    def _load(self, db: Any, scope: str) -> _Scope:
        """The scope as the file has it: another process may have added to it."""
        known = self._scopes.setdefault(scope, _Scope())
        self._scopes.move_to_end(scope)
        while len(self._scopes) > _SCOPES:
            self._scopes.popitem(last=False)
        rows = db.execute(
            "SELECT unit, row FROM member WHERE scope = ? AND place >= ? ORDER BY place",
            [scope, len(known.units)],
        )
        for unit, row in rows:
            known.places[_unsigned(unit), _unsigned(row)] = len(known.units)
            known.units.append(_unsigned(unit))
        (count,) = db.execute("SELECT count(*) FROM cell WHERE scope = ?", [scope]).fetchone()
        if count != len(known.cells):
            self._read_cells(db, scope, known)
        return known

    def _read_cells(self, db: Any, scope: str, known: _Scope) -> None:
        rows = db.execute("SELECT digest, body FROM cell WHERE scope = ?", [scope])
        for digest, body in rows:
            if digest not in known.cells:
                try:
                    opened = self._box.decrypt(body)
                except nacl.exceptions.CryptoError:
                    raise error("LEDGER", "the overlap guard's memory cannot be read") from None
                known.cells[digest] = int.from_bytes(opened, "little")
                known.crowds.add(known.crowd(known.cells[digest]))

    def _place(
        self, db: Any, scope: str, known: _Scope, cells: Sequence[Collection[Member]]
    ) -> None:
        """Give new members the next bits."""
        fresh = sorted({member for cell in cells for member in cell} - known.places.keys())
        db.executemany(
            "INSERT INTO member VALUES (?, ?, ?, ?)",
            [
                (scope, _signed(unit), _signed(row), len(known.units) + n)
                for n, (unit, row) in enumerate(fresh)
            ],
        )
        for member in fresh:
            known.places[member] = len(known.units)
            known.units.append(member[0])


def _bitmap(places: Iterator[int]) -> int:
    data = bytearray()
    for place in places:
        byte = place >> 3
        if byte >= len(data):
            data.extend(bytes(byte + 1 - len(data)))
        data[byte] |= 1 << (place & 7)
    return int.from_bytes(data, "little")


def _places(bitmap: int) -> Iterator[int]:
    for at, byte in enumerate(_bytes(bitmap)):
        if byte:
            yield from (at * 8 + bit for bit in range(8) if byte >> bit & 1)


def _near(difference: int, units: Sequence[int], least: int) -> bool:
    """Whether the members of ``difference`` are of 1 to ``least - 1`` units."""
    seen: set[int] = set()
    for place in _places(difference):
        seen.add(units[place])
        if len(seen) >= least:
            return False
    return bool(seen)


def _bytes(bitmap: int) -> bytes:
    return bitmap.to_bytes((bitmap.bit_length() + 7) // 8 or 1, "little")


def _digest(bitmap: int) -> bytes:
    return blake2b(_bytes(bitmap), digest_size=16, person=b"ps-overlap").digest()


def _signed(name: int) -> int:
    return name - (1 << 64) if name >= 1 << 63 else name


def _unsigned(name: int) -> int:
    return name % (1 << 64)
