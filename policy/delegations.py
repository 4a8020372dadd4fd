"""An analyst's order to a modeller, as pods and policy services judge it. Pure.

A modeller asks with its own key, in a session of its own, for the analyst who signed the order. Who
may do what is then judged of the analyst. Rule to keep: an order serves for the rounds of one model
of the design that its analyst signed, under masks if they were ordered under masks, at the pods, for the purpose and
until the time it names.
"""

from podsql.errors import error
from podsql.job_messages import LONGEST_MS, Delegation, statement_hash
from podsql.message import Signed
from podsql.messages import RequestHead, decode_as
from podsql.planner.fragment import Fragment, ModelStep
from podsql.planner.training.marks import mark_asked
from podsql.policy.decisions import SKEW_MS
from podsql.relay.signing import verify


def read_delegation(document: Signed, *, modeller: bytes, now: int) -> Delegation:
    """The order, if its analyst signed it for ``modeller`` and it holds at ``now`` (ms)."""
    told = decode_as(Delegation, verify(document, "delegation"))
    if told.analyst != document.signer:
        raise error("SIGNATURE", "an order is signed by another key than its analyst's")
    if told.modeller != modeller:
        raise error("SIGNATURE", "an order is made out to another modeller")
    if told.created > now + SKEW_MS:
        raise error("CLOCK", "an order was made in the future", hint="check both clocks")
    if told.expires - told.created > LONGEST_MS:
        raise error("DELEGATION", "an order is good for too long")
    if told.expires <= now:
        raise error("DELEGATION", "the analyst's order has expired", hint="train the model again")
    return told


def require_request(told: Delegation, head: RequestHead) -> None:
    """DELEGATION unless a request is for the job, tables, pod and purpose of the order."""
    asked = (head.statement_id, head.analyst, head.tables, head.purpose, head.project)
    if asked != (told.job, told.analyst, told.tables, told.purpose, told.project):
        raise error("DELEGATION", "the request is not the one that the analyst ordered")
    if head.pod not in told.pods:
        raise error("DELEGATION", "the analyst's order does not name this pod")


def require_round(told: Delegation, statement: str, fragment: Fragment) -> None:
    """DELEGATION unless what is to be run is a round of the model that was ordered."""
    if (
        statement_hash(statement) != told.statement
        or not isinstance(fragment, ModelStep)
        or fragment.family not in told.families
        or mark_asked(fragment, told.job) not in told.designs
    ):
        raise error("DELEGATION", "the round is not of the model that the analyst ordered")
