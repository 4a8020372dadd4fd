"""Frames between the pod's parent and an engine process, over a stream socket pair.

``u32 length ‖ u8 kind ‖ payload``. A long payload to the engine travels as an anonymous memory file whose
descriptor rides on the frame, so the parent never blocks on a full socket. Rule to keep: the
parent treats what an engine process says as bytes from a stranger.
"""

import mmap
import os
import socket
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final

import msgspec

from podsql.engine.job import Dataset
from podsql.engine.limits import PIECE_BYTES, Limits
from podsql.errors import error

HEADER: Final = Struct("<IB")
INLINE_BYTES: Final = 32 * 1024
FRAME_BYTES: Final = PIECE_BYTES + 4096
NUMBER: Final = Struct("<Q")


class Kind(IntEnum):
    """Kinds of frames; the first three go to the engine."""

    CONFIGURE = 1
    RUN = 2
    ATTACHED = 0x80
    """Flag: the payload is in the descriptor that came along."""
    READY = 16
    STARTED = 17
    CHUNK = 18
    FINISHED = 19
    FAILED = 20


class Configure(msgspec.Struct, frozen=True, array_like=True):
    """The first frame: what the process serves for the rest of its life."""

    database: str
    """Empty: only try the sandbox and say what holds."""
    datasets: tuple[Dataset, ...]
    limits: Limits
    torch: bool = False
    """It takes the local steps of networks, so it loads torch before it restricts itself."""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One statement."""

    number: int
    sql: str
    inputs: tuple[tuple[str, bytes], ...]
    guard: bool
    max_rows: int
    max_bytes: int
    work: bytes = b""
    """As in ``Job``."""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """End of a statement; ``resident_mb`` lets the parent bound what idle engines hold."""

    rows: int
    withheld: int
    resident_mb: int


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A statement failed; a code and no text."""

    code: str


def frame(kind: int, payload: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(len(payload), kind) + payload


def send_to_engine(pipe: socket.socket, kind: Kind, payload: bytes) -> None:
    """Send a frame without ever filling the socket: long payloads go as a memory file."""
    if len(payload) <= INLINE_BYTES:
        pipe.sendall(frame(kind, payload))
        return
    fd = os.memfd_create("podsql", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(payload)
        socket.send_fds(pipe, [frame(kind | Kind.ATTACHED, b"")], [fd])
    finally:
        os.close(fd)


def receive_in_engine(pipe: socket.socket) -> tuple[Kind, bytes] | None:
    """The next frame to the engine, None at the end of the pipe (blocking)."""
    head, fds, _, _ = socket.recv_fds(pipe, HEADER.size, 1)
    if not head:
        return None
    head += _exactly(pipe, HEADER.size - len(head))
    length, kind = HEADER.unpack(head)
    if kind & Kind.ATTACHED:
        with mmap.mmap(fds[0], 0, access=mmap.ACCESS_READ) as view:
            payload = view[:]
        os.close(fds[0])
        return Kind(kind & ~Kind.ATTACHED), payload
    return Kind(kind), _exactly(pipe, length)


def _exactly(pipe: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = pipe.recv(length)
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class FrameBuffer:
    """Cuts what arrives from an engine into frames; refuses sizes an engine of ours never sends."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Add ``data``; yield complete frames."""
        self._bytes += data
        at = 0
        try:
            with memoryview(self._bytes) as view:
                while len(view) - at >= HEADER.size:
                    length, kind = HEADER.unpack_from(view, at)
                    if length > FRAME_BYTES:
                        raise error("POD_FAILED", "an engine process broke the protocol")
                    end = at + HEADER.size + length
                    if len(view) < end:
                        break
                    payload = bytes(view[at + HEADER.size : end])
                    at = end
                    yield kind, payload
        finally:
            del self._bytes[:at]
