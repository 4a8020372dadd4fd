"""What every control message is, and the one that carries a signed document."""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every control message."""


class Signed(Message, frozen=True, array_like=True, tag="signed/1"):
    """``signature`` is Ed25519 over ``podsql/<kind>/1 ‖ 0x00 ‖ body`` by ``signer`` (32 bytes)."""

    kind: str
    body: bytes
    signer: bytes
    signature: bytes
