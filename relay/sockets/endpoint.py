"""The endpoint: what pods, analysts, services and conveners use to reach each other.

One I/O thread runs the core (``relay/peer.py``) over one DEALER socket; callbacks run on it. A call
from another thread costs one hand-over there and one back. Rule to keep: the core decides, this file
only carries: clock in, frames in and out, callbacks to their owners.
"""

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Final

import zmq

from podsql.errors import Error, error
from podsql.message import settle
from podsql.relay import events as ev
from podsql.relay.calls import Body
from podsql.relay.cards import Card
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import PeerKeys
from podsql.relay.manifest import Manifest, ManifestStore
from podsql.relay.peer import Peer, Timing
from podsql.relay.sockets.dealer import Dealer
from podsql.relay.sockets.egress import Egress
from podsql.relay.sockets.iothread import IoThread
from podsql.relay.sockets.requests import Request, StreamReader
from podsql.relay.sockets.uplink import Uplink, replaced
from podsql.relay.streams import StreamSink, StreamSource

__all__ = ["Egress", "Endpoint", "Request", "StreamReader"]

_LOG: Final = logging.getLogger("podsql.relay")
_CHUNKS_A_ROUND: Final = 16
LINGER_MS: Final = 500
EXPIRY_LOOK: Final = 60.0


class Endpoint:
    """A peer on its relay."""

    def __init__(
        self,
        *,
        keys: PeerKeys,
        relay: RelayAddress,
        store: ManifestStore,
        egress: Egress = Egress(),
        serve: Callable[[Request], None] | None = None,
        on_manifest: Callable[[Manifest], None] | None = None,
        curve: bytes | None = None,
        name: str = "peer",
        timing: Timing = Timing(),
    ) -> None:
        self.name = name
        self.store = store
        self._serve = serve
        self._on_manifest = on_manifest
        mailbox = keys if curve is None else replace(keys, curve=curve)
        epoch = int.from_bytes(os.urandom(4), "big")
        self._peer = Peer(keys=keys, curve_public=mailbox.curve_public, timing=timing)
        self._idents = itertools.count((epoch << 32) + 1)
        self._replies: dict[int, Callable[[bytes | Error], None]] = {}
        self._sinks: dict[bytes, StreamSink] = {}
        self._chunk: ev.Send | None = None
        self._manifest_waiters: deque[SimpleQueue[Manifest | Error]] = deque()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._io = IoThread(name=name, idle=self._idle)
        self._dealer = Dealer(
            io=self._io,
            context=self._context,
            on_frame=self._frame,
            on_turn=lambda turn: self._uplink.turned(turn),
        )
        self._uplink = Uplink(
            io=self._io,
            dealer=self._dealer,
            relay=relay,
            egress=egress,
            secret=mailbox.curve,
            public=mailbox.curve_public,
            feed=self._feed_here,
        )
        self._state = "new"

    @property
    def address(self) -> bytes:
        """Where this peer is reached."""
        return self._peer.address

    # -- life ----------------------------------------------------------------------------------

    def start(self, timeout: float = 10.0) -> None:
        """Connect, be let in, fetch and check the manifest; raises why not."""
        if self._state != "new":
            raise error("CLOSED", "an endpoint is started once")
        self._state = "running"
        settle()
        deadline = time.monotonic() + timeout
        outcome: SimpleQueue[Manifest | Error] = SimpleQueue()
        self._manifest_waiters.append(outcome)
        self._io.start()
        self._io.post(lambda: self._uplink.start(deadline, outcome.put))
        try:
            answer = outcome.get(timeout=timeout + 1.0)
        except Empty:
            answer = error("RELAY_UNREACHABLE", "the relay did not answer")
        if isinstance(answer, Error):
            self.close()
            raise answer

    def close(self) -> None:
        """Say goodbye and stop; calls still open end with CLOSED."""
        if self._state == "closed":
            return
        self._state = "closed"
        self._io.stop(self._goodbye)
        if not self._io.here():
            self._context.term()

    def _goodbye(self) -> None:
        for reply in list(self._replies.values()):
            self._call_back(reply, error("CLOSED", "the endpoint was closed"))
        self._replies.clear()
        for sink in list(self._sinks.values()):
            self._call_back(sink.failed, error("CLOSED", "the endpoint was closed"))
        self._sinks.clear()
        self._settle(error("CLOSED", "the endpoint was closed"))
        self._uplink.close()
        self._dealer.close(linger=LINGER_MS)

    def refresh_manifest(self, timeout: float = 5.0) -> Manifest:
        """Fetch the relay's manifest, check it, keep it if newer; the one in force."""
        return self._await_manifest(ev.Fetch(), timeout)

    def publish_manifest(self, data: bytes, timeout: float = 5.0) -> None:
        """Hand the relay a newer manifest (conveners only) and see that it serves it."""
        self._await_manifest(ev.Publish(data), timeout)
        if self.store.raw != data:
            raise error("MANIFEST", "the relay did not take the manifest")

    def _await_manifest(self, event: ev.Fetch | ev.Publish, timeout: float) -> Manifest:
        if self._io.here():
            raise error("ARGUMENT", "this waits for the relay, so not on the I/O thread")
        outcome: SimpleQueue[Manifest | Error] = SimpleQueue()

        def begin() -> None:
            self._manifest_waiters.append(outcome)
            self._feed_here(event)

        self._io.post(begin)
        try:
            answer = outcome.get(timeout=timeout)
        except Empty:
            raise error("RELAY_UNREACHABLE", "the relay did not answer in time") from None
        if isinstance(answer, Error):
            raise answer
        return answer

    # -- calls ---------------------------------------------------------------------------------

    def call(
        self,
        to: Card,
        body: Body,
        *,
        timeout: float,
        on_reply: Callable[[bytes | Error], None],
    ) -> int:
        """Call a peer; ``on_reply`` runs once, on the I/O thread.

        ``body`` may be a function of the session's handshake hash, for what must be bound to it; it
        is asked again when the call goes out again in another session.
        """
        if self._state != "running":
            raise error("CLOSED", "the endpoint is not running")
        ident = next(self._idents)
        if self._uplink.displaced:
            self.post(lambda: self._call_back(on_reply, replaced()))
            return ident
        self._replies[ident] = on_reply
        self.feed(ev.Ask(ident, to, body, time.monotonic() + timeout))
        return ident

    def call_wait(self, to: Card, body: Body, *, timeout: float) -> bytes:
        """Call a peer and wait for its reply."""
        if self._io.here():
            raise error("ARGUMENT", "call_wait would wait for itself on the I/O thread")
        outcome: SimpleQueue[bytes | Error] = SimpleQueue()
        self.call(to, body, timeout=timeout, on_reply=outcome.put)
        try:
            answer = outcome.get(timeout=timeout + 5.0)
        except Empty:
            raise error("TIMEOUT", "the peer did not answer in time") from None
        if isinstance(answer, Error):
            raise answer
        return answer

    def notify(self, to: Card, body: bytes) -> None:
        """Send a note; nobody says whether it arrived."""
        self.feed(ev.Tell(to, body))

    # -- the I/O thread ------------------------------------------------------------------------

    def post(self, fn: Callable[[], None]) -> None:
        """Run ``fn`` on the I/O thread."""
        self._io.post(fn)

    def later(self, seconds: float, fn: Callable[[], None]) -> None:
        """Run ``fn`` on the I/O thread after a while."""
        self._io.later(seconds, fn)

    def watch_fd(self, fd: int, on_readable: Callable[[], None]) -> None:
        """Call ``on_readable`` on the I/O thread while ``fd`` can be read (I/O thread only)."""
        self._io.watch(fd, zmq.POLLIN, lambda _: on_readable())

    def unwatch_fd(self, fd: int) -> None:
        """Stop watching ``fd`` (I/O thread only)."""
        self._io.unwatch(fd)

    # -- streams -------------------------------------------------------------------------------

    def send_stream(self, to: Card, source: StreamSource) -> None:
        """Let ``to`` read ``source`` (I/O thread; before the reply that names the stream)."""
        address, stream = to.address, source.stream
        source.on_change = lambda: self._feed_here(ev.Changed(address, stream))
        self._feed_here(ev.Offer(to, source))

    def read_stream(self, frm: Card, ticket_stream: bytes, sink: StreamSink) -> StreamReader:
        """Read a stream into ``sink``; the reader's ``grant`` keeps it flowing (any thread)."""
        address = frm.address
        self._sinks[address + ticket_stream] = sink
        self.feed(ev.Read(frm, ticket_stream))
        return StreamReader(self.feed, self._leave, address, ticket_stream)

    def _leave(self, frm: bytes, stream: bytes) -> None:
        self._sinks.pop(frm + stream, None)
        self.feed(ev.Leave(frm, stream))

    # -- carrying ------------------------------------------------------------------------------

    def feed(self, event: ev.Event) -> None:
        """Give the core an event from any thread."""
        if self._io.here():
            self._feed_here(event)
        else:
            self._io.post(lambda: self._feed_here(event))

    def _feed_here(self, event: ev.Event) -> None:
        for effect in self._peer.handle(event, time.monotonic()):
            kind = type(effect)
            if kind is ev.Send:
                self._dealer.send(effect.header, effect.body)  # type: ignore[union-attr]
            else:
                self._effects[kind](self, effect)

    def _frame(self, header: bytes, body: bytes) -> None:
        self._feed_here(ev.Arrived(header, body))

    def _idle(self) -> float | None:
        due = self._peer.deadline()
        if due is not None and due <= time.monotonic():
            self._feed_here(ev.Ticked())
            due = self._peer.deadline()
        if self._dealer.writable and self._pump():
            return 0.0
        return due

    def _pump(self) -> bool:
        """Send bulk while the socket takes it, a few chunks a round; whether there is more."""
        for _ in range(_CHUNKS_A_ROUND):
            chunk = self._chunk or self._peer.next_chunk(time.monotonic())
            if chunk is None:
                return False
            if not self._dealer.send_bulk(chunk.header, chunk.body):
                self._chunk = chunk
                return False
            self._chunk = None
        return True

    def _call_back(self, callback: Callable[..., Any], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:  # noqa: BLE001 - an owner's callback must not take the endpoint with it
            _LOG.exception("a callback of endpoint %s failed", self.name)

    def _replied(self, effect: ev.Replied) -> None:
        reply = self._replies.pop(effect.ident, None)
        if reply is not None:
            self._call_back(reply, self._uplink.colour(effect.outcome))

    def _asked(self, effect: ev.Asked) -> None:
        request = Request(self.feed, effect)
        if self._serve is None:
            request.decline(error("NOT_SUPPORTED", "this peer answers no calls"))
        else:
            self._call_back(self._serve, request)

    def _chunk_read(self, effect: ev.Chunk) -> None:
        key = effect.frm + effect.stream
        sink = self._sinks.pop(key, None) if effect.final else self._sinks.get(key)
        if sink is not None:
            self._call_back(sink.chunk, effect.index, effect.sealed, effect.final)

    def _broke(self, effect: ev.Broke) -> None:
        sink = self._sinks.pop(effect.frm + effect.stream, None)
        if sink is not None:
            self._call_back(sink.failed, effect.fault)

    def _welcomed(self, effect: ev.Welcomed) -> None:
        self._uplink.welcomed()
        current = self.store.current
        if self._manifest_waiters or current is None or current.version != effect.manifest_version:
            self._feed_here(ev.Fetch())
        else:
            self._enrol(current)

    def _enrol(self, manifest: Manifest) -> None:
        self._feed_here(ev.Enrolled(manifest))
        self._watch_expiry(manifest)
        if self._on_manifest is not None:
            self._on_manifest(manifest)

    def _watch_expiry(self, manifest: Manifest) -> None:
        """An expired manifest names nobody, also when it expires while the endpoint runs."""
        if manifest is not self.store.current:
            return
        left = manifest.expires / 1000 - time.time()
        if left > 0:
            self._io.later(min(left, EXPIRY_LOOK), lambda: self._watch_expiry(manifest))
        else:
            _LOG.warning("manifest version %s has expired", manifest.version)
            self._feed_here(ev.Lapsed())
            self._feed_here(ev.Fetch())

    def _fetched(self, effect: ev.Fetched) -> None:
        try:
            fresh = self.store.accept(effect.manifest, time.time_ns() // 1_000_000)
        except Error as fault:
            _LOG.warning("a manifest was not accepted: %s", fault.message)
            self._settle(fault)
            return
        current = self.store.current
        assert current is not None
        if fresh or self._manifest_waiters:
            self._enrol(current)
            self._settle(current)

    def _publish_refused(self, effect: ev.PublishRefused) -> None:
        self._settle(error("ROLE", "the relay takes no manifest from this peer"))

    def _stalled(self, effect: ev.Stalled) -> None:
        self._uplink.stalled()

    def _replaced(self, effect: ev.Replaced) -> None:
        """Nothing is heard here any more: who waits is told at once."""
        self._uplink.replaced()
        waiting, self._replies = self._replies, {}
        for reply in waiting.values():
            self._call_back(reply, replaced())

    def _settle(self, outcome: Manifest | Error) -> None:
        waiters, self._manifest_waiters = self._manifest_waiters, deque()
        for waiter in waiters:
            waiter.put(outcome)

    _effects: Final[dict[type, Callable[["Endpoint", Any], None]]] = {
        ev.Replied: _replied,
        ev.Asked: _asked,
        ev.Chunk: _chunk_read,
        ev.Broke: _broke,
        ev.Welcomed: _welcomed,
        ev.Fetched: _fetched,
        ev.PublishRefused: _publish_refused,
        ev.Stalled: _stalled,
        ev.Replaced: _replaced,
    }
