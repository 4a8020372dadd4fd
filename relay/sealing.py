"""Bulk chunks: age's STREAM construction under a fresh key a stream.

Nonce: the chunk's index as 11 bytes and a last byte that says whether it is the final one, so a
chunk cannot be moved, and a stream cannot be cut and called whole. Associated data: the stream's
id. Rule to keep: an index is sealed once; a resend sends the kept ciphertext, never seals again.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from podsql.errors import error

STREAM_BYTES: Final = 16
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
MAX_CHUNKS: Final = 1 << 24
CHUNK_LIMIT: Final = 1 << 20
"""Plain bytes a chunk."""


def new_stream() -> tuple[bytes, bytes]:
    """Make a stream's random id and key."""
    return os.urandom(STREAM_BYTES), os.urandom(KEY_BYTES)


class ChunkSealer:
    """Seals the chunks of one stream, each index once, in order."""

    def __init__(self, stream: bytes, key: bytes) -> None:
        self._stream, self._aead = _check(stream, key)
        self._next = 0
        self._ended = False

    def seal(self, index: int, data: bytes | memoryview, final: bool) -> bytes:
        """Ciphertext of chunk ``index``."""
        if index != self._next or self._ended:
            raise error("INTERNAL", "a stream's chunks are sealed once each, in order")
        if len(data) > CHUNK_LIMIT:
            raise error("INTERNAL", "chunk over the limit")
        nonce = _nonce(index, final)
        self._next, self._ended = index + 1, final
        return self._aead.encrypt(nonce, data, self._stream)


class ChunkOpener:
    """Opens the chunks of one stream; in any order, for whoever resumes."""

    def __init__(self, stream: bytes, key: bytes) -> None:
        self._stream, self._aead = _check(stream, key)

    def open(self, index: int, sealed: bytes | memoryview, final: bool) -> bytes:
        """Plain bytes of chunk ``index``; BAD_RESULT if it is not that chunk of that stream."""
        if not TAG_BYTES <= len(sealed) <= CHUNK_LIMIT + TAG_BYTES:
            raise error("BAD_RESULT", f"chunk {index} has an impossible size")
        try:
            return self._aead.decrypt(_nonce(index, final), sealed, self._stream)
        except InvalidTag:
            raise error("BAD_RESULT", f"chunk {index} does not authenticate") from None


def _check(stream: bytes, key: bytes) -> tuple[bytes, ChaCha20Poly1305]:
    if len(stream) != STREAM_BYTES or len(key) != KEY_BYTES:
        raise error("BAD_RESULT", "a stream has an id of 16 bytes and a key of 32")
    return stream, ChaCha20Poly1305(key)


def _nonce(index: int, final: bool) -> bytes:
    if not 0 <= index < MAX_CHUNKS:
        raise error("BAD_RESULT", "chunk index out of range")
    return index.to_bytes(11, "big") + (b"\x01" if final else b"\x00")
