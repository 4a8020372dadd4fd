"""What left on the total of all pods (``sdc_merged``): which people of this pod stood behind each cell.

A statement is remembered, by its name, before this pod brings its figures to the sum, and settled once every
other pod says that it remembers it too. So figures that were opened are settled everywhere: of a
statement that another pod does not know, what is settled here was lost there, and what is not never left.
Sealed at rest, since it says who is in the data.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import nacl.exceptions
from nacl.secret import SecretBox

from podsql.errors import error
from podsql.policy.ledger.store import Ledger

Cell = dict[int, int]
"""For each person behind a figure, by a name that means nothing elsewhere: how often they count in it, and above
``OFTEN`` the sum of hashes of their rows in it; modulo ``ROWS``. A count of people has no rows."""
OFTEN: Final = 2**20
ROWS: Final = 2**63
PEOPLE: Final = 2_000_000
"""Behind all cells of one scope, at most: they are compared in memory."""


class Past:
    """The statements of one ledger."""

    def __init__(self, ledger: Ledger, key: bytes) -> None:
        """``key``: 32 bytes that seal the cells at rest."""
        self._ledger = ledger
        self._box = SecretBox(key)

    def load(self, scope: str) -> dict[bytes, list[Cell]]:
        """The cells of every statement of ``scope``, by its name; ascending."""
        with self._ledger.transaction() as db:
            rows = db.execute("SELECT name, body FROM past WHERE scope = ? ORDER BY name", [scope])
            return {name: self._opened(body) for name, body in rows}

    def settled(self, scope: str) -> frozenset[bytes]:
        """Names of statements whose figures may have left."""
        with self._ledger.transaction() as db:
            rows = db.execute("SELECT name FROM past WHERE scope = ? AND settled = 1", [scope])
            return frozenset(name for (name,) in rows)

    def names(self, scope: str) -> tuple[bytes, ...]:
        """Names of all statements, ascending."""
        with self._ledger.transaction() as db:
            rows = db.execute("SELECT name FROM past WHERE scope = ? ORDER BY name", [scope])
            return tuple(name for (name,) in rows)

    def remember(
        self, scope: str, name: bytes, cells: Sequence[Cell], *, beside: Sequence[Cell]
    ) -> None:
        """Before the figures of ``cells`` leave; QUOTA if too many people are behind them and what is known
        ``beside``."""
        if sum(map(len, (*cells, *beside))) > PEOPLE:
            raise error("QUOTA", "a pod remembers no more people of this project's answers")
        body = bytes(self._box.encrypt(msgspec.msgpack.encode(list(cells))))
        with self._ledger.transaction() as db:
            db.execute("INSERT INTO past VALUES (?, ?, 0, ?)", [scope, name, body])

    def settle(self, scope: str, name: bytes) -> None:
        """Every pod remembers ``name``: its figures may leave."""
        with self._ledger.transaction() as db:
            db.execute("UPDATE past SET settled = 1 WHERE scope = ? AND name = ?", [scope, name])

    def agree(self, scope: str, others: Mapping[str, frozenset[bytes]]) -> frozenset[bytes]:
        """The statements that every pod remembers; others are forgotten here. CONFLICT if another pod has
        lost one that was settled."""
        own = frozenset(self.names(scope))
        common = own.intersection(*others.values())
        if not self.settled(scope) <= common:
            raise error(
                "CONFLICT",
                "another pod does not remember earlier answers to this project",
                hint="its custodian restores its state; all pods must tell projects apart alike",
            )
        with self._ledger.transaction() as db:
            db.executemany(
                "DELETE FROM past WHERE scope = ? AND name = ?",
                [(scope, name) for name in own - common],
            )
        return common

    def _opened(self, body: bytes) -> list[Cell]:
        try:
            return msgspec.msgpack.decode(self._box.decrypt(body), type=list[Cell])
        except nacl.exceptions.CryptoError:
            raise error("LEDGER", "what left on totals cannot be read") from None
