"""A session between two peers: the handshake's two ends and the transport they leave.

Every sealed message carries its own counter, so lost and reordered ones do not end a session; a
window refuses replays. Rule to keep: authenticate first, move the window after, and never use a
counter twice.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from podsql.errors import error
from podsql.relay.frames import MAJOR
from podsql.relay.noise import NONCE_LIMIT, TAG_BYTES, HandshakeState, Split, nonce_of

COUNTER_BYTES: Final = 8
WINDOW: Final = 1024
MIN_VERSION: Final = 1
REKEY_SECONDS: Final = 600.0
STOP_SECONDS: Final = 3600.0
REKEY_MESSAGES: Final = 1 << 20
REKEY_BYTES: Final = 64 << 30
HANDSHAKE_LIMIT: Final = 4096
_MASK: Final = (1 << WINDOW) - 1


def prologue(initiator_address: bytes, responder_address: bytes) -> bytes:
    """What both ends must agree on before the first message: versions and who calls whom."""
    return b"podsql/1" + bytes((MAJOR, MIN_VERSION)) + initiator_address + responder_address


class ReplayWindow:
    """The last 1024 counters: each is taken at most once, older ones not at all."""

    def __init__(self) -> None:
        self._top = -1
        self._seen = 0

    def fresh(self, counter: int) -> bool:
        """Whether the counter has not been taken and is not too old."""
        behind = self._top - counter
        return behind < 0 or (behind < WINDOW and not self._seen >> behind & 1)

    def take(self, counter: int) -> None:
        """Mark a counter; only after its message has authenticated."""
        ahead = counter - self._top
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & _MASK if ahead < WINDOW else 1
            self._top = counter
        else:
            self._seen |= 1 << -ahead


class Session:
    """Transport after a handshake: a key per direction, explicit counters, a replay window."""

    def __init__(self, split: Split, *, initiator: bool) -> None:
        out, into = split.to_responder, split.to_initiator
        if not initiator:
            out, into = into, out
        self.handshake_hash = split.handshake_hash
        self.remote_static = split.remote_static
        self._out = ChaCha20Poly1305(out)
        self._in = ChaCha20Poly1305(into)
        self._next = 0
        self._window = ReplayWindow()
        self._messages = 0
        self._bytes = 0
        self._born: float | None = None

    def seal(self, plaintext: bytes, ad: bytes) -> bytes:
        """Counter and ciphertext of the next message."""
        counter = self._next
        nonce = nonce_of(counter)
        # Spent even if encryption fails: a counter is never tried twice.
        self._next += 1
        self._count(len(plaintext))
        return counter.to_bytes(COUNTER_BYTES, "big") + self._out.encrypt(nonce, plaintext, ad)

    def open(self, sealed: bytes, ad: bytes) -> bytes:
        """Plaintext of a message that is new and authentic; SESSION otherwise."""
        if len(sealed) < COUNTER_BYTES + TAG_BYTES:
            raise error("SESSION", "sealed message too short")
        counter = int.from_bytes(sealed[:COUNTER_BYTES], "big")
        if counter >= NONCE_LIMIT or not self._window.fresh(counter):
            raise error("SESSION", "sealed message was seen before or is too old")
        try:
            plaintext = self._in.decrypt(nonce_of(counter), sealed[COUNTER_BYTES:], ad)
        except InvalidTag:
            raise error("SESSION", "sealed message does not authenticate") from None
        self._window.take(counter)
        self._count(len(plaintext))
        return plaintext

    def exhausted(self, now: float) -> bool:
        """Whether the caller should shake hands again; the first call starts the clock."""
        if self._born is None:
            self._born = now
        return (
            now - self._born >= REKEY_SECONDS
            or self._messages >= REKEY_MESSAGES
            or self._bytes >= REKEY_BYTES
        )

    def expired(self, now: float) -> bool:
        """Whether the session must no longer be used at all."""
        if self._born is None:
            self._born = now
        return now - self._born >= STOP_SECONDS

    def _count(self, size: int) -> None:
        self._messages += 1
        self._bytes += size


class Initiator:
    """The side that opens a session: it knows the other's static key beforehand."""

    def __init__(
        self,
        *,
        prologue: bytes,
        static: bytes,
        remote_static: bytes,
        ephemeral: bytes | None = None,
        psk: bytes | None = None,
    ) -> None:
        self._state = HandshakeState(
            initiator=True,
            prologue=prologue,
            static=static,
            remote_static=remote_static,
            ephemeral=ephemeral if ephemeral is not None else os.urandom(32),
            psk=psk,
        )

    def start(self, payload: bytes = b"") -> bytes:
        """HS1. Its payload is neither replay-safe nor from an authenticated sender."""
        return self._state.write_message(payload)

    def finish(self, hs2: bytes, payload: bytes) -> tuple[bytes, bytes, Session]:
        """Take HS2: returns HS3, HS2's payload and the session."""
        _limit(hs2)
        answer = self._state.read_message(hs2)
        hs3 = self._state.write_message(payload)
        return hs3, answer, Session(self._state.split(), initiator=True)


class Responder:
    """The side that answers: it learns who called with HS3."""

    def __init__(
        self,
        *,
        prologue: bytes,
        static: bytes,
        ephemeral: bytes | None = None,
        psk: bytes | None = None,
    ) -> None:
        self._state = HandshakeState(
            initiator=False,
            prologue=prologue,
            static=static,
            ephemeral=ephemeral if ephemeral is not None else os.urandom(32),
            psk=psk,
        )

    def answer(self, hs1: bytes, payload: bytes) -> bytes:
        """Take HS1: returns HS2."""
        _limit(hs1)
        self._state.read_message(hs1)
        return self._state.write_message(payload)

    def finish(self, hs3: bytes) -> tuple[bytes, Session]:
        """Take HS3: returns its payload and the session; its ``remote_static`` is proven."""
        _limit(hs3)
        payload = self._state.read_message(hs3)
        return payload, Session(self._state.split(), initiator=False)


def _limit(message: bytes) -> None:
    if len(message) > HANDSHAKE_LIMIT:
        raise error("SESSION", "handshake message too long")
