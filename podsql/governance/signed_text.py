"""A text with a signature below it, for agreements: people read the text, machines check the block.

The signature covers the text as it stands above the block, byte for byte. Rule to keep: nothing is
normalised, so nothing can hide in what a normaliser drops.
"""

from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Final

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.relay.keys import fingerprint, fingerprint_key, signing_public
from podsql.relay.signing import sign, verify

_MARK: Final = "\n-----podsql signature-----\n"


def digest(text: str) -> str:
    """BLAKE2b-256 (hex) of a text."""
    return blake2b(text.encode(), digest_size=32).hexdigest()


def sign_text(kind: str, text: str, seed: bytes) -> str:
    """The text and its block."""
    if _MARK in text:
        raise error("ARGUMENT", "the text has a signature already")
    signature = b64encode(sign(kind, text.encode(), seed).signature).decode()
    lines = (
        f"kind: {kind}",
        f"signer: {fingerprint(signing_public(seed))}",
        f"digest: {digest(text)}",
        f"signature: {signature}",
    )
    return text + _MARK + "\n".join(lines) + "\n"


def check_text(kind: str, signed: str) -> str:
    """The signer's fingerprint, if the text is as it was signed; SIGNATURE otherwise."""
    text, mark, block = signed.rpartition(_MARK)
    said = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
    try:
        key = fingerprint_key(said["signer"])
        signature = b64decode(said["signature"], validate=True)
        document = Signed(kind=kind, body=text.encode(), signer=key, signature=signature)
        verify(document, kind)
    except (Error, KeyError, ValueError):
        raise error("SIGNATURE", "the text is not signed, or was changed since") from None
    if not mark or said.get("kind") != kind or said.get("digest") != digest(text):
        raise error("SIGNATURE", "the text is not signed, or was changed since")
    return fingerprint(key)
