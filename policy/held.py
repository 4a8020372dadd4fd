"""What a pod makes of a policy service's word on a result that it holds. Pure."""

from collections.abc import Mapping
from typing import Final

from podsql.errors import Error, error
from podsql.messages import decode, decode_as
from podsql.policy.decisions import SKEW_MS, Unavailable
from podsql.policy.denial import Denial
from podsql.relay.signing import verify
from podsql.service_messages import Review, ReviewReply, ReviewRequest

HOLD_DAYS: Final = 7


def read_review(
    body: bytes, *, service: bytes, pod: bytes, asked: ReviewRequest, now: int
) -> Review:
    """The review in a reply, if it is ``service``'s, on this result of this pod, asked for now."""
    reply = decode(body)
    if not isinstance(reply, ReviewReply):
        raise Unavailable("did not say whether a result may leave")
    review = decode_as(Review, verify(reply.review, "review", service))
    about = (review.id, review.pod, review.result_hash, review.nonce)
    if about != (asked.id, pod, asked.result_hash, asked.nonce):
        raise Unavailable("reviewed another result")
    if review.expires <= now - SKEW_MS:
        raise Unavailable("sent a review that has expired")
    return review


def require_release(reviews: Mapping[bytes, Review]) -> tuple[str, ...]:
    """Who released the result, when everybody has; else Denial, or IN_REVIEW."""
    states = {review.state for review in reviews.values()}
    if "refused" in states:
        raise Denial("REVIEW")
    if states != {"released"}:
        raise in_review()
    return tuple(review.by for review in reviews.values())


def in_review() -> Error:
    """The result is held at the pod."""
    return error(
        "IN_REVIEW",
        "the result waits at the pod until a second person releases it",
        hint="run the same statement again later; nothing is charged twice",
    )
