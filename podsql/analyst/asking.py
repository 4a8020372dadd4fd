"""A signed request to one pod: who asks, what for, under which offer, until when.

Rule to keep: everything an analyst asks of a pod's rows is asked here, so that the head of a request
has one form whatever the question is.
"""

import time
from collections.abc import Sequence

import pyarrow as pa
from msgspec.structs import replace as structs_replace

from podsql.analyst.exchange import Exchange
from podsql.analyst.federation import Bound, Federation
from podsql.messages import QueryRequest, RequestHead, encode, payload_hash
from podsql.relay.signing import sign


def ask(
    federation: Federation,
    bound: Bound,
    pod: str,
    payload: bytes,
    *,
    request_id: bytes,
    statement_id: bytes,
    tables: tuple[str, ...],
    purpose: str,
    project: str,
    pods: Sequence[str],
    schema: pa.Schema,
    max_rows: int,
    deadline: float,
    stage: str = "",
) -> Exchange:
    """The exchange with ``pod``, not started. ``deadline`` is on the monotonic clock."""
    card, keys = bound.cards[pod], federation.membership.keys
    now = time.time_ns() // 1_000_000
    left = max(0.0, deadline - time.monotonic())
    head = RequestHead(
        request_id=request_id,
        statement_id=statement_id,
        pod=card.identity,
        analyst=federation.asker,
        handshake=b"",
        payload_hash=payload_hash(payload),
        tables=tables,
        purpose=purpose,
        project=project,
        pods=tuple(pods),
        offer=bound.offers[pod].version,
        created=now,
        deadline=now + int(left * 1000),
    )
    return Exchange(
        endpoint=federation.endpoint,
        stage=stage,
        card=card,
        head=head,
        body=lambda handshake: federation.worded(_signed(head, payload, keys.identity, handshake)),
        schema=schema,
        max_rows=max_rows,
        deadline=deadline,
    )


def _signed(head: RequestHead, payload: bytes, seed: bytes, handshake: bytes) -> bytes:
    """The request as it travels in the session of ``handshake``."""
    body = encode(structs_replace(head, handshake=handshake))
    return encode(QueryRequest(head=sign("request", body, seed), payload=payload))
