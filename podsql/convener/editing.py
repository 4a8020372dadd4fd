"""Edits of a federation's manifest on disk, one at a time, each a new signed version.

Rule to keep: read, change, sign and replace happen under one lock on the directory, so the
registrar and the convener's commands never sign two different manifests of one version.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.bindings import crypto_scalarmult_base

from podsql.convener.changes import INVITE_LIFE, MANIFEST_LIFE, Change, invite, next_manifest
from podsql.convener.desk import Desk
from podsql.errors import error
from podsql.membership import relay_address
from podsql.relay.invite import Invite, invite_curve, invite_text, secret_hash
from podsql.relay.keys import KEY_BYTES, fingerprint, load_seed, replace_file, signing_public
from podsql.relay.manifest import InviteEntry, Manifest, ManifestStore, sign_manifest

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One signed manifest and its bytes."""

    manifest: Manifest
    raw: bytes


def load_federation_key(desk: Desk, passphrase: str | None = None) -> bytes:
    """The federation key; KEY_FILE if it is not the one the federation is known by."""
    seed = load_seed(desk.federation_key, passphrase)
    if fingerprint(signing_public(seed)) != desk.file().federation.fingerprint:
        raise error("KEY_FILE", "federation.key is not the key of federation.toml")
    return seed


def current_edition(desk: Desk) -> Edition:
    """The newest manifest this directory knows, expired or not."""
    federation = desk.file().federation.fingerprint
    found = [ManifestStore(path, federation) for path in _editions(desk)]
    best = max(
        (store for store in found if store.current is not None),
        key=lambda store: store.current.version if store.current else 0,
        default=None,
    )
    if best is None or best.current is None or best.raw is None:
        raise error("MANIFEST", "this directory holds no manifest", hint="restore manifest.bin")
    return Edition(manifest=best.current, raw=best.raw)


def _editions(desk: Desk) -> Iterator[Path]:
    """The truth first; what the relay has shown counts after a restore from an old backup."""
    yield desk.manifest
    yield from sorted(desk.home.glob("*-seen.bin"))


def edit(
    desk: Desk, seed: bytes, change: Change, *, now: int, life: int = MANIFEST_LIFE
) -> Edition:
    """Sign the changed manifest as the next version and put it in place."""
    with _locked(desk.lock):
        return _write(desk, seed, current_edition(desk).manifest, change, now, life)


def edit_if(
    desk: Desk, seed: bytes, due: Callable[[Manifest], bool], change: Change, *, now: int
) -> Edition:
    """As ``edit``, if ``due`` of the manifest read under the lock; the current one otherwise."""
    with _locked(desk.lock):
        current = current_edition(desk)
        if not due(current.manifest):
            return current
        return _write(desk, seed, current.manifest, change, now, MANIFEST_LIFE)


def _write(
    desk: Desk, seed: bytes, current: Manifest, change: Change, now: int, life: int
) -> Edition:
    manifest = next_manifest(current, change, now=now, life=life)
    raw = sign_manifest(manifest, seed)
    replace_file(desk.manifest, raw, mode=0o600)
    return Edition(manifest=manifest, raw=raw)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_invite(
    desk: Desk,
    seed: bytes,
    *,
    name: str,
    role: str,
    now: int,
    entropy: Entropy,
    life: int = INVITE_LIFE,
    replace: bool = False,
) -> tuple[str, Edition]:
    """Make an invite: its one line of text, and the manifest that lets its holder knock."""
    secret = entropy(KEY_BYTES)
    entry = InviteEntry(
        curve=crypto_scalarmult_base(invite_curve(secret)),
        secret_hash=secret_hash(secret),
        name=name,
        role=role,
        expires=now + life,
    )
    edition = edit(desk, seed, invite(entry, replace=replace), now=now)
    file = desk.file()
    line = invite_text(
        Invite(
            relay=relay_address(file.relay),
            federation=file.federation.fingerprint,
            secret=secret,
            name=name,
            role=role,
            expires=entry.expires,
        )
    )
    return line, edition
