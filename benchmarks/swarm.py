"""``python -m benchmarks.swarm FOLDER FIRST LAST``: pods FIRST..LAST of a benchmark, in this process.

Each has its own keys, socket, sessions and signatures. It verifies the signed request as a pod does
and answers with a fixed partial and signed evidence; there is no worker and no data.
"""

import hashlib
import resource
import sys
import time
from pathlib import Path

import msgspec
import pyarrow as pa

from podsql.lifecycle import wait_for_stop
from podsql.membership import key_from_text
from podsql.messages import (
    Evidence,
    Failed,
    OfferReply,
    OfferRequest,
    QueryRequest,
    Result,
    decode,
    encode,
    query_hash,
)
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.policy.decisions import read_head
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import PeerKeys, load_keys
from podsql.relay.manifest import ManifestStore
from podsql.relay.signing import sign
from podsql.relay.sockets.endpoint import Endpoint, Request

ROWS_EACH = 7
TABLE = TableOffer(
    name="main.t",
    kind="federated",
    columns=(ColumnOffer(name="x", type="INTEGER"),),
    release="rows",
)


def partial() -> bytes:
    """``count(*)`` of one pod as an Arrow IPC stream."""
    table = pa.table({"p0": pa.array([ROWS_EACH], pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class FixedPod:
    """Answers like a pod whose verdicts are cached and whose worker is instant."""

    def __init__(self, name: str, keys: PeerKeys) -> None:
        now = time.time_ns() // 1_000_000
        offer = Offer(pod=name, version="1", tables=(TABLE,), issued=now, expires=now + 3_600_000)
        self._keys = keys
        self._offer = encode(
            OfferReply(offer=sign("offer", msgspec.msgpack.encode(offer), keys.identity))
        )
        self._partial = partial()
        self._digest = hashlib.sha256(self._partial).digest()

    def serve(self, request: Request) -> None:
        """One call."""
        message = decode(request.body)
        if isinstance(message, OfferRequest):
            request.reply(self._offer)
        elif isinstance(message, QueryRequest):
            request.reply(self._result(request, message))
        else:
            request.reply(encode(Failed(code="BAD_MESSAGE", message="not in this benchmark")))

    def _result(self, request: Request, message: QueryRequest) -> bytes:
        head = read_head(
            message.head,
            analyst=request.peer.identity,
            pod=self._keys.identity_public,
            handshake=request.handshake,
            now=time.time_ns() // 1_000_000,
        )
        evidence = Evidence(
            request_id=head.request_id,
            query_hash=query_hash(head),
            rows=1,
            withheld=0,
            size=len(self._partial),
            chunks=0,
            sha256=self._digest,
            data_version="1",
            policy_hash="1",
            release="exact",
            executed=1,
            micros=0,
        )
        signed = sign("result", encode(evidence), self._keys.identity)
        return encode(Result(request_id=head.request_id, arrow=self._partial, evidence=signed))


def main(folder: Path, first: int, last: int) -> None:
    """Run until SIGTERM; says ready by sd_notify."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    mark, place, key = (folder / "federation").read_text().split()
    endpoints = []
    for number in range(first, last):
        name = f"pod{number:04}"
        keys = load_keys(folder / "pods" / f"{name}.json")
        endpoint = Endpoint(
            keys=keys,
            relay=RelayAddress(endpoint=place, curve=key_from_text(key)),
            store=ManifestStore(folder / "pods" / f"{name}.manifest", mark),
            serve=FixedPod(name, keys).serve,
            name=name,
        )
        endpoint.start(timeout=120.0)
        endpoints.append(endpoint)
    wait_for_stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
