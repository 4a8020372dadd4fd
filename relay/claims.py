"""Whose each CURVE key is, over all federations of one relay: the first's that listed it.

It stays so for as long as that one lists it. A manifest that lists a key of another federation holds
without that key. It is not refused as a whole: else a member of one federation who convenes another could list a key there, take it as its
own here, and so stop every later manifest, its own revocation included; and the refusal would tell
who else is hosted. Rule to keep: a claim never passes on by a restart, so disputed keys are on disk.
"""

import logging
from collections.abc import Collection
from pathlib import Path

import msgspec

from podsql.errors import error
from podsql.relay.keys import replace_file

log = logging.getLogger("podsql.relay")


class Claims:
    """Federations (their fingerprints) by CURVE key; ``path`` keeps the disputed ones."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._disputed = _load(path)
        self._owner: dict[bytes, str] = dict(self._disputed)
        self._held: dict[str, set[bytes]] = {}
        self._contested: dict[str, frozenset[bytes]] = {}
        for key, federation in self._disputed.items():
            self._held.setdefault(federation, set()).add(key)

    def owner(self, curve: bytes) -> str | None:
        """The federation a key belongs to (any thread may ask)."""
        return self._owner.get(curve)

    def settle(self, federation: str, keys: Collection[bytes]) -> frozenset[bytes]:
        """Take the free ones of ``keys``, let others go that were held: those another holds."""
        wanted, held = set(keys), self._held.get(federation, set())
        for key in held - wanted:
            del self._owner[key]
        contested = frozenset(
            key for key in wanted if self._owner.setdefault(key, federation) != federation
        )
        self._held[federation] = wanted - contested
        self._contested[federation] = contested
        self._keep()
        return contested

    def release(self, federation: str) -> None:
        """The relay hosts this federation no more."""
        self.settle(federation, ())
        del self._held[federation], self._contested[federation]

    def _keep(self) -> None:
        disputed = {
            key: self._owner[key]
            for contested in self._contested.values()
            for key in contested
            if key in self._owner
        }
        if disputed == self._disputed:
            return
        self._disputed = disputed
        if self._path is None:
            return
        try:
            replace_file(self._path, msgspec.msgpack.encode(disputed), mode=0o600)
        except OSError as failure:
            log.error("disputed keys are not on disk: %s", failure.strerror)


def _load(path: Path | None) -> dict[bytes, str]:
    try:
        data = path.read_bytes() if path is not None else None
        return {} if data is None else msgspec.msgpack.decode(data, type=dict[bytes, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError):
        raise error("CONFIG", f"{str(path)!r} cannot be read") from None
