"""One request to one pod: signed head, reply, and the result as verified Arrow.

A small result comes inline; a large one as a sealed stream that is opened, guarded and handed on
batch by batch, with credit granted as the reader consumes. Nothing is handed on before it is
authenticated; a result counts only when the pod's signed evidence matches every byte read.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import pyarrow as pa

from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import (
    Accepted,
    Cancel,
    Evidence,
    EvidenceAsk,
    EvidenceReply,
    Failed,
    Release,
    RequestHead,
    Result,
    decode,
    decode_as,
    encode,
    query_hash,
)
from podsql.relay.arrow_guard import GuardedReader, read_guarded
from podsql.relay.cards import Card
from podsql.relay.sealing import ChunkOpener
from podsql.relay.signing import verify
from podsql.relay.sockets.endpoint import Endpoint

ABSENT = frozenset({"POD_LOST", "TIMEOUT", "PODS_MISSING", "POD_FAILED", "UNKNOWN_PEER", "PAUSED"})
"""Codes after which ``allow_partial`` may go on without the pod."""
EVIDENCE_PATIENCE = 30.0
STREAM_BYTES = 64 << 30
"""Largest result that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A sealed chunk off the wire."""

    index: int
    sealed: bytes
    final: bool


class StreamInbox:
    """Chunks of one stream, from the I/O thread to the thread that reads."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[Chunk | Error] = SimpleQueue()

    def chunk(self, index: int, sealed: bytes, final: bool) -> None:
        """Next chunk in order (I/O thread)."""
        self._arrived.put(Chunk(index=index, sealed=sealed, final=final))

    def failed(self, fault: Error) -> None:
        """The stream ends here (I/O thread)."""
        self._arrived.put(fault)

    def next(self, deadline: float) -> Chunk:
        """Wait for a chunk until ``deadline`` (monotonic)."""
        try:
            item = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise error("TIMEOUT", "the result did not arrive in time") from None
        if isinstance(item, Error):
            raise item
        return item


class Exchange:
    """A statement's business with one pod. ``start`` once, then ``table`` or ``batches`` once."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        card: Card,
        head: RequestHead,
        body: Callable[[bytes], bytes],
        schema: pa.Schema | None,
        max_rows: int,
        deadline: float,
        stage: str = "",
    ) -> None:
        self.stage = stage
        self.card = card
        self.head = head
        self.evidence: Evidence | None = None
        self._endpoint = endpoint
        self._body = body
        self._schema = schema
        self._max_rows = max_rows
        self._deadline = deadline
        self._on_reply: Callable[[], None] | None = None
        self._reply: bytes | Error | None = None
        self._replied = threading.Event()

    def start(self, on_reply: Callable[[], None] | None = None) -> None:
        """Send the request; ``on_reply`` runs when the pod has answered, or was told to stop."""
        self._on_reply = on_reply

        def replied(reply: bytes | Error) -> None:
            self._reply = reply
            self._replied.set()
            if on_reply is not None:
                on_reply()

        self._endpoint.call(
            self.card,
            self._body,
            timeout=max(0.05, self._deadline - time.monotonic()),
            on_reply=replied,
        )

    def cancel(self) -> None:
        """Tell the pod to stop; best effort. A waiting reader ends with CANCELLED."""
        self._endpoint.notify(self.card, encode(Cancel(request_id=self.head.request_id)))
        if not self._replied.is_set():
            self._reply = error("CANCELLED", "the statement was cancelled", pod=self.card.name)
            self._replied.set()
            if self._on_reply is not None:
                self._on_reply()

    def answer(self) -> Result | Accepted:
        """The pod's first answer; raises its refusal."""
        if not self._replied.wait(max(0.0, self._deadline - time.monotonic()) + 1.0):
            raise error("TIMEOUT", "the pod did not answer in time", pod=self.card.name)
        reply = self._reply
        if isinstance(reply, Error):
            reply.pod = self.card.name
            raise reply
        assert reply is not None
        message = decode(reply)
        if isinstance(message, Failed):
            # Which pod held a figure back is a fact about a small group.
            named = None if message.code == "WITHHELD" else self.card.name
            raise error(message.code, message.message, hint=message.hint, pod=named)
        if not isinstance(message, Result | Accepted) or message.request_id != self.head.request_id:
            raise error("BAD_MESSAGE", "the pod did not answer with a result", pod=self.card.name)
        return message

    def table(self) -> pa.Table:
        """The whole result."""
        message = self.answer()
        if isinstance(message, Result):
            return self._inline(message)
        batches = list(self._stream(message))
        return pa.Table.from_batches(batches, schema=self._read_schema)

    def masked(self) -> Evidence | None:
        """What the pod says of a row that left under masks, by another message; None: withheld."""
        message = self.answer()
        if isinstance(message, Result) and not message.arrow:
            self.evidence = self._check(message.evidence)
            return self.evidence
        return None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The result batch by batch; bounded memory."""
        message = self.answer()
        if isinstance(message, Result):
            yield from self._inline(message).to_batches()
        else:
            yield from self._stream(message)

    def _inline(self, message: Result) -> pa.Table:
        evidence = self._check(message.evidence)
        if hashlib.sha256(message.arrow).digest() != evidence.sha256:
            raise self._bad("the result does not match its evidence")
        table = read_guarded(
            message.arrow,
            schema=self._schema,
            max_rows=self._max_rows,
            max_bytes=len(message.arrow),
        )
        if table.num_rows != evidence.rows:
            raise self._bad("the result has other rows than promised")
        self.evidence = evidence
        return table

    def _stream(self, message: Accepted) -> Iterator[pa.RecordBatch]:
        opener = ChunkOpener(message.ticket.stream, message.ticket.key)
        inbox = StreamInbox()
        reader = self._endpoint.read_stream(self.card, message.ticket.stream, inbox)
        guard = GuardedReader(schema=self._schema, max_rows=self._max_rows, max_bytes=STREAM_BYTES)
        digest = hashlib.sha256()
        chunks = rows = 0
        finished = False
        try:
            while True:
                chunk = inbox.next(self._deadline)
                data = opener.open(chunk.index, chunk.sealed, chunk.final)
                digest.update(data)
                chunks += 1
                for batch in guard.feed(data):
                    rows += batch.num_rows
                    yield batch
                if chunk.final:
                    break
                reader.grant(1)
            guard.finish()
            self._read_schema = guard.schema
            evidence = self._check(self._ask_evidence())
            if (
                digest.digest() != evidence.sha256
                or rows != evidence.rows
                or chunks != evidence.chunks
            ):
                raise self._bad("the result does not match its evidence")
            self.evidence = evidence
            finished = True
        finally:
            reader.close()
            done: Release | Cancel = (
                Release(request_id=self.head.request_id)
                if finished
                else Cancel(request_id=self.head.request_id)
            )
            self._endpoint.notify(self.card, encode(done))

    def _ask_evidence(self) -> Signed:
        reply = decode(
            self._endpoint.call_wait(
                self.card,
                encode(EvidenceAsk(request_id=self.head.request_id)),
                timeout=EVIDENCE_PATIENCE,
            )
        )
        if isinstance(reply, Failed):
            raise error(reply.code, reply.message, hint=reply.hint, pod=self.card.name)
        if not isinstance(reply, EvidenceReply):
            raise self._bad("the pod gave no evidence")
        return reply.evidence

    def _check(self, document: Signed) -> Evidence:
        body = verify(document, "result", self.card.identity)
        evidence = decode_as(Evidence, body)
        if evidence.request_id != self.head.request_id or evidence.query_hash != query_hash(
            self.head
        ):
            raise self._bad("the evidence is about another request")
        return evidence

    def _bad(self, text: str) -> Error:
        return error("BAD_RESULT", text, pod=self.card.name)
