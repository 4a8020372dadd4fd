"""Whom one federation lets in and where each may send, from its signed manifest alone.

Rule to keep: no manifest, no entry; an older, expired or foreign manifest changes nothing. The
roster opens the door and vouches for nobody: peers judge each other by the manifest themselves.
"""

import logging
from dataclasses import dataclass
from enum import Enum

from podsql.relay.claims import Claims
from podsql.relay.frames import address_of
from podsql.relay.manifest import Manifest, ManifestStore

log = logging.getLogger("podsql.relay")


class Standing(Enum):
    """What a CURVE key is to this federation."""

    MEMBER = 1
    INVITEE = 2
    REVOKED = 3
    UNKNOWN = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that may be here. ``expires`` (ms) bounds an invitee's stay."""

    address: bytes
    standing: Standing
    role: str
    expires: int = 1 << 62


_UNKNOWN = Entry(bytes(16), Standing.UNKNOWN, "")


class Roster:
    """Entries of one federation by CURVE key (32 bytes); replaced as a whole with each manifest."""

    def __init__(self, store: ManifestStore, claims: Claims | None = None) -> None:
        self._store = store
        self._claims = claims or Claims()
        self._entries: dict[bytes, Entry] = {}
        self._members: frozenset[bytes] = frozenset()
        self._conveners: frozenset[bytes] = frozenset()
        if store.current is not None:
            self._load(store.current)

    @property
    def loaded(self) -> bool:
        """Whether any manifest was ever accepted."""
        return self._store.current is not None

    @property
    def version(self) -> int:
        """Version of the manifest in force; 0 without one."""
        return self._store.current.version if self._store.current else 0

    @property
    def raw(self) -> bytes | None:
        """The signed manifest as it is handed to peers."""
        return self._store.raw

    def accept(self, data: bytes, now_ms: int) -> bool:
        """Take a newer manifest (True); MANIFEST error, and nothing changes, for any other."""
        if not self._store.accept(data, now_ms):
            return False
        assert self._store.current is not None
        self._load(self._store.current)
        return True

    def entry(self, curve: bytes, now_ms: int) -> Entry:
        """What ``curve`` may do now."""
        found = self._entries.get(curve, _UNKNOWN)
        return _UNKNOWN if found.expires <= now_ms else found

    def admits(self, curve: bytes, now_ms: int) -> bool:
        """Whether the CURVE handshake of this key may succeed."""
        return self.entry(curve, now_ms).standing in (Standing.MEMBER, Standing.INVITEE)

    def is_member(self, address: bytes) -> bool:
        """Whether an address belongs to a member."""
        return address in self._members

    def is_convener(self, address: bytes) -> bool:
        """Whether an address belongs to a convener."""
        return address in self._conveners

    def _load(self, manifest: Manifest) -> None:
        members = manifest.members()
        listed = {card.curve for card in members}
        entries = {
            card.curve: Entry(card.address, Standing.REVOKED, card.role)
            for card in manifest.all_cards
            if card.curve not in listed
        }
        entries |= {
            invite.curve: Entry(
                address_of(invite.curve), Standing.INVITEE, "invitee", invite.expires
            )
            for invite in manifest.invites
        }
        entries |= {card.curve: Entry(card.address, Standing.MEMBER, card.role) for card in members}
        contested = self._claims.settle(manifest.federation, entries)
        if contested:
            log.error(
                "ALARM: version %d of %s lists %d keys of another federation here; they stay there",
                manifest.version,
                manifest.federation,
                len(contested),
            )
        self._entries = {key: entries[key] for key in entries if key not in contested}
        here = [card for card in members if card.curve not in contested]
        self._members = frozenset(card.address for card in here)
        self._conveners = frozenset(card.address for card in here if card.role == "convener")
