"""The first line of an audit log that old lines were removed from.

It holds how many lines left, the hash of the last of them and the pod's signature. The chain goes on
from that hash. Rule to keep: a checkpoint counts only with a valid signature *and* a line further
down that announces it (event ``prune``, same count, same hash), so that whoever can write the file
but not sign removes nothing, and whoever signs leaves a line that a head kept elsewhere pins down.
"""

from base64 import b64decode, b64encode
from typing import Final, Literal

import msgspec

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.relay.keys import fingerprint, fingerprint_key, signing_public
from podsql.relay.signing import sign, verify

KIND: Final = "audit-checkpoint"
_PREFIX: Final = b'{"checkpoint":'


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``removed``: lines that ever left; ``last``: hash of the last of them; times in ms."""

    checkpoint: Literal[1] = 1
    removed: int
    last: str
    before: int
    """Lines older than this left."""
    time: int
    signer: str
    """The pod's fingerprint."""
    signature: str

    def require_signed(self, signer: bytes | None = None) -> "Checkpoint":
        """Itself, if the signature holds (and is ``signer``'s, if given); INTERNAL otherwise."""
        try:
            key = fingerprint_key(self.signer)
            signature = b64decode(self.signature, validate=True)
            document = Signed(kind=KIND, body=_body(self), signer=key, signature=signature)
            verify(document, KIND, signer)
        except (Error, ValueError):
            raise error(
                "INTERNAL", "the checkpoint of the audit log is not signed by the pod"
            ) from None
        if self.removed < 1:
            raise error("INTERNAL", "the checkpoint of the audit log is damaged")
        return self


def write_checkpoint(*, removed: int, last: str, before: int, now: int, seed: bytes) -> bytes:
    """The line of a checkpoint signed with the pod's identity key."""
    bare = Checkpoint(
        removed=removed,
        last=last,
        before=before,
        time=now,
        signer=fingerprint(signing_public(seed)),
        signature="",
    )
    signature = b64encode(sign(KIND, _body(bare), seed).signature).decode()
    return msgspec.json.encode(msgspec.structs.replace(bare, signature=signature)) + b"\n"


def is_checkpoint(data: bytes) -> bool:
    """Whether a line says that it is one."""
    return data.startswith(_PREFIX)


def read_checkpoint(data: bytes) -> Checkpoint:
    """Read a line; INTERNAL if it does not decode."""
    try:
        return msgspec.json.decode(data, type=Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise error("INTERNAL", "the checkpoint of the audit log is damaged") from None


def _body(one: Checkpoint) -> bytes:
    return msgspec.json.encode((one.checkpoint, one.removed, one.last, one.before, one.time))
