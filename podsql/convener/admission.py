"""What the registrar answers: one message of one proven peer in, one change of the manifest out.

Rule to keep: no I/O and no clock here; who speaks is the session's word (``peer``), never the
message's.
"""

from dataclasses import dataclass

from podsql.convener.changes import Change, admit, rotate
from podsql.errors import Error, error
from podsql.messages import Failed, JoinRequest, decode
from podsql.relay.cards import Card, read_card
from podsql.relay.manifest import Manifest

INVITEE = "invitee"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What to do about a request: ``change`` is None when the card stands already."""

    change: Change | None
    reply_first: bool
    """A rotation ends the connection it came by, so its answer must leave before it is published."""


def judge(body: bytes, peer: Card, manifest: Manifest, *, now: int) -> Admission:
    """Decide about a JoinRequest of an invitee (admit) or a member (rotate); INVITE errors."""
    message = decode(body)
    if not isinstance(message, JoinRequest):
        raise error("BAD_MESSAGE", "the registrar answers join requests only")
    card = read_card(message.card)
    holder = manifest.by_name(card.name)
    # The answer to an admitted invitee may be lost; asking again with the same keys is no reuse.
    stands = holder is not None and _keys(holder) == _keys(card)
    if peer.role != INVITEE:
        return Admission(change=None if stands else rotate(message.card, peer), reply_first=True)
    if stands and card.noise == peer.noise:
        return Admission(change=None, reply_first=False)
    change = admit(message.card, message.secret_hash, curve=peer.curve, noise=peer.noise, now=now)
    return Admission(change=change, reply_first=False)


def refusal(fault: Error) -> Failed:
    """The fault as an answer."""
    return Failed(code=fault.code, message=fault.message, hint=fault.hint)


def _keys(card: Card) -> tuple[bytes, bytes, bytes]:
    return card.identity, card.noise, card.curve
