"""HELLO and WELCOME: how a peer and the relay greet each other after the CURVE handshake.

Rule to keep: nothing here is evidence of who anyone is; that is the CURVE key's work.
"""

import msgspec

from podsql.errors import error


class Hello(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="hello/1"
):
    """A peer's first frame on a connection. ``received``: bytes taken off it so far (0)."""

    version: int
    role_hint: str
    received: int


class Welcome(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="welcome/1"
):
    """The relay's answer: the address it knows the peer by, the manifest version it holds."""

    address: bytes
    manifest_version: int


def encode(message: Hello | Welcome) -> bytes:
    """Bytes of a greeting."""
    return msgspec.msgpack.encode(message)


def read_hello(body: bytes) -> Hello:
    """Read a HELLO; BAD_MESSAGE otherwise."""
    try:
        return msgspec.msgpack.decode(body, type=Hello)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "hello does not decode") from None


def read_welcome(body: bytes) -> Welcome:
    """Read a WELCOME; BAD_MESSAGE otherwise."""
    try:
        return msgspec.msgpack.decode(body, type=Welcome)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("BAD_MESSAGE", "welcome does not decode") from None
