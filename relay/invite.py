"""Invites: one line that lets somebody knock at a federation's relay once.

It carries where the relay is, its key, which federation key to believe, and a one-time secret from
which the invitee's mailbox key is derived. Rule to keep: the secret never goes over the wire; the
manifest holds its hash and its public key only.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit

import msgspec

from podsql.errors import Error, error
from podsql.relay.cards import check_name
from podsql.relay.keys import KEY_BYTES, fingerprint_key

PREFIX: Final = "podsql-invite:"
TEXT_LIMIT: Final = 2048
_CHECK_BYTES: Final = 4


class RelayAddress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a relay listens (``tcp://host:port`` or ``tls://host:443``) and its CURVE key."""

    endpoint: str
    curve: bytes


class Invite(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="invite/1"
):
    """What an invitee needs to join. ``federation`` is a fingerprint; ``expires`` is ms."""

    relay: RelayAddress
    federation: str
    secret: bytes
    name: str
    role: str
    expires: int

    def __repr__(self) -> str:
        # The secret is a credential; a repr reaches logs.
        return f"Invite(name={self.name!r}, role={self.role!r}, relay={self.relay.endpoint!r})"


def invite_text(invite: Invite) -> str:
    """One line to hand over on a channel that only the invitee reads."""
    _check(invite)
    packed = msgspec.msgpack.encode(invite)
    return PREFIX + urlsafe_b64encode(packed + _sum(packed)).decode().rstrip("=")


def invite_from_text(text: str) -> Invite:
    """Read an invite; INVITE when it is damaged or says what no invite may."""
    line = text.strip()
    if not line.startswith(PREFIX) or len(line) > TEXT_LIMIT:
        raise error("INVITE", "not an invite", hint=f"an invite is one line starting {PREFIX!r}")
    coded = line[len(PREFIX) :]
    try:
        raw = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        packed, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if check != _sum(packed):
            raise error("INVITE", "invite is damaged", hint="copy the whole line")
        invite = msgspec.msgpack.decode(packed, type=Invite)
    except ValueError:
        raise error("INVITE", "invite is damaged", hint="copy the whole line") from None
    _check(invite)
    return invite


def _check(invite: Invite) -> None:
    try:
        check_name(invite.name, invite.role)
        fingerprint_key(invite.federation)
    except Error as failure:
        raise error("INVITE", failure.message) from None
    if len(invite.secret) != KEY_BYTES or len(invite.relay.curve) != KEY_BYTES:
        raise error("INVITE", "invite has a key of a wrong size")
    check_endpoint(invite.relay.endpoint)


def check_endpoint(endpoint: str) -> None:
    """Refuse an address that is not ``tcp://host:port`` or ``tls://host:port``."""
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
        rest = parts.path or parts.query or parts.fragment or parts.username
    except ValueError:
        fine, rest = False, ""
    if not fine or rest or not endpoint.isascii() or not endpoint.isprintable():
        raise error("INVITE", "not a relay's address", hint="'tcp://host:port' or 'tls://host:443'")


def invite_curve(secret: bytes) -> bytes:
    """X25519 secret of the invitee's mailbox, derived from the one-time secret."""
    return blake2b(secret, digest_size=KEY_BYTES, person=b"ps-invite-curve").digest()


def secret_hash(secret: bytes) -> bytes:
    """What the manifest holds instead of the secret."""
    return blake2b(secret, digest_size=32, person=b"ps-invite-hash").digest()


def _sum(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=_CHECK_BYTES, person=b"ps-invite-sum").digest()
