"""A member replaces its session and mailbox keys, keeping its identity.

The convener's relay drops the old mailbox key the moment the new card is published, so the answer
may be lost. Rule to keep: new keys are on disk (``keys.next.json``) before they are presented, and
become ``keys.json`` only once a manifest names them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from podsql.convener.joining import check_member, read_reply, registrar_card
from podsql.errors import Error
from podsql.membership import Membership
from podsql.messages import JoinRequest, encode
from podsql.relay.cards import make_card
from podsql.relay.keys import PeerKeys, load_keys, save_keys
from podsql.relay.sockets.endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The member's keys after a rotation."""

    name: str
    fingerprint: str
    version: int


def rotate_keys(
    membership: Membership, *, now: int, passphrase: str | None = None, timeout: float = 20.0
) -> Rotated:
    """Make new session and mailbox keys and have the registrar put them into the manifest."""
    current = membership.path.resolve().parent / membership.file.me.keys
    following = current.with_name("keys.next.json")
    keys = _next_keys(following, membership.keys, passphrase)
    try:
        _present(membership, keys, now=now, timeout=timeout)
    except Error as fault:
        # Either nothing happened, or the answer was lost with the old connection: ask as the new.
        if not _stands(membership, keys, timeout=timeout):
            raise fault from None
    os.replace(following, current)
    manifest = membership.store.current
    return Rotated(
        name=membership.name,
        fingerprint=keys.fingerprint,
        version=manifest.version if manifest else 0,
    )


def _next_keys(path: Path, old: PeerKeys, passphrase: str | None) -> PeerKeys:
    if path.exists():  # an interrupted rotation
        kept = load_keys(path, passphrase)
        if kept.identity == old.identity:
            return kept
    fresh = PeerKeys.generate()
    keys = PeerKeys(identity=old.identity, noise=fresh.noise, curve=fresh.curve)
    save_keys(path, keys, passphrase)
    return keys


def _present(membership: Membership, keys: PeerKeys, *, now: int, timeout: float) -> None:
    card = make_card(keys, name=membership.name, role=membership.role, now=now)
    endpoint = _endpoint(membership, membership.keys)
    try:
        endpoint.start(timeout=timeout)
        to = registrar_card(membership.store.current)
        body = encode(JoinRequest(card=card, secret_hash=b""))
        answer = read_reply(endpoint.call_wait(to, body, timeout=timeout))
    finally:
        endpoint.close()
    membership.store.accept(answer.manifest, now)
    check_member(membership.store.current, keys, membership.name)


def _stands(membership: Membership, keys: PeerKeys, *, timeout: float) -> bool:
    endpoint = _endpoint(membership, keys)
    try:
        endpoint.start(timeout=timeout)
        check_member(membership.store.current, keys, membership.name)
    except Error:
        return False
    finally:
        endpoint.close()
    return True


def _endpoint(membership: Membership, keys: PeerKeys) -> Endpoint:
    return Endpoint(
        keys=keys,
        relay=membership.relay,
        store=membership.store,
        egress=membership.egress,
        name=membership.name,
    )
