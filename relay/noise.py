"""The handshake: Noise_XK(psk3)_25519_ChaChaPoly_BLAKE2b, revision 34 of the specification.

Names follow the specification (sections 5 and 9) so that the two can be read side by side. Rule to
keep: nothing is invented here; the published vectors and another library must agree byte for byte.
"""

import hmac
from hashlib import blake2b
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from podsql.errors import error

DH_BYTES: Final = 32
HASH_BYTES: Final = 64
TAG_BYTES: Final = 16
MESSAGE_LIMIT: Final = 65_535
NONCE_LIMIT: Final = (1 << 64) - 1
_MESSAGES: Final = (("e", "es"), ("e", "ee"), ("s", "se"))


class Split(NamedTuple):
    """What a finished handshake leaves: a key per direction, the hash, the other's static key."""

    to_responder: bytes
    to_initiator: bytes
    handshake_hash: bytes
    remote_static: bytes


def nonce_of(counter: int) -> bytes:
    """ChaChaPoly's nonce: 32 zero bits and the counter, little-endian (section 12.3)."""
    if not 0 <= counter < NONCE_LIMIT:
        raise error("SESSION", "the counter of a key is used up")
    return bytes(4) + counter.to_bytes(8, "little")


class SymmetricState:
    """Chaining key, handshake hash and the cipher of the moment (section 5.2)."""

    def __init__(self, protocol: bytes) -> None:
        padded = protocol.ljust(HASH_BYTES, b"\0")
        self.h = padded if len(padded) == HASH_BYTES else blake2b(protocol).digest()
        self._ck = self.h
        self._cipher: ChaCha20Poly1305 | None = None
        self._n = 0

    def mix_key(self, material: bytes) -> None:
        self._ck, key = _hkdf(self._ck, material, 2)
        self._set(key)

    def mix_hash(self, data: bytes) -> None:
        self.h = blake2b(self.h + data).digest()

    def mix_key_and_hash(self, material: bytes) -> None:
        self._ck, mixed, key = _hkdf(self._ck, material, 3)
        self.mix_hash(mixed)
        self._set(key)

    def _set(self, key: bytes) -> None:
        # HASHLEN is 64: a cipher key is the first 32 bytes.
        self._cipher, self._n = ChaCha20Poly1305(key[:32]), 0

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = plaintext
        if self._cipher is not None:
            sealed = self._cipher.encrypt(nonce_of(self._n), plaintext, self.h)
            self._n += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        plaintext = sealed
        if self._cipher is not None:
            plaintext = self._cipher.decrypt(nonce_of(self._n), sealed, self.h)
            self._n += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        first, second = _hkdf(self._ck, b"", 2)
        return first[:32], second[:32]


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    secret = hmac.digest(chaining_key, material, "blake2b")
    made: list[bytes] = []
    last = b""
    for number in range(1, outputs + 1):
        last = hmac.digest(secret, last + bytes((number,)), "blake2b")
        made.append(last)
    return made


class HandshakeState:
    """One side of one handshake: three messages, alternating, initiator first.

    Any failure ends it: every later call raises SESSION, so a half-mixed state is never used.
    ``remote_static`` is given by the initiator and learnt by the responder in message 3.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes,
        remote_static: bytes | None = None,
        psk: bytes | None = None,
        ephemeral: bytes | None = None,
    ) -> None:
        if initiator != (remote_static is not None):
            raise error("ARGUMENT", "in XK the initiator, and only it, knows the other's key")
        if psk is not None and len(psk) != 32:
            raise error("ARGUMENT", "a pre-shared key has 32 bytes")
        self._initiator = initiator
        self._s = static
        self._rs = remote_static
        self._e = ephemeral
        self._re: bytes | None = None
        self._psk = psk
        self._step = 0
        self._broken = False
        name = b"Noise_XK" + (b"psk3" if psk is not None else b"")
        self._symmetric = SymmetricState(name + b"_25519_ChaChaPoly_BLAKE2b")
        self._symmetric.mix_hash(prologue)
        self._symmetric.mix_hash(
            remote_static if remote_static is not None else crypto_scalarmult_base(static)
        )

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message, when it is this side's turn."""
        tokens = self._turn(writing=True)
        message = b""
        for token in tokens:
            if token == "e":
                if self._e is None:
                    raise error("ARGUMENT", "this side has no ephemeral key")
                public = crypto_scalarmult_base(self._e)
                message += public
                self._mix_ephemeral(public)
            elif token == "s":
                message += self._symmetric.encrypt_and_hash(crypto_scalarmult_base(self._s))
            else:
                self._mix(token)
        message += self._symmetric.encrypt_and_hash(payload)
        if len(message) > MESSAGE_LIMIT:
            raise error("SESSION", "handshake message too long")
        self._done()
        return message

    def read_message(self, message: bytes) -> bytes:
        """Take the other side's next message and return its payload; SESSION if it is not so."""
        tokens = self._turn(writing=False)
        if len(message) > MESSAGE_LIMIT:
            raise error("SESSION", "handshake message too long")
        rest = message
        try:
            for token in tokens:
                if token == "e":
                    public, rest = _cut(rest, DH_BYTES)
                    self._re = public
                    self._mix_ephemeral(public)
                elif token == "s":
                    sealed, rest = _cut(rest, DH_BYTES + TAG_BYTES)
                    self._rs = self._symmetric.decrypt_and_hash(sealed)
                else:
                    self._mix(token)
            payload = self._symmetric.decrypt_and_hash(rest)
        except InvalidTag:
            raise error("SESSION", "handshake message does not authenticate") from None
        self._done()
        return payload

    def split(self) -> Split:
        """The keys of the transport, once message 3 is through."""
        if self._broken or self._step != len(_MESSAGES) or self._rs is None:
            raise error("SESSION", "handshake is not finished")
        to_responder, to_initiator = self._symmetric.split()
        return Split(to_responder, to_initiator, self._symmetric.h, self._rs)

    def _turn(self, *, writing: bool) -> tuple[str, ...]:
        if self._broken or self._step == len(_MESSAGES):
            raise error("SESSION", "handshake is over")
        if writing != (self._initiator == (self._step % 2 == 0)):
            raise error("SESSION", "handshake message out of turn")
        # Cleared by _done: an exception in between leaves the state unusable.
        self._broken = True
        tokens = _MESSAGES[self._step]
        return (*tokens, "psk") if self._psk is not None and self._step == 2 else tokens

    def _done(self) -> None:
        self._step += 1
        self._broken = False

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._psk is not None:
            # Section 9.2: with a psk, every ephemeral is mixed into the key as well.
            self._symmetric.mix_key(public)

    def _mix(self, token: str) -> None:
        if token == "psk":
            assert self._psk is not None
            self._symmetric.mix_key_and_hash(self._psk)
            return
        ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        secret = self._e if ours == "e" else self._s
        public = self._re if theirs == "e" else self._rs
        if secret is None or public is None:
            raise error("SESSION", "handshake lacks a key")
        try:
            shared = crypto_scalarmult(secret, public)
        except (CryptoError, RuntimeError):
            # libsodium refuses points of low order: they would fix the secret for everyone.
            raise error("SESSION", "the other side's key is of low order") from None
        self._symmetric.mix_key(shared)


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise error("SESSION", "handshake message too short")
    return message[:size], message[size:]
