"""What every control message is, and the one that carries a signed document."""

import threading
from typing import Final

import msgspec

_SETTLING: Final = threading.Lock()


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every control message."""


class Signed(Message, frozen=True, array_like=True, tag="signed/1"):
    """``signature`` is Ed25519 over ``podsql/<kind>/1 ‖ 0x00 ‖ body`` by ``signer`` (32 bytes)."""

    kind: str
    body: bytes
    signer: bytes
    signature: bytes


def settle() -> None:
    """Work out every class that is loaded: msgspec does so at a class's first use otherwise, and
    crashes if two threads do it at once. Call it before a second thread reads messages."""
    with _SETTLING:
        _settle(msgspec.Struct)


def _settle(kind: type[msgspec.Struct]) -> None:
    for own in kind.__subclasses__():
        msgspec.msgpack.Decoder(own)
        _settle(own)
