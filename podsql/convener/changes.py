"""Changes of a manifest's content, without I/O: each takes a manifest and returns the next.

Rule to keep: a name belongs to one living card. An invite stays in the manifest until it expires
(its holder must still be reachable when the answer is sent), so "used" is decided by the name.
"""

import hmac
import re
from collections.abc import Callable
from typing import Final

import msgspec

from podsql.errors import error
from podsql.message import Signed
from podsql.relay.cards import ROLES, Card, read_card
from podsql.relay.manifest import InviteEntry, Manifest

Change = Callable[[Manifest], Manifest]

DAY: Final = 24 * 3600 * 1000
MANIFEST_LIFE: Final = 30 * DAY
"""How long a manifest is valid, ms; the registrar renews it at half."""
INVITE_LIFE: Final = 7 * DAY
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def next_manifest(current: Manifest, change: Change, *, now: int, life: int) -> Manifest:
    """The changed manifest with the next version, fresh times, and expired invites left out."""
    changed = change(current)
    return msgspec.structs.replace(
        changed,
        version=current.version + 1,
        # A clock that was set back must not make a newer version look older.
        issued=max(now, current.issued),
        expires=max(now, current.issued) + life,
        invites=tuple(entry for entry in changed.invites if entry.expires > now),
    )


def extend(manifest: Manifest) -> Manifest:
    """Change nothing but version and times."""
    return manifest


def invite(entry: InviteEntry, *, replace: bool = False) -> Change:
    """Add an invite; a former invite of that name falls, a living card only with ``replace``."""
    check_name(entry.name)
    if entry.role not in ROLES:
        raise error("ARGUMENT", f"unknown role {entry.role!r}", hint=f"one of {', '.join(ROLES)}")

    def change(manifest: Manifest) -> Manifest:
        holder = manifest.by_name(entry.name)
        if holder is not None and not replace:
            raise error(
                "CONFLICT",
                f"{entry.name!r} is already a member",
                hint="--replace revokes that card and invites anew",
            )
        cleared = manifest if holder is None else revoke(entry.name)(manifest)
        others = tuple(known for known in cleared.invites if known.name != entry.name)
        return msgspec.structs.replace(cleared, invites=(*others, entry))

    return change


def revoke(who: str) -> Change:
    """Revoke the living card of a name or fingerprint, and any invite for that name."""

    def change(manifest: Manifest) -> Manifest:
        for card in manifest.members():
            if who in (card.name, card.fingerprint):
                return msgspec.structs.replace(
                    manifest,
                    revoked=(*manifest.revoked, card.identity),
                    invites=tuple(e for e in manifest.invites if e.name != card.name),
                )
        kept = tuple(entry for entry in manifest.invites if entry.name != who)
        if len(kept) == len(manifest.invites):
            raise error(
                "UNKNOWN_PEER", f"no member or invite {who!r}", hint="podsql federation show"
            )
        return msgspec.structs.replace(manifest, invites=kept)

    return change


def admit(document: Signed, secret_hash: bytes, *, curve: bytes, noise: bytes, now: int) -> Change:
    """Admit the card of the invitee that holds ``secret_hash`` and speaks with these keys.

    ``curve`` is the key of its connection (the invite's), ``noise`` the proven key of its session.
    """
    card = read_card(document)

    def change(manifest: Manifest) -> Manifest:
        entry = _invite_of(manifest, secret_hash, curve)
        holder = manifest.by_name(entry.name)
        if holder is not None:
            raise error(
                "INVITE", "this invite was used already", hint="ask the convener for another"
            )
        if entry.expires <= now:
            raise error("INVITE", "this invite has expired", hint="ask the convener for another")
        if (card.name, card.role) != (entry.name, entry.role):
            raise error("INVITE", "the card's name or role is not the invite's")
        if card.noise != noise:
            raise error("INVITE", "the card's key is not the key of this session")
        _check_keys_new(manifest, card)
        return msgspec.structs.replace(manifest, cards=(*manifest.cards, document))

    return change


def rotate(document: Signed, member: Card) -> Change:
    """Replace a member's card by one of the same identity, name and role with new keys."""
    card = read_card(document)

    def change(manifest: Manifest) -> Manifest:
        if (card.identity, card.name, card.role) != (member.identity, member.name, member.role):
            raise error("INVITE", "a rotated card keeps identity, name and role")
        if card.created < member.created:
            raise error("INVITE", "the rotated card is older than the one in force")
        kept = tuple(
            known for known in manifest.cards if read_card(known).identity != member.identity
        )
        if len(kept) == len(manifest.cards):
            raise error("REVOKED", f"{member.name!r} is no member")
        cleared = msgspec.structs.replace(manifest, cards=kept)
        _check_keys_new(cleared, card)
        return msgspec.structs.replace(cleared, cards=(*kept, document))

    return change


def check_name(name: str) -> None:
    """ARGUMENT unless ``name`` may name a peer or a federation."""
    if not _NAME.fullmatch(name):
        raise error(
            "ARGUMENT", f"{name!r} is no name", hint="lower-case letters, digits, - and _, up to 63"
        )


def _invite_of(manifest: Manifest, secret_hash: bytes, curve: bytes) -> InviteEntry:
    for entry in manifest.invites:
        if hmac.compare_digest(entry.secret_hash, secret_hash) and entry.curve == curve:
            return entry
    raise error("INVITE", "no such invite", hint="it may be revoked; ask the convener for another")


def _check_keys_new(manifest: Manifest, card: Card) -> None:
    """No key of the card may be known already, revoked cards included: addresses stay unique."""
    taken = set(manifest.revoked)
    for known in manifest.cards:
        other = read_card(known)
        taken |= {other.identity, other.noise, other.curve}
    taken |= {entry.curve for entry in manifest.invites}
    if {card.identity, card.noise, card.curve} & taken:
        raise error("INVITE", "a key of this card is in use already", hint="join with fresh keys")
