"""Ed25519 signatures over bytes, each bound to what kind of document it is.

Rule to keep: the signed bytes are kept and read as received, never encoded again; msgpack is not
canonical, so a re-encoded document is another document.
"""

from functools import lru_cache
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from podsql.errors import error
from podsql.message import Signed

CONTEXT: Final = "podsql/{kind}/1"


def sign(kind: str, body: bytes, seed: bytes) -> Signed:
    """Sign ``body`` as a document of ``kind``."""
    key = _signing_key(seed)
    signature = key.sign(_message(kind, body)).signature
    return Signed(kind=kind, body=body, signer=bytes(key.verify_key), signature=signature)


@lru_cache(maxsize=64)
def _signing_key(seed: bytes) -> SigningKey:
    """Deriving a key pair costs as much as a signature; a process signs with one or two seeds."""
    return SigningKey(seed)


def verify(document: Signed, kind: str, signer: bytes | None = None) -> bytes:
    """Return the body if it is of ``kind`` and truly signed (by ``signer``, if given)."""
    if document.kind != kind:
        raise error("SIGNATURE", f"a document of another kind was given as {kind!r}")
    if signer is not None and document.signer != signer:
        raise error("SIGNATURE", f"{kind!r} is signed by another key")
    try:
        # libsodium refuses small-order and non-canonical keys and malleated signatures.
        VerifyKey(document.signer).verify(_message(kind, document.body), document.signature)
    except (CryptoError, ValueError):
        raise error("SIGNATURE", f"signature of {kind!r} does not verify") from None
    return document.body


def _message(kind: str, body: bytes) -> bytes:
    if "\0" in kind:
        raise error("SIGNATURE", "a document's kind holds no zero byte")
    return CONTEXT.format(kind=kind).encode() + b"\0" + body
