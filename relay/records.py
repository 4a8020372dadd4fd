"""Inner records: what two peers say to each other inside a session.

A record is ``kind u8 · body length u32 · id u64 · body · zero padding`` and is sealed whole, so the
relay sees neither kind nor true length: plaintexts are padded to 256, 1 024, 4 096 bytes and then to
multiples of 4 096. In a SEND frame one byte before the sealed record (or the handshake message) says
which step of a session the frame is. Rule to keep: kinds are only ever added; a record that breaks
any rule is refused whole.
"""

import struct
from enum import IntEnum
from typing import Final

from podsql.errors import error
from podsql.relay.frames import BODY_LIMIT


class Step(IntEnum):
    """First byte of a SEND frame's body."""

    HS1 = 1
    HS2 = 2
    HS3 = 3
    DATA = 4
    UNKNOWN = 5
    """The sender knows no such session. Not authenticated: a hint to shake hands, nothing more."""


class Record(IntEnum):
    """What a sealed record is. ``id`` is a call's; 0 where it has no meaning."""

    CALL = 1
    REPLY = 2
    REFUSED = 3
    """The call cannot be answered; the body is an encoded ``messages.Failed``."""
    NOTE = 4
    """A call that wants no reply."""
    CREDIT = 5
    """Reader: chunks below ``until`` may be sent."""
    RESUME = 6
    """Reader: send again from chunk ``index`` on, below ``until``."""
    WAIT = 7
    """Sender: the stream stands, no further chunk is there yet."""
    BROKEN = 8
    """Sender: the stream will not go on; the body's tail is an encoded ``messages.Failed``."""


_HEAD: Final = struct.Struct(">BIQ")
_WINDOW: Final = struct.Struct(">16sII")
STREAM_BYTES: Final = 16
PLAIN_LIMIT: Final = BODY_LIMIT - 64
"""Largest padded record: the step byte, counter and tag still fit the frame."""
RECORD_LIMIT: Final = PLAIN_LIMIT - _HEAD.size
"""Largest body of a record."""
_PAGE: Final = 4096


def encode(kind: int, ident: int, body: bytes) -> bytes:
    """Padded bytes of a record; ARGUMENT when the body is over ``RECORD_LIMIT``."""
    size = _HEAD.size + len(body)
    if size <= 256:
        padded = 256
    elif size <= 1024:
        padded = 1024
    else:
        padded = -(-size // _PAGE) * _PAGE
        if padded > PLAIN_LIMIT:
            padded = PLAIN_LIMIT
            if size > padded:
                raise error(
                    "ARGUMENT",
                    f"a message of {len(body)} bytes is over the limit of {RECORD_LIMIT}",
                    hint="send it as a stream",
                )
    return b"".join((_HEAD.pack(kind, len(body), ident), body, bytes(padded - size)))


def decode(plain: bytes) -> tuple[int, int, bytes]:
    """Kind, id and body of a record; BAD_MESSAGE when it is cut short."""
    if len(plain) < _HEAD.size:
        raise error("BAD_MESSAGE", "record too short")
    kind, size, ident = _HEAD.unpack_from(plain)
    if size > len(plain) - _HEAD.size:
        raise error("BAD_MESSAGE", "record is cut short")
    return kind, ident, plain[_HEAD.size : _HEAD.size + size]


def window(stream: bytes, index: int, until: int) -> bytes:
    """Body of CREDIT, RESUME and WAIT."""
    return _WINDOW.pack(stream, index, until)


def read_window(body: bytes) -> tuple[bytes, int, int]:
    """Stream, index and ``until`` of such a body."""
    if len(body) != _WINDOW.size:
        raise error("BAD_MESSAGE", "stream record of a wrong size")
    stream, index, until = _WINDOW.unpack(body)
    return stream, index, until
