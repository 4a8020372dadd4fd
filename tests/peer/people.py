"""A small federation for the tests: keys, cards, a signed manifest."""

import time
from dataclasses import dataclass
from pathlib import Path

from podsql.relay.cards import Card, make_card, read_card
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import InviteEntry, Manifest, ManifestStore, sign_manifest

DAY_MS = 86_400_000


@dataclass
class Federation:
    """Everybody's secrets, as only a test may hold them."""

    seed: bytes
    keys: dict[str, PeerKeys]
    cards: dict[str, Card]
    manifest: Manifest
    data: bytes

    @property
    def fingerprint(self) -> str:
        return fingerprint(signing_public(self.seed))

    def store(self, folder: Path, name: str) -> ManifestStore:
        return ManifestStore(folder / f"{name}.manifest", self.fingerprint)

    def next(self, **changes: object) -> bytes:
        """The next version of the manifest, signed."""
        fields = {name: getattr(self.manifest, name) for name in self.manifest.__struct_fields__}
        fields |= {"version": self.manifest.version + 1} | changes
        self.manifest = Manifest(**fields)
        self.data = sign_manifest(self.manifest, self.seed)
        return self.data


def federation(
    roles: dict[str, str], *, invites: tuple[InviteEntry, ...] = (), lifetime_ms: int = DAY_MS
) -> Federation:
    """A federation whose members are ``name -> role``."""
    seed = generate_signing()
    now = time.time_ns() // 1_000_000
    keys = {name: PeerKeys.generate() for name in roles}
    signed = {
        name: make_card(keys[name], name=name, role=role, now=now) for name, role in roles.items()
    }
    manifest = Manifest(
        federation=fingerprint(signing_public(seed)),
        version=1,
        issued=now,
        expires=now + lifetime_ms,
        cards=tuple(signed.values()),
        invites=invites,
    )
    return Federation(
        seed=seed,
        keys=keys,
        cards={name: read_card(document) for name, document in signed.items()},
        manifest=manifest,
        data=sign_manifest(manifest, seed),
    )
