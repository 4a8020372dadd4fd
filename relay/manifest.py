"""The manifest: who is who in a federation, signed by the federation key, versioned, expiring.

It may be fetched from anywhere, so everything hangs on its signature, its expiry and the highest
version seen, which ``ManifestStore`` keeps on disk. Rule to keep: a manifest that fails any check
changes nothing; the old one stays, and no check ever falls back to "allow all".
"""

from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.relay.cards import Card, check_name, read_card
from podsql.relay.keys import KEY_BYTES, fingerprint, fingerprint_key, replace_file, signing_public
from podsql.relay.signing import sign, verify

SIZE_LIMIT: Final = 1 << 20
SKEW_MS: Final = 60_000
VERSION_LIMIT: Final = 1 << 53
HASH_BYTES: Final = 32


class InviteEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An open invite: which key may knock, and what its holder may become."""

    curve: bytes
    secret_hash: bytes
    name: str
    role: str
    expires: int


class Manifest(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    tag="manifest/1",
    dict=True,
):
    """One version. ``federation`` is the federation key's fingerprint; times are ms."""

    federation: str
    version: int
    issued: int
    expires: int
    cards: tuple[Signed, ...]
    revoked: tuple[bytes, ...] = ()
    """Identity keys whose cards no longer count."""
    invites: tuple[InviteEntry, ...] = ()

    @cached_property
    def all_cards(self) -> tuple[Card, ...]:
        """Every card, revoked ones too, each verified."""
        return tuple(read_card(document) for document in self.cards)

    @cached_property
    def _members(self) -> tuple[Card, ...]:
        gone = frozenset(self.revoked)
        return tuple(card for card in self.all_cards if card.identity not in gone)

    @cached_property
    def _index(self) -> dict[tuple[str, str | bytes], Card]:
        return {
            (kind, key): card
            for card in self._members
            for kind, key in (
                ("name", card.name),
                ("identity", card.identity),
                ("noise", card.noise),
                ("address", card.address),
            )
        }

    def members(self) -> tuple[Card, ...]:
        """Cards that count: signed by themselves, not revoked."""
        return self._members

    def by_name(self, name: str) -> Card | None:
        """The member of that name."""
        return self._index.get(("name", name))

    def by_identity(self, identity: bytes) -> Card | None:
        """The member with that Ed25519 key."""
        return self._index.get(("identity", identity))

    def by_noise(self, noise: bytes) -> Card | None:
        """The member with that session key."""
        return self._index.get(("noise", noise))

    def by_address(self, address: bytes) -> Card | None:
        """The member reached at that address."""
        return self._index.get(("address", address))

    def curve_keys(self) -> frozenset[bytes]:
        """Mailbox keys of the members: the relay's roster."""
        return frozenset(card.curve for card in self._members)

    def open_invites(self, now: int) -> tuple[InviteEntry, ...]:
        """Invites that have not expired."""
        return tuple(invite for invite in self.invites if invite.expires > now)


def sign_manifest(manifest: Manifest, federation_seed: bytes) -> bytes:
    """Check and sign a manifest; the bytes are what everyone stores and passes on."""
    if manifest.federation != fingerprint(signing_public(federation_seed)):
        raise error("MANIFEST", "manifest names another federation key than the one given")
    _check(manifest)
    signed = sign("manifest", msgspec.msgpack.encode(manifest), federation_seed)
    data = msgspec.msgpack.encode(signed)
    if len(data) > SIZE_LIMIT:
        raise error("MANIFEST", f"manifest of {len(data)} bytes is over the limit")
    return data


def read_manifest(data: bytes, *, federation: str, now: int) -> Manifest:
    """Read a manifest of the federation pinned by its fingerprint; MANIFEST otherwise."""
    manifest = _open(data, federation)
    if manifest.expires <= now:
        raise error(
            "MANIFEST",
            f"manifest version {manifest.version} has expired",
            hint="the convener signs a new one with 'podsql federation renew'",
        )
    if manifest.issued > now + SKEW_MS:
        raise error(
            "MANIFEST",
            f"manifest version {manifest.version} is from the future",
            hint="check this machine's clock",
        )
    return manifest


def _open(data: bytes, federation: str) -> Manifest:
    if len(data) > SIZE_LIMIT:
        raise error("MANIFEST", f"manifest of {len(data)} bytes is over the limit")
    try:
        key = fingerprint_key(federation)
        signed = msgspec.msgpack.decode(data, type=Signed)
        manifest = msgspec.msgpack.decode(verify(signed, "manifest", key), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("MANIFEST", "manifest does not decode") from None
    except Error as failure:
        raise error("MANIFEST", failure.message) from None
    if manifest.federation != fingerprint(key):
        raise error("MANIFEST", "manifest names another federation")
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """Refuse what no convener may sign: doubled keys or names, bad cards, bad times."""
    if not 1 <= manifest.version <= VERSION_LIMIT or manifest.expires <= manifest.issued:
        raise error("MANIFEST", "manifest has an impossible version or lifetime")
    try:
        cards, members = manifest.all_cards, manifest.members()
        for invite in manifest.invites:
            check_name(invite.name, invite.role)
    except Error as failure:
        raise error("MANIFEST", failure.message) from None
    for invite in manifest.invites:
        if len(invite.curve) != KEY_BYTES or len(invite.secret_hash) != HASH_BYTES:
            raise error("MANIFEST", f"invite of {invite.name!r} has a key of a wrong size")
    if any(len(key) != KEY_BYTES for key in manifest.revoked):
        raise error("MANIFEST", "a revoked key has a wrong size")
    # A name may pass from a revoked card to a new one; keys never may.
    names = [card.name for card in members]
    if len(set(names)) != len(names):
        raise error("MANIFEST", "two members of the manifest share a name")
    keys = [key for card in cards for key in (card.identity, card.noise, card.curve)]
    keys += [invite.curve for invite in manifest.invites]
    if len(set(keys)) != len(keys):
        raise error("MANIFEST", "two entries of the manifest share a key")


class ManifestStore:
    """The newest manifest this peer has seen; survives restarts, never goes back."""

    def __init__(self, path: Path, federation: str) -> None:
        self.current: Manifest | None = None
        self.raw: bytes | None = None
        self._path = path
        self._federation = federation
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            pass
        except OSError as failure:
            raise self._unkept(failure) from None
        else:
            # Its expiry is not judged here: an expired one still pins the version.
            self.current, self.raw = _open(data, federation), data

    def _unkept(self, failure: OSError) -> Error:
        return error("MANIFEST", f"manifest file {str(self._path)!r}: {failure.strerror}")

    def accept(self, data: bytes, now: int) -> bool:
        """Keep a newer one (True); the same changes nothing (False); MANIFEST otherwise."""
        if data == self.raw and self.fresh(now):
            return False
        manifest = read_manifest(data, federation=self._federation, now=now)
        if self.current is not None:
            if manifest == self.current:
                return False
            if manifest.version <= self.current.version:
                raise error(
                    "MANIFEST",
                    f"manifest version {manifest.version} offered, "
                    f"version {self.current.version} already seen",
                    hint="somebody serves an old or a second manifest of this federation",
                )
        try:
            replace_file(self._path, data, mode=0o600)
        except OSError as failure:
            # A version that is not on disk could be rolled back by a restart: it does not count.
            raise self._unkept(failure) from None
        self.current, self.raw = manifest, data
        return True

    def fresh(self, now: int) -> Manifest:
        """The current manifest; MANIFEST when there is none or it has expired meanwhile."""
        if self.current is None:
            raise error("MANIFEST", "no manifest of this federation was seen yet")
        if self.current.expires <= now:
            raise error("MANIFEST", f"manifest version {self.current.version} has expired")
        return self.current
