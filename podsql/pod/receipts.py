"""Receipts of audit heads: what a policy service signed that it had seen of this pod's log.

One file a service, the last receipt; the service keeps its own copy. With one of them a log that was
cut at its end, or written anew, is found out (``podsql audit verify --receipt``).
"""

from pathlib import Path
from typing import Final

import msgspec

from podsql.errors import error
from podsql.message import Signed
from podsql.messages import decode_as
from podsql.relay.keys import replace_file
from podsql.relay.signing import verify
from podsql.service_messages import HeadReceipt

FOLDER: Final = "receipts"


def keep_receipt(folder: Path, document: Signed, *, service: bytes, mark: str, pod: bytes) -> None:
    """Keep ``document`` if ``service`` (of fingerprint ``mark``) signed it for this pod."""
    receipt = decode_as(HeadReceipt, verify(document, "head", service))
    if receipt.pod != pod:
        raise error("SIGNATURE", "a receipt for another pod")
    path = folder / f"{mark}.receipt"
    if path.exists() and _same(read_receipt(path), receipt):
        return
    replace_file(path, msgspec.msgpack.encode(document), mode=0o600)


def read_receipt(path: Path) -> HeadReceipt:
    """The receipt in a file, if the key that it names signed it; BAD_MESSAGE or SIGNATURE otherwise."""
    try:
        document = msgspec.msgpack.decode(path.read_bytes(), type=Signed)
    except (OSError, msgspec.MsgspecError):
        raise error("BAD_MESSAGE", f"{path.name!r} is not a receipt") from None
    return decode_as(HeadReceipt, verify(document, "head"))


def _same(kept: HeadReceipt, found: HeadReceipt) -> bool:
    return (kept.count, kept.head) == (found.count, found.head)
