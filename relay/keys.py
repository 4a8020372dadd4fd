"""Secret keys: what a peer holds, how they rest on disk, how public halves are written.

Three secrets a peer, one purpose each (sign, session, mailbox); no key is ever derived from
another's. Rule to keep: a key file that anyone else could have read or written is refused, never
repaired.
"""

import os
import stat
import sys
from base64 import b32decode, b32encode, b64decode, b64encode
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from nacl import pwhash
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_scalarmult_base,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from podsql.errors import Error, error
from podsql.relay.frames import address_of

KEY_BYTES: Final = 32
FILE_LIMIT: Final = 4096
# A pipe in the file's place must not hang the start.
_NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_SALT_BYTES: Final = pwhash.argon2id.SALTBYTES
_NONCE_BYTES: Final = 24
_Z85: Final = (
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PeerKeys:
    """A peer's three secrets: Ed25519 seed, X25519 for sessions, X25519 for its mailbox."""

    identity: bytes
    noise: bytes
    curve: bytes

    def __post_init__(self) -> None:
        secrets = (self.identity, self.noise, self.curve)
        if any(len(secret) != KEY_BYTES for secret in secrets) or len(set(secrets)) != 3:
            raise error("KEY_FILE", "a peer has three different keys of 32 bytes")

    def __repr__(self) -> str:
        # Secrets reach logs through reprs of whatever holds them.
        return f"PeerKeys({self.fingerprint})"

    @classmethod
    def generate(cls) -> "PeerKeys":
        """Three fresh secrets."""
        return cls(identity=os.urandom(32), noise=os.urandom(32), curve=os.urandom(32))

    @property
    def identity_public(self) -> bytes:
        """Ed25519 public key."""
        return signing_public(self.identity)

    @property
    def noise_public(self) -> bytes:
        """X25519 public key of sessions."""
        return crypto_scalarmult_base(self.noise)

    @property
    def curve_public(self) -> bytes:
        """X25519 public key of the mailbox."""
        return crypto_scalarmult_base(self.curve)

    @property
    def address(self) -> bytes:
        """The 16 bytes this peer is reached by."""
        return address_of(self.curve_public)

    @property
    def fingerprint(self) -> str:
        """How people name the identity key."""
        return fingerprint(self.identity_public)


def generate_signing() -> bytes:
    """Make a fresh Ed25519 seed (federation key, custodian key)."""
    return os.urandom(KEY_BYTES)


def signing_public(seed: bytes) -> bytes:
    """Ed25519 public key of a seed."""
    return crypto_sign_seed_keypair(seed)[0]


# -- text forms of public keys -----------------------------------------------------------------


def fingerprint(public: bytes) -> str:
    """``ps1`` and the base32 of the whole key and 3 bytes of checksum: 59 characters."""
    if len(public) != KEY_BYTES:
        raise error("ARGUMENT", f"a public key has 32 bytes, not {len(public)}")
    return "ps1" + b32encode(public + _check(public)).decode().lower()


def parse_fingerprint(text: str) -> str:
    """Return the fingerprint in its one spelling; ARGUMENT when mistyped."""
    return fingerprint(fingerprint_key(text))


def fingerprint_key(text: str) -> bytes:
    """Return the public key a fingerprint stands for; ARGUMENT when mistyped."""
    spelling = text.strip().lower()
    try:
        raw = b32decode(spelling[3:].upper())
    except ValueError:
        raw = b""
    public = raw[:KEY_BYTES]
    if not spelling.startswith("ps1") or len(raw) != 35 or raw[KEY_BYTES:] != _check(public):
        raise error(
            "ARGUMENT", "not a key fingerprint", hint="copy the whole text that starts with 'ps1'"
        )
    return public


def _check(public: bytes) -> bytes:
    return blake2b(public, digest_size=3, person=b"ps-fingerprint").digest()


def z85(raw: bytes) -> bytes:
    """ZeroMQ's base 85 (RFC 32/Z85) of a 32-byte key: 40 characters."""
    if len(raw) % 4:
        raise error("ARGUMENT", "z85 wants a multiple of 4 bytes")
    text = bytearray()
    for start in range(0, len(raw), 4):
        value = int.from_bytes(raw[start : start + 4], "big")
        text += bytes(_Z85[value // 85**power % 85] for power in (4, 3, 2, 1, 0))
    return bytes(text)


# -- key files ---------------------------------------------------------------------------------


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: ``secret`` is base64 of the plain secrets, or of the sealed ones with a salt."""

    podsql: str
    secret: str
    salt: str = ""


def save_keys(path: Path, keys: PeerKeys, passphrase: str | None = None) -> None:
    """Write a peer's secrets, for the owner's eyes only; sealed when there is a passphrase."""
    _save(path, "peer keys", keys.identity + keys.noise + keys.curve, passphrase)


def load_keys(path: Path, passphrase: str | None = None) -> PeerKeys:
    """Read a peer's secrets; KEY_FILE if others could read them or the passphrase is wrong."""
    raw = _load(path, "peer keys", 3 * KEY_BYTES, passphrase)
    return PeerKeys(identity=raw[:32], noise=raw[32:64], curve=raw[64:])


def save_seed(path: Path, seed: bytes, passphrase: str | None = None) -> None:
    """Write one Ed25519 seed (federation key, custodian key)."""
    if len(seed) != KEY_BYTES:
        raise error("KEY_FILE", "a signing seed has 32 bytes")
    _save(path, "signing seed", seed, passphrase)


def load_seed(path: Path, passphrase: str | None = None) -> bytes:
    """Read one Ed25519 seed, as ``load_keys`` does."""
    return _load(path, "signing seed", KEY_BYTES, passphrase)


def _save(path: Path, kind: str, secret: bytes, passphrase: str | None) -> None:
    salt = b""
    if passphrase is not None:
        salt = os.urandom(_SALT_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        key = _stretch(passphrase, salt)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(secret, kind.encode(), nonce, key)
        secret = nonce + sealed
    document = _KeyFile(
        podsql=f"{kind}/1", secret=b64encode(secret).decode(), salt=b64encode(salt).decode()
    )
    content = msgspec.json.format(msgspec.json.encode(document)) + b"\n"
    try:
        replace_file(path, content, mode=0o600)
    except OSError as failure:
        raise _refusal(path, f"cannot be written ({failure.strerror})") from None


def _load(path: Path, kind: str, size: int, passphrase: str | None) -> bytes:
    try:
        document = msgspec.json.decode(_read_private(path), type=_KeyFile, strict=True)
        secret, salt = (
            b64decode(document.secret, validate=True),
            b64decode(document.salt, validate=True),
        )
    except ValueError:
        raise _refusal(path, "is not a podsql key file") from None
    if document.podsql != f"{kind}/1":
        raise _refusal(path, f"does not hold {kind}")
    if salt:
        if passphrase is None:
            raise _refusal(path, "is sealed", "give its passphrase")
        try:
            secret = crypto_aead_xchacha20poly1305_ietf_decrypt(
                secret[_NONCE_BYTES:],
                kind.encode(),
                secret[:_NONCE_BYTES],
                _stretch(passphrase, salt),
            )
        except (CryptoError, ValueError):
            raise _refusal(
                path, "does not open", "the passphrase is wrong or the file damaged"
            ) from None
    elif passphrase is not None:
        # Someone may have swapped the sealed file for a plain one of their own.
        raise _refusal(path, "is not sealed, yet a passphrase was given")
    if len(secret) != size:
        raise _refusal(path, "is damaged")
    return secret


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return pwhash.argon2id.kdf(
        KEY_BYTES,
        passphrase.encode(),
        salt,
        opslimit=pwhash.argon2id.OPSLIMIT_MODERATE,
        memlimit=pwhash.argon2id.MEMLIMIT_MODERATE,
    )


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    except OSError as failure:
        raise _refusal(path, f"cannot be read ({failure.strerror})") from None
    try:
        # The open file is judged, not the path: a path may change between look and read.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(path, "is not a file")
        if sys.platform != "win32":
            if status.st_mode & 0o077:
                raise _refusal(path, "is open to other users", "chmod 600 it, or make new keys")
            if status.st_uid != os.geteuid():
                raise _refusal(path, "belongs to another user")
        content = os.read(descriptor, FILE_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > FILE_LIMIT:
        raise _refusal(path, "is too long for a key file")
    return content


def _refusal(path: Path, what: str, hint: str = "") -> Error:
    return error("KEY_FILE", f"key file {str(path)!r} {what}", hint=hint)


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put ``content`` in place at once and durably: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
