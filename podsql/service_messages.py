"""Messages between a policy service, its pods and the people who ask it for rights.

Statements never come here: a ``RequestHead`` travels as the analyst signed it, with hashes only.
"""

from typing import Literal

from podsql.message import Message, Signed


class GrantsRequest(Message, frozen=True, array_like=True, tag="grants?/1"):
    """Pod asks the service which of its tables ``analyst`` may use for ``purpose``."""

    analyst: bytes
    purpose: str
    project: str
    nonce: bytes


class Grant(Message, frozen=True, array_like=True, tag="grant/2"):
    """Holder-of-key right (kind ``grant``): ``analyst`` may use ``tables`` of ``pod``.

    ``tables`` are names or ``*``; ``until`` and ``since`` are ms since the epoch.
    """

    grant_id: str
    analyst: bytes
    pod: str
    tables: tuple[str, ...]
    purpose: str
    project: str
    release: Literal["sdc_local", "sdc_merged", "dp", "rows"]
    since: int
    until: int
    review: bool = False
    """Results wait for a second person: no right where the service cannot be asked."""


class GrantsReply(Message, frozen=True, array_like=True, tag="grants/1"):
    """Signed grants in force now."""

    grants: tuple[Signed, ...]
    nonce: bytes


class DecisionRequest(Message, frozen=True, array_like=True, tag="decide?/1"):
    """Pod asks for a decision on one signed request; ``head`` is the analyst's, untouched."""

    head: Signed
    nonce: bytes


class Decision(Message, frozen=True, array_like=True, tag="decision/2"):
    """Signed by the service (kind ``decision``), bound to query hash and the pod's nonce."""

    query_hash: bytes
    nonce: bytes
    pod: bytes
    allow: bool
    reason: str
    """For the custodian's audit; never shown to the analyst."""
    release: Literal["sdc_local", "sdc_merged", "dp", "rows"]
    expires: int
    epoch: int = 0
    """Number of the service's last change: a pod believes no service that goes back."""
    review: bool = False
    """The result waits at the pod until a second person releases it at the service."""


class DecisionReply(Message, frozen=True, array_like=True, tag="decide/1"):
    """The signed Decision."""

    decision: Signed


class TableCard(Message, frozen=True, array_like=True, tag="table/1"):
    """A table as a pod describes it to its policy service: names and types only."""

    name: str
    kind: str
    privacy_unit: str
    release: str
    columns: tuple[tuple[str, str, str], ...]
    """Name, declared type, roles in words."""


class BudgetLine(Message, frozen=True, array_like=True, tag="budget/1"):
    """One privacy budget of a pod, in epsilon at its policy's delta."""

    scope: str
    spent: float
    budget: float
    charges: int


class PodReport(Message, frozen=True, array_like=True, tag="report/1"):
    """A pod tells its policy service what it is; times are ms since the epoch."""

    time: int
    version: str
    paused: bool
    policy: str
    policy_hash: str
    policy_words: tuple[str, ...]
    data_version: str
    tables: tuple[TableCard, ...]
    budgets: tuple[BudgetLine, ...]
    audit_count: int
    audit_head: str


class HeadReceipt(Message, frozen=True, array_like=True, tag="head-receipt/1"):
    """Signed by the service (kind ``head``): it saw this head of a pod's audit log at ``time``."""

    pod: bytes
    count: int
    head: str
    time: int


class Revocations(Message, frozen=True, array_like=True, tag="revocations/1"):
    """Signed by the service (kind ``revocations``): what no pod may act on any more.

    ``grants`` are ids, ``people`` identity keys. Good until ``next_update`` (ms since the epoch).
    """

    epoch: int
    issued: int
    next_update: int
    frozen: bool
    """The asking pod is to answer nothing."""
    grants: tuple[str, ...]
    people: tuple[bytes, ...]


class PodStanding(Message, frozen=True, array_like=True, tag="standing/1"):
    """The service's answer to a report, and what it sends by itself when something changes."""

    revocations: Signed
    receipt: Signed | None = None


class Order(Message, frozen=True, array_like=True, tag="order/1"):
    """What a person orders of a policy service in SQL, signed by that person (kind ``order``).

    ``analyst``: name or fingerprint of whom it is about, empty for the signer. ``until``: ms since
    the epoch, 0 for no end. Unused fields are empty.
    """

    id: bytes
    service: bytes
    actor: bytes
    created: int
    act: Literal["ask", "grant", "revoke", "withdraw"]
    analyst: str = ""
    pod: str = "*"
    tables: tuple[str, ...] = ()
    purpose: str = "*"
    project: str = "*"
    release: Literal["sdc_local", "sdc_merged", "dp", "rows"] = "sdc_local"
    until: int = 0
    review: bool = False
    reason: str = ""
    grant_id: str = ""
    request: int = 0


class OrderRequest(Message, frozen=True, array_like=True, tag="order?/1"):
    """A signed Order on its way."""

    order: Signed


class OrderReply(Message, frozen=True, array_like=True, tag="ordered/1"):
    """What came of it: grants given or ended, or the number of a request that waits."""

    grants: tuple[str, ...] = ()
    request: int = 0


class RightsRequest(Message, frozen=True, array_like=True, tag="rights?/1"):
    """A person asks what was granted and asked for: own, or, for officers, ``everybody``'s.

    ``start``: leave out so many lines, which earlier replies brought.
    """

    everybody: bool = False
    start: int = 0


class RightsLine(Message, frozen=True, array_like=True, tag="right/1"):
    """A grant or a request. ``state``: in force, expired, revoked, open, approved, refused, …"""

    what: Literal["grant", "request"]
    id: str
    analyst: str
    pod: str
    tables: tuple[str, ...]
    purpose: str
    project: str
    release: str
    until: int
    state: str
    note: str


class RightsReply(Message, frozen=True, array_like=True, tag="rights/1"):
    """What stands at the service, newest first. ``more``: there are lines beyond these."""

    lines: tuple[RightsLine, ...]
    more: bool = False


class ReviewRequest(Message, frozen=True, array_like=True, tag="review?/1"):
    """A pod asks whether a result it holds may leave. Size and hash of it, never what it says."""

    id: str
    analyst: bytes
    purpose: str
    project: str
    tables: tuple[str, ...]
    release: str
    rows: int
    withheld: int
    size: int
    columns: int
    query_hash: bytes
    result_hash: bytes
    nonce: bytes


class Review(Message, frozen=True, array_like=True, tag="review/1"):
    """Signed by the service (kind ``review``), bound to the result's hash and the pod's nonce."""

    id: str
    pod: bytes
    result_hash: bytes
    nonce: bytes
    state: Literal["waiting", "released", "refused"]
    by: str
    expires: int


class ReviewReply(Message, frozen=True, array_like=True, tag="reviewed/1"):
    """The signed Review."""

    review: Signed
