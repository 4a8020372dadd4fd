"""Seeds of one job and round, each derived for one use, and boxes that one pod seals for another.

Two pods share a root by X25519 of their job keys; everything of a round is derived from the root
and the round, so what a round reveals frees nothing of another. Rule to keep: 32 bytes throughout,
and no two uses of a key with the same personalisation.
"""

from hashlib import blake2b
from typing import Final

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
)
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from podsql.engine.sums.shamir import SEED_BYTES, Draw

_NONCE_BYTES: Final = 24


def pair_root(job: bytes, secret: bytes, own: bytes, other: bytes) -> bytes | None:
    """What two pods share in a job; ``own`` and ``other`` are their public job keys.

    None if ``other`` is a point of small order, which would make the root public.
    """
    try:
        shared = crypto_scalarmult(secret, other)
    except SodiumError:
        return None
    return _derive(b"ps-sum-root", shared, job + min(own, other) + max(own, other))


def pair_seed(root: bytes, number: int) -> bytes:
    """Seed of the mask that two pods share in round ``number``."""
    return _derive(b"ps-sum-pair", root, _of_round(number))


def pair_mask(seed: bytes, asked: bytes) -> bytes:
    """Seed of the mask itself, of two pods that were asked ``asked``: with another it does not vanish."""
    return _derive(b"ps-sum-asked", seed, asked)


def share_key(root: bytes, number: int, dealer: str) -> bytes:
    """Key under which ``dealer`` seals its shares of a round for the other one."""
    return _derive(b"ps-sum-share", root, _of_round(number) + dealer.encode())


def stream_key(seed: bytes) -> bytes:
    """Key of the mask that ``seed`` stands for."""
    return _derive(b"ps-sum-mask", seed)


def tag(seed: bytes) -> bytes:
    """A hash by which a seed is known again; it tells nothing of its mask."""
    return _derive(b"ps-sum-tag", seed)


def names_hash(names: tuple[str, ...]) -> bytes:
    """BLAKE2b-256 of pod names (which hold no zero byte)."""
    return _derive(b"ps-sum-names", b"", "\0".join(names).encode())


def seal(key: bytes, body: bytes, draw: Draw) -> bytes:
    """XChaCha20-Poly1305; whom and what it is for stands in the derivation of ``key``."""
    nonce = draw(_NONCE_BYTES)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(body, None, nonce, key)


def unseal(key: bytes, box: bytes) -> bytes | None:
    """The body; None if it was not sealed under ``key``."""
    nonce, sealed = box[:_NONCE_BYTES], box[_NONCE_BYTES:]
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, None, nonce, key)
    except (CryptoError, ValueError):
        return None


def _derive(use: bytes, key: bytes, body: bytes = b"") -> bytes:
    return blake2b(body, digest_size=SEED_BYTES, key=key, person=use).digest()


def _of_round(number: int) -> bytes:
    return number.to_bytes(8)
