"""Cards: a peer's public identity, signed by itself; and which roles may open a session to which.

A card proves that one holder wrote down these keys together. It vouches for no name: that is the
manifest's work. Rule to keep: nothing of a card is used before its own signature and shape are
checked by ``read_card``.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from podsql.errors import error
from podsql.message import Signed
from podsql.relay.frames import address_of
from podsql.relay.keys import KEY_BYTES, PeerKeys, fingerprint
from podsql.relay.signing import sign, verify

ROLES: Final = ("analyst", "pod", "service", "convener", "modeller")
PREFIX: Final = "podsql-card:"
TEXT_LIMIT: Final = 2048
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_SESSIONS: Final = frozenset(
    {
        ("analyst", "pod"),
        ("analyst", "modeller"),
        ("modeller", "pod"),
        ("pod", "pod"),
        ("service", "pod"),
        ("analyst", "service"),
        ("modeller", "service"),
        ("pod", "service"),
        ("invitee", "convener"),
        # Members rotate their keys there.
        ("analyst", "convener"),
        ("modeller", "convener"),
        ("pod", "convener"),
        ("service", "convener"),
    }
)


class Card(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="card/1"):
    """Who a peer says it is. ``created`` is ms since the epoch."""

    name: str
    role: str
    identity: bytes
    noise: bytes
    curve: bytes
    created: int

    @property
    def address(self) -> bytes:
        """The 16 bytes this peer is reached by."""
        return address_of(self.curve)

    @property
    def fingerprint(self) -> str:
        """How people name the identity key."""
        return fingerprint(self.identity)


def make_card(keys: PeerKeys, *, name: str, role: str, now: int) -> Signed:
    """Write and sign the card of ``keys``."""
    card = Card(
        name=name,
        role=role,
        identity=keys.identity_public,
        noise=keys.noise_public,
        curve=keys.curve_public,
        created=now,
    )
    check_name(name, role)
    return sign("card", msgspec.msgpack.encode(card), keys.identity)


def read_card(document: Signed) -> Card:
    """Read a card that signs itself; SIGNATURE or BAD_MESSAGE otherwise."""
    body = verify(document, "card")
    try:
        card = msgspec.msgpack.decode(body, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "card does not decode") from None
    check_name(card.name, card.role)
    keys = (card.identity, card.noise, card.curve)
    if any(len(key) != KEY_BYTES for key in keys) or len(set(keys)) != len(keys):
        raise error("BAD_MESSAGE", f"card of {card.name!r} needs three different keys of 32 bytes")
    if card.identity != document.signer:
        raise error("SIGNATURE", f"card of {card.name!r} is signed by another key than its own")
    return card


def check_name(name: str, role: str) -> None:
    """Refuse a name or role that no card may carry."""
    if role not in ROLES:
        raise error("BAD_MESSAGE", "unknown role of a card", hint=f"one of {', '.join(ROLES)}")
    if not _NAME.fullmatch(name):
        raise error(
            "BAD_MESSAGE",
            "not a peer's name",
            hint="a lower-case letter, then up to 62 letters, digits, '_' or '-'",
        )


def card_text(document: Signed) -> str:
    """One line that a person can paste."""
    return PREFIX + urlsafe_b64encode(msgspec.msgpack.encode(document)).decode().rstrip("=")


def card_from_text(text: str) -> Signed:
    """Read a pasted card and check it; BAD_MESSAGE or SIGNATURE otherwise."""
    line = text.strip()
    if not line.startswith(PREFIX) or len(line) > TEXT_LIMIT:
        raise error("BAD_MESSAGE", "not a card", hint=f"a card is one line starting {PREFIX!r}")
    packed = line[len(PREFIX) :]
    try:
        document = msgspec.msgpack.decode(
            urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), type=Signed
        )
    except ValueError:
        raise error("BAD_MESSAGE", "card is damaged", hint="copy the whole line") from None
    read_card(document)
    return document


def may_open(initiator_role: str, responder_role: str) -> bool:
    """Whether a peer of one role may start a session with a peer of the other."""
    return (initiator_role, responder_role) in _SESSIONS
