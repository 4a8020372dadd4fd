"""The overlap guard: two answered cells never differ by 1 to ``least - 1`` privacy units.

Each answered cell is kept as a bitmap of its units, sealed at rest (it says who is in the data). A
new cell is compared with every earlier one of its scope. Pairwise only: a combination of three
answers can pass, which is why caps and differential privacy exist (docs/privacy.md).
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Final

import nacl.exceptions
from nacl.secret import SecretBox

from podsql.errors import error
from podsql.policy.ledger.store import Ledger

_SCOPES: Final = 64


class Overlaps:
    """Bitmaps of one ledger; one caller at a time (the ledger's transactions serialise them)."""

    def __init__(self, ledger: Ledger, key: bytes) -> None:
        """``key``: 32 bytes that seal the bitmaps at rest."""
        self._ledger = ledger
        self._box = SecretBox(key)
        self._known: OrderedDict[str, dict[bytes, int]] = OrderedDict()

    def admit(self, scope: str, cells: Sequence[Collection[int]], least: int) -> list[bool]:
        """For each cell (a set of 64-bit unit names) whether it may leave; those that may are kept."""
        found = []
        with self._ledger.transaction() as db:
            earlier = self._bitmaps(db, scope)
            places = self._places(db, scope, cells)
            added: dict[bytes, int] = {}
            for cell in cells:
                bitmap = 0
                for unit in cell:
                    bitmap |= 1 << places[unit]
                digest = _digest(bitmap)
                near = digest not in earlier and any(
                    0 < (bitmap ^ other).bit_count() < least
                    for known in (earlier, added)
                    for other in known.values()
                )
                found.append(not near)
                if not near and digest not in earlier and digest not in added:
                    added[digest] = bitmap
                    body = bytes(self._box.encrypt(_bytes(bitmap)))
                    db.execute("INSERT OR IGNORE INTO cell VALUES (?, ?, ?)", [scope, digest, body])
        earlier.update(added)
        return found

    def _bitmaps(self, db: object, scope: str) -> dict[bytes, int]:
        rows = db.execute("SELECT digest, body FROM cell WHERE scope = ?", [scope])  # type: ignore[attr-defined]
        known = self._known.setdefault(scope, {})
        self._known.move_to_end(scope)
        while len(self._known) > _SCOPES:
            self._known.popitem(last=False)
        for digest, body in rows:
            if digest not in known:
                try:
                    known[digest] = int.from_bytes(self._box.decrypt(body), "little")
                except nacl.exceptions.CryptoError:
                    raise error("LEDGER", "the overlap guard's memory cannot be read") from None
        return known

    def _places(self, db: object, scope: str, cells: Sequence[Collection[int]]) -> dict[int, int]:
        """Unit -> its bit; new units get the next ones."""
        rows = db.execute("SELECT name, place FROM unit WHERE scope = ?", [scope])  # type: ignore[attr-defined]
        known = {name % (1 << 64): place for name, place in rows}
        fresh = sorted({unit for cell in cells for unit in cell} - known.keys())
        start = len(known)
        db.executemany(  # type: ignore[attr-defined]
            "INSERT INTO unit VALUES (?, ?, ?)",
            [(scope, _signed(unit), start + n) for n, unit in enumerate(fresh)],
        )
        known.update({unit: start + n for n, unit in enumerate(fresh)})
        return known


def _bytes(bitmap: int) -> bytes:
    return bitmap.to_bytes((bitmap.bit_length() + 7) // 8 or 1, "little")


def _digest(bitmap: int) -> bytes:
    return blake2b(_bytes(bitmap), digest_size=16, person=b"ps-overlap").digest()


def _signed(unit: int) -> int:
    return unit - (1 << 64) if unit >= 1 << 63 else unit
