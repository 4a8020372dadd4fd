"""The head of an audit log, signed by its pod, for another party to keep.

Whoever holds one can tell later whether the log still contains everything it contained then. Rule
to keep: a head names its pod, its count and its hash, and is worth nothing unsigned.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Final

import msgspec

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.policy.audit import Chain, check, lines
from podsql.relay.signing import sign, verify

KIND: Final = "audit-head"
PREFIX: Final = "podsql-head:"
TEXT_LIMIT: Final = 2048


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``count`` lines were ever written, the last with ``hash``; ``time`` is ms."""

    pod: str
    count: int
    hash: str
    time: int


def sign_head(head: Head, seed: bytes) -> str:
    """One line that a person can send."""
    document = sign(KIND, msgspec.msgpack.encode(head), seed)
    return PREFIX + urlsafe_b64encode(msgspec.msgpack.encode(document)).decode().rstrip("=")


def read_head(text: str, signer: bytes | None = None) -> tuple[Head, bytes]:
    """The head and its signer's key; SIGNATURE or ARGUMENT otherwise."""
    line = text.strip()
    if not line.startswith(PREFIX) or len(line) > TEXT_LIMIT:
        raise error("ARGUMENT", "not the head of a log", hint="podsql audit head prints one")
    packed = line[len(PREFIX) :]
    try:
        raw = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        document = msgspec.msgpack.decode(raw, type=Signed)
        head = msgspec.msgpack.decode(verify(document, KIND, signer), type=Head)
    except Error:
        raise
    except ValueError:
        raise error("ARGUMENT", "the head is damaged", hint="copy the whole line") from None
    return head, document.signer


def check_against(path: Path, head: Head, signer: bytes) -> Chain:
    """Check the log, and that it still holds what ``head`` says; INTERNAL otherwise.

    A head from before the checkpoint can only be told to be older than what was pruned.
    """
    chain = check(path, signer=signer)
    if head.count > chain.count:
        raise error("INTERNAL", f"the audit log was cut after line {chain.count}")
    if head.count < chain.removed:
        raise error(
            "INTERNAL",
            f"the head is of line {head.count}, and the first {chain.removed} lines were pruned",
            hint="use a newer head: one is needed at least once in the time of retention",
        )
    if head.count == chain.removed:
        before = chain.checkpoint.last if chain.checkpoint else "0" * 64
        same = before == head.hash
    else:
        same = any(line.hash == head.hash for line in lines(path) if line.number + 1 == head.count)
    if not same:
        raise error(
            "INTERNAL", f"the audit log is another one than when line {head.count} was last"
        )
    return chain
