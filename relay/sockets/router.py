"""The relay's one poller loop: a CURVE ROUTER, the cores' rules, and nothing that blocks.

Frames are read part by part and forwarded without a copy where they are large. Rule to keep:
identity is the CURVE key of the connection (ZAP's User-Id), never anything a peer wrote.
"""

import ctypes
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, cast

import zmq
from nacl.bindings import crypto_scalarmult_base

from podsql.errors import Error, error
from podsql.relay.claims import Claims
from podsql.relay.core import Connection
from podsql.relay.frames import BODY_LIMIT, HEADER_BYTES
from podsql.relay.hosting import Hosting
from podsql.relay.keys import z85
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore
from podsql.relay.queues import Body
from podsql.relay.sockets.zap import DOMAIN, ZapHandler

log = logging.getLogger("podsql.relay")

PARTS: Final = 3
BATCH: Final = 256
SWEEP_SECONDS: Final = 5.0
RETRY_MS: Final = 2
COPY_BELOW: Final = 4096


def seed_routing_ids() -> None:
    """libzmq starts its routing ids at an unseeded rand(): a guessable start lets a peer abort it."""
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))


class Relay:
    """A relay on a thread of its own, in a process of its own or inside a local federation."""

    def __init__(
        self,
        *,
        listen: str,
        secret: bytes,
        limits: RelayLimits = RelayLimits(),
        claims: Claims | None = None,
    ) -> None:
        self.public = crypto_scalarmult_base(secret)
        self.endpoint = listen
        self._listen = listen
        self._secret = secret
        self._due: deque[Connection] = deque()
        self._stuck: list[Connection] = []
        self.hosting = Hosting(limits, self._ready, claims)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self.zap = ZapHandler(self._context, self.hosting)
        self._thread: threading.Thread | None = None
        self._ending = False
        self._commands = f"inproc://relay-commands-{id(self)}"
        self._wanted: SimpleQueue[tuple[Callable[[], object], Future[None]]] = SimpleQueue()

    def start(self) -> None:
        """Bind and serve; RELAY_UNREACHABLE if the endpoint cannot be bound."""
        seed_routing_ids()
        self.zap.start()
        router = self._context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = z85(self._secret)
        router.zap_domain = DOMAIN
        for option, value in (
            (zmq.ZAP_ENFORCE_DOMAIN, 1),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.ROUTER_HANDOVER, 0),
            (zmq.MAXMSGSIZE, BODY_LIMIT),
            (zmq.SNDHWM, 1024),
            (zmq.RCVHWM, 16),
            (zmq.LINGER, 0),
            (zmq.HANDSHAKE_IVL, 5000),
            (zmq.BACKLOG, 4096),
            (zmq.HEARTBEAT_IVL, 15_000),
            (zmq.HEARTBEAT_TIMEOUT, 45_000),
            (zmq.HEARTBEAT_TTL, 45_000),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 60),
            (zmq.TCP_MAXRT, 60_000),
        ):
            router.setsockopt(option, value)
        commands = self._context.socket(zmq.PULL)
        commands.bind(self._commands)
        try:
            router.bind(self._listen)
        except zmq.ZMQError as fault:
            self.zap.stop()
            self._context.destroy(linger=0)
            raise error("RELAY_UNREACHABLE", f"cannot listen at {self._listen}: {fault}") from None
        self.endpoint = cast("bytes", router.LAST_ENDPOINT).decode().rstrip("\0")
        self._router = router
        self._thread = threading.Thread(
            target=self._run, args=(commands,), name="relay", daemon=True
        )
        self._thread.start()

    def stop(self, *, drain_ms: int = 0) -> None:
        """Announce a restart if ``drain_ms``, then stop."""
        if self._thread is None:
            return
        self._do(lambda: self._end(drain_ms))
        self._thread.join(10.0)
        self._thread = None
        self.zap.stop()
        self._context.destroy(linger=0)

    def host(self, federation: str, store: ManifestStore) -> None:
        """Serve a federation too, from now on; others notice nothing."""
        self._do(lambda: self.hosting.host(federation, store))

    def drop(self, federation: str) -> None:
        """Serve a federation no more."""
        self._do(lambda: self.hosting.drop(federation, time.monotonic()))

    def adopt(self, federation: str, manifest: bytes) -> None:
        """Take a newer manifest of a hosted federation; MANIFEST for any other."""
        core = self.hosting.cores[federation]
        self._do(lambda: core.adopt(manifest, time.monotonic(), _now_ms()))

    def status(self) -> dict[str, Any]:
        """Counters of the process, for whoever runs it."""
        cores = self.hosting.cores.values()
        return {
            "federations": len(cores),
            "connections": sum(len(core) for core in cores),
            "handshakes": {"admitted": self.zap.admitted, "refused": self.zap.refused},
            "queued_bytes": sum(core.waiting for core in cores),
            "drops": dict(self.hosting.drops),
            "draining": self.hosting.draining,
        }

    # -- the loop ------------------------------------------------------------------------------

    def _do(self, action: Callable[[], object]) -> None:
        """Run ``action`` where the cores live, and wait for it."""
        if self._thread is None:
            action()
            return
        done: Future[None] = Future()
        self._wanted.put((action, done))
        with self._context.socket(zmq.PUSH) as waker:
            waker.linger = 1000
            waker.connect(self._commands)
            waker.send(b"")
            done.result(10.0)

    def _run(self, commands: "zmq.Socket[bytes]") -> None:
        router, poller = self._router, zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(commands, zmq.POLLIN)
        swept = tried = time.monotonic()
        while not self._ending:
            wait = RETRY_MS if self._stuck else int(SWEEP_SECONDS * 1000)
            ready = dict(poller.poll(wait))
            if router in ready:
                self._receive(router)
            now = time.monotonic()
            if now - tried > RETRY_MS / 1000:
                # Peers that do not read cost others nothing in between.
                tried = now
                self._due.extend(self._stuck)
                self._stuck.clear()
            self._flush(router)
            if now - swept > SWEEP_SECONDS:
                swept = now
                self.hosting.sweep(now)
            if commands in ready:
                commands.recv()
                self._act()
        self._flush(router)
        commands.close(linger=0)
        router.close(linger=200)

    def _act(self) -> None:
        action, done = self._wanted.get()
        try:
            action()
        except Error as fault:
            done.set_exception(fault)
        else:
            done.set_result(None)

    def _end(self, drain_ms: int) -> None:
        self._ending = True
        if drain_ms:
            self.hosting.drain(drain_ms, drain_ms, time.monotonic())

    def _receive(self, router: "zmq.Socket[bytes]") -> None:
        now, now_ms = time.monotonic(), _now_ms()
        for _ in range(BATCH):
            try:
                first = router.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            parts: list[zmq.Frame] = [first]
            while parts[-1].more and len(parts) <= PARTS:
                parts.append(router.recv(zmq.NOBLOCK, copy=False))
            rest = parts[-1].more
            while rest:
                # Too many parts: taken off one by one and thrown away, never gathered.
                rest = router.recv(zmq.NOBLOCK, copy=False).more
            curve = _curve(parts[-1])
            if len(parts) != PARTS or len(parts[1]) != HEADER_BYTES:
                self.hosting.malformed(curve, now)
                continue
            body: Body = parts[2] if len(parts[2]) >= COPY_BELOW else parts[2].bytes
            self.hosting.arrived(first.bytes, curve, parts[1].bytes, body, now, now_ms)
            self._flush(router)

    def _ready(self, connection: Connection) -> None:
        if not connection.due:
            connection.due = True
            self._due.append(connection)

    def _flush(self, router: "zmq.Socket[bytes]") -> None:
        """Send what may go, a parcel a peer in turn; what the socket does not take stays."""
        due = self._due
        now = time.monotonic() if due else 0.0
        while due:
            connection = due.popleft()
            core, queue = connection.core, connection.queue
            before = queue.waiting
            parcel = queue.next(now)
            core.waiting -= before - queue.waiting
            if parcel is None:
                connection.due = False
                continue
            try:
                router.send(connection.route, zmq.SNDMORE | zmq.NOBLOCK)
                router.send(parcel.header, zmq.SNDMORE | zmq.NOBLOCK)
                # A body that many get (a manifest) is held once.
                body = cast("bytes | zmq.Frame", parcel.body)
                router.send(body, zmq.NOBLOCK, copy=len(body) < COPY_BELOW)
            except zmq.Again:
                self._stuck.append(connection)
                continue
            except zmq.ZMQError:
                # EHOSTUNREACH: the connection is gone.
                connection.due = False
                core.lost(connection, now)
                continue
            queue.took(parcel)
            core.waiting -= parcel.size
            due.append(connection)


def _curve(frame: zmq.Frame) -> bytes:
    """The CURVE key the connection proved (ZAP's User-Id, hexadecimal)."""
    try:
        return bytes.fromhex(str(frame.get("User-Id")))
    except (zmq.ZMQError, ValueError):
        return b""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
