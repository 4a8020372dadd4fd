"""Sets of blinded keys as they travel: what a sender signs, for whom and in what session."""

from dataclasses import dataclass

from podsql.errors import error
from podsql.message import Signed
from podsql.messages import PsiClaim, PsiHand, PsiPart, decode_as, encode, points_hash
from podsql.relay.signing import sign, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who hands on points of one count, and the identity key ``to`` that gets them."""

    seed: bytes
    session: bytes
    to: bytes

    def hand(
        self, claim: Signed, origin: str, index: int, points: bytes, handshake: bytes
    ) -> bytes:
        """The bytes of a ``PsiHand``: part ``index`` of the set of ``origin``."""
        part = PsiPart(
            session=self.session,
            origin=origin,
            index=index,
            to=self.to,
            handshake=handshake,
            points_hash=points_hash(points),
        )
        signed = sign("psi-part", encode(part), self.seed)
        return encode(PsiHand(claim=claim, part=signed, points=points))


def read_part(message: PsiHand, *, sender: bytes, to: bytes) -> PsiPart:
    """The part of ``message``, if ``sender`` signed it, with these points, for ``to``."""
    part = decode_as(PsiPart, verify(message.part, "psi-part", sender))
    if part.to != to:
        raise error("REPLAY", "blinded keys were meant for another party")
    if part.points_hash != points_hash(message.points):
        raise error("SIGNATURE", "the blinded keys are not the ones that were signed")
    return part


def read_claim(message: PsiHand, part: PsiPart, *, signer: bytes) -> PsiClaim:
    """What ``signer``, whose keys they are, says of the set."""
    claim = decode_as(PsiClaim, verify(message.claim, "psi-claim", signer))
    if claim.session != part.session or claim.pod != part.origin:
        raise error("BAD_MESSAGE", "a set of blinded keys belongs to another statement")
    return claim
