"""Messages of detached training jobs: an analyst's order to a modeller, and what it may ask of pods.

Rule to keep: what a pod or a policy service believes of an order stands in the ``Delegation`` that the
analyst signed; it holds hashes only, so that a service learns nothing of a statement.
"""

from hashlib import blake2b
from typing import Final, Literal

from podsql.message import Message, Signed

LONGEST_MS: Final = 7 * 24 * 3600 * 1000
"""How long an order is good at most: a pod refuses one that says more."""


class Delegation(Message, frozen=True, array_like=True, tag="delegation/1"):
    """What an analyst signs (kind ``delegation``): this modeller may ask the rounds of one model.

    Keys have 32 bytes, times are ms since the epoch.
    """

    job: bytes
    """16 random bytes: the id of the job, and the statement id of every request for it."""
    analyst: bytes
    modeller: bytes
    statement: bytes
    """``statement_hash`` of the text."""
    families: tuple[str, ...]
    """Kinds of rounds."""
    designs: tuple[bytes, ...]
    """Marks of what a round may ask for, all columns of one in one (``planner/training/marks.py``)."""
    tables: tuple[str, ...]
    purpose: str
    project: str
    pods: tuple[bytes, ...]
    """Identity keys of the pods that may be asked."""
    created: int
    expires: int


class Delegated(Message, frozen=True, array_like=True, tag="delegated/1"):
    """A modeller asks a pod in an analyst's place; ``message`` is an ``offer?/1`` or a ``query/1``.

    The head of the query names the analyst, and the modeller signs it.
    """

    delegation: Signed
    message: bytes


class DelegatedDecisionRequest(Message, frozen=True, array_like=True, tag="decide-for?/1"):
    """Pod asks a policy service for a decision on a request that a modeller signed for an analyst."""

    head: Signed
    delegation: Signed
    nonce: bytes


class JobOrder(Message, frozen=True, array_like=True, tag="job-order/1"):
    """An analyst orders a job of a modeller; answered by ``JobReply``.

    ``record``: the job's record as JSON (``analyst/training/recorded.py``), before its first round.
    """

    delegation: Signed
    record: bytes


class JobAsk(Message, frozen=True, array_like=True, tag="job?/1"):
    """An analyst asks a modeller about own jobs; answered by ``JobReply``. ``job``: its id, in hex."""

    act: Literal["list", "log", "model", "cancel", "resume"]
    job: str = ""


class JobReply(Message, frozen=True, array_like=True, tag="job/1"):
    """What was asked for, each part as JSON: records without statements and checkpoints, newest
    last; the lines of a log; a finished model. ``orders``: of each record the analyst's delegation, by
    which an analyst who kept no record of the job knows it for an own one."""

    records: tuple[bytes, ...] = ()
    lines: tuple[bytes, ...] = ()
    model: bytes = b""
    orders: tuple[Signed, ...] = ()


def statement_hash(text: str) -> bytes:
    """BLAKE2b-256 of a statement's text."""
    return blake2b(text.encode(), digest_size=32, person=b"ps-statement").digest()
