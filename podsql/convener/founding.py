"""Found a federation: its key, the convener's two peers, the relay's directory, manifest version 1.

Rule to keep: a directory is written whole or not at all (it is built beside its place and renamed),
and nothing secret of the federation goes into the relay's part of it.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podsql.convener.changes import MANIFEST_LIFE, check_name
from podsql.convener.desk import CONVENER, REGISTRAR, Desk, open_desk, peer_file
from podsql.convener.editing import write_invite
from podsql.convener.relay_files import RelayPlan, write_relay
from podsql.errors import error
from podsql.membership import RelaySection, check_endpoint, key_text, membership_text
from podsql.relay.cards import make_card
from podsql.relay.keys import (
    PeerKeys,
    fingerprint,
    generate_signing,
    replace_file,
    save_keys,
    save_seed,
    signing_public,
)
from podsql.relay.manifest import Manifest, sign_manifest

INVITES: Final = 1000
"""Most invites of one command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What was written: where, under which fingerprint, and the invites' lines by name."""

    desk: Desk
    name: str
    fingerprint: str
    endpoint: str
    invites: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayChoice:
    """Which relay: one whose directory is founded too (``plan``), or another's by its key."""

    endpoint: str
    key: bytes | None = None
    plan: RelayPlan | None = None
    ca: Path | None = None


def found(
    name: str,
    home: Path,
    choice: RelayChoice,
    *,
    now: int,
    invites: Sequence[tuple[str, str]] = (),
    passphrase: str | None = None,
) -> Founded:
    """Found federation ``name`` in ``home``; CONFIG if something is there already."""
    check_name(name)
    check_endpoint(choice.endpoint)
    if len({peer for peer, _ in invites}) != len(invites) or len(invites) > INVITES:
        raise error("ARGUMENT", "every invite of a federation needs its own name")
    for peer, _ in invites:
        if peer in (CONVENER, REGISTRAR):
            raise error("ARGUMENT", f"{peer!r} is the convener's own name", hint="invite another")
    if home.exists() and any(home.iterdir()):
        raise error("CONFIG", f"{str(home)!r} is not empty", hint="--dir OTHER founds it elsewhere")
    home.parent.mkdir(parents=True, exist_ok=True)
    building = home.with_name(f".{home.name}.founding-{os.getpid()}")
    building.mkdir(mode=0o700)
    try:
        lines = _write(
            name, Desk(home=building), choice, now=now, invites=invites, secret=passphrase
        )
        if home.exists():
            home.rmdir()
        building.rename(home)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    desk = open_desk(home)
    return Founded(
        desk=desk,
        name=name,
        fingerprint=desk.file().federation.fingerprint,
        endpoint=choice.endpoint,
        invites=lines,
    )


def _write(
    name: str,
    desk: Desk,
    choice: RelayChoice,
    *,
    now: int,
    invites: Sequence[tuple[str, str]],
    secret: str | None,
) -> tuple[tuple[str, str], ...]:
    seed = generate_signing()
    mark = fingerprint(signing_public(seed))
    save_seed(desk.federation_key, seed, secret)
    relay_key = choice.key
    if choice.plan is not None:
        relay_key = write_relay(desk.relay, choice.plan, federation=mark)
    if relay_key is None:
        raise error("ARGUMENT", "the relay's key is not known", hint="--relay-key KEY names it")
    if choice.ca is not None:
        shutil.copyfile(choice.ca, desk.home / "ca.pem")
    section = RelaySection(
        endpoint=choice.endpoint,
        key=key_text(relay_key),
        ca="ca.pem" if choice.ca is not None else None,
    )
    cards = []
    for peer, path in ((CONVENER, desk.membership), (REGISTRAR, desk.registrar)):
        keys = PeerKeys.generate()
        save_keys(desk.home / f"{peer}.json", keys, secret)
        file = peer_file(name, mark, section, peer=peer)
        replace_file(path, membership_text(file).encode(), mode=0o644)
        cards.append(make_card(keys, name=peer, role="convener", now=now))
    manifest = Manifest(
        federation=mark,
        version=1,
        issued=now,
        expires=now + MANIFEST_LIFE,
        cards=tuple(cards),
    )
    replace_file(desk.manifest, sign_manifest(manifest, seed), mode=0o600)
    return tuple(
        (peer, write_invite(desk, seed, name=peer, role=role, now=now, entropy=os.urandom)[0])
        for peer, role in invites
    )
