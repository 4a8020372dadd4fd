"""The two frames between a peer and the relay: a fixed 64-byte header and an opaque body.

Header, big-endian (offset, size, field): 0 2 magic ``PS`` · 2 1 major · 3 1 minor · 4 1 kind ·
5 1 flags · 6 2 reserved (0) · 8 16 dst · 24 16 src (zero on the way in; the relay writes it) ·
40 16 flow · 56 4 seq · 60 4 ttl in ms (0: the relay's default).
Rule to keep: nothing here reads the body; what is end to end stays opaque to the relay.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from hashlib import blake2b
from typing import Final

from podsql.errors import error

MAGIC: Final = b"PS"
MAJOR: Final = 1
MINOR: Final = 0
HEADER_BYTES: Final = 64
CHUNK_BYTES: Final = 1 << 20
BODY_LIMIT: Final = CHUNK_BYTES + 4096
"""Largest body of a frame: one bulk chunk and its seal."""
NOBODY: Final = bytes(16)

_HEADER: Final = struct.Struct(">2sBBBBH16s16s16sII")


class Kind(IntEnum):
    """What a frame is, as far as the relay may know."""

    HELLO = 1
    WELCOME = 2
    PING = 3
    PONG = 4
    SEND = 5
    """Sealed control message of a session (handshakes too)."""
    STREAM = 6
    """Sealed bulk chunk."""
    NACK = 7
    WATCH = 8
    PRESENT = 9
    GONE = 10
    DRAIN = 11
    BYE = 12
    ACK = 13
    """Cumulative bytes a peer has taken off its connection (8-byte body): the hop's window."""
    FETCH = 14
    """Ask the relay for the newest signed manifest it holds."""
    MANIFEST = 15
    """The signed manifest, as bytes; verified by whoever reads it."""
    PUBLISH = 16
    """A convener hands the relay a newer signed manifest."""


class Flag(IntFlag):
    """Header flags; unknown bits below 0x80 are ignored."""

    BULK = 1
    URGENT = 2
    FINAL = 4


class Nack(IntEnum):
    """Why the relay did not pass a frame on (in ``seq`` of a NACK). Hints, never evidence."""

    OFFLINE = 1
    BUSY = 2
    RATE = 3
    TOO_BIG = 4
    VERSION = 5
    TTL = 6
    MALFORMED = 7
    REVOKED = 8
    DRAINING = 9
    REFUSED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The first frame. ``dst``, ``src`` and ``flow`` are 16 bytes; ``seq`` and ``ttl`` are u32."""

    kind: Kind
    dst: bytes = NOBODY
    src: bytes = NOBODY
    flow: bytes = NOBODY
    seq: int = 0
    ttl: int = 0
    flags: int = 0
    minor: int = MINOR

    def encode(self) -> bytes:
        """The 64 bytes on the wire."""
        return _HEADER.pack(
            MAGIC,
            MAJOR,
            self.minor,
            self.kind,
            self.flags,
            0,
            self.dst,
            self.src,
            self.flow,
            self.seq,
            self.ttl,
        )


def decode(frame: bytes) -> Header:
    """Read a header; BAD_FRAME names the first rule it breaks (code VERSION for another major)."""
    if len(frame) != HEADER_BYTES:
        raise error("BAD_FRAME", f"header of {len(frame)} bytes, not {HEADER_BYTES}")
    magic, major, minor, kind, flags, reserved, dst, src, flow, seq, ttl = _HEADER.unpack(frame)
    if magic != MAGIC or reserved != 0:
        raise error("BAD_FRAME", "not a podsql frame")
    if major != MAJOR:
        raise error("BAD_FRAME", f"protocol {major}, this side speaks {MAJOR}", hint="VERSION")
    try:
        known = Kind(kind)
    except ValueError:
        raise error("BAD_FRAME", f"unknown kind {kind}") from None
    if flags & 0x80:
        raise error("BAD_FRAME", "unknown mandatory flag")
    return Header(
        kind=known, dst=dst, src=src, flow=flow, seq=seq, ttl=ttl, flags=flags, minor=minor
    )


def bound(header: Header) -> bytes:
    """What a session's AEAD binds of a SEND frame: bytes 0-7, dst, src, flow, seq (src as the receiver believes it)."""
    return header.encode()[:60]


def address_of(curve_public: bytes) -> bytes:
    """A peer's 16-byte address: BLAKE2b-128 of its 32-byte CURVE key, personalised ``ps-addr``."""
    return blake2b(curve_public, digest_size=16, person=b"ps-addr").digest()
