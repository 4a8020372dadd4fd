"""The relay's one poller loop: a CURVE ROUTER, the core's rules, and nothing that blocks.

Frames are read part by part and forwarded without a copy where they are large. Rule to keep:
identity is the CURVE key of the connection (ZAP's User-Id), never anything a peer wrote.
"""

import ctypes
import logging
import os
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final, cast

import zmq
from nacl.bindings import crypto_scalarmult_base

from podsql.errors import error
from podsql.relay.core import Connection, RelayCore
from podsql.relay.frames import BODY_LIMIT, HEADER_BYTES
from podsql.relay.keys import z85
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore
from podsql.relay.queues import Body
from podsql.relay.roster import Roster
from podsql.relay.sockets.zap import DOMAIN, ZapHandler

log = logging.getLogger("podsql.relay")

PARTS: Final = 3
BATCH: Final = 256
SWEEP_SECONDS: Final = 5.0
RETRY_MS: Final = 2
COPY_BELOW: Final = 4096
_STOP: Final = b"stop"


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
        federation: str,
        manifest: bytes | None = None,
        store: ManifestStore | None = None,
        limits: RelayLimits = RelayLimits(),
    ) -> None:
        self.public = crypto_scalarmult_base(secret)
        self.endpoint = listen
        self._listen = listen
        self._secret = secret
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if store is None:
            self._folder = tempfile.TemporaryDirectory(prefix="podsql-relay-")
            store = ManifestStore(Path(self._folder.name) / "manifest.bin", federation)
        if manifest is not None:
            store.accept(manifest, _now_ms())
        self.roster = Roster(store)
        self._due: deque[Connection] = deque()
        self._queued: set[bytes] = set()
        self.core = RelayCore(self.roster, limits, self._ready)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self.zap = ZapHandler(self._context, self.roster)
        self._thread: threading.Thread | None = None
        self._commands = f"inproc://relay-commands-{id(self)}"

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
        commands = self._context.socket(zmq.PAIR)
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
        with self._context.socket(zmq.PAIR) as asker:
            asker.linger = 1000
            asker.connect(self._commands)
            asker.send_multipart([_STOP, str(drain_ms).encode()])
            self._thread.join(10.0)
        self._thread = None
        self.zap.stop()
        self._context.destroy(linger=0)
        if self._folder is not None:
            self._folder.cleanup()

    def status(self) -> dict[str, Any]:
        """Counters, without identities."""
        core = self.core
        return {
            "connections": len(core),
            "handshakes": {"admitted": self.zap.admitted, "refused": self.zap.refused},
            "messages": core.messages,
            "bytes": core.bytes,
            "queued_bytes": core.waiting,
            "drops": dict(core.drops),
            "manifest_version": self.roster.version,
            "draining": core.draining,
        }

    # -- the loop ------------------------------------------------------------------------------

    def _run(self, commands: "zmq.Socket[bytes]") -> None:
        router, poller = self._router, zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(commands, zmq.POLLIN)
        swept = time.monotonic()
        while True:
            wait = RETRY_MS if self._due else int(SWEEP_SECONDS * 1000)
            ready = dict(poller.poll(wait))
            if router in ready:
                self._receive(router)
            self._flush(router)
            now = time.monotonic()
            if now - swept > SWEEP_SECONDS:
                swept = now
                self.core.sweep(now)
            if commands in ready:
                drain = int(commands.recv_multipart()[1])
                if drain:
                    self.core.drain(drain, drain, now)
                    self._flush(router)
                break
        commands.close(linger=0)
        router.close(linger=200)

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
                self.core.malformed(curve, now)
                continue
            body: Body = parts[2] if len(parts[2]) >= COPY_BELOW else parts[2].bytes
            self.core.arrived(first.bytes, curve, parts[1].bytes, body, now, now_ms)
            self._flush(router)

    def _ready(self, connection: Connection) -> None:
        if connection.route not in self._queued:
            self._queued.add(connection.route)
            self._due.append(connection)

    def _flush(self, router: "zmq.Socket[bytes]") -> None:
        """Send what may go, a parcel a peer in turn; what the socket does not take stays."""
        stuck: list[Connection] = []
        due, core = self._due, self.core
        now = time.monotonic() if due else 0.0
        while due:
            connection = due.popleft()
            queue = connection.queue
            before = queue.waiting
            parcel = queue.next(now)
            core.waiting -= before - queue.waiting
            if parcel is None:
                self._queued.discard(connection.route)
                continue
            try:
                router.send(connection.route, zmq.SNDMORE | zmq.NOBLOCK)
                router.send(parcel.header, zmq.SNDMORE | zmq.NOBLOCK)
                body = parcel.body
                if isinstance(body, bytes):
                    router.send(body, zmq.NOBLOCK)
                else:
                    router.send(cast("zmq.Frame", body), zmq.NOBLOCK, copy=False)
            except zmq.Again:
                stuck.append(connection)
                continue
            except zmq.ZMQError:
                # EHOSTUNREACH: the connection is gone.
                self._queued.discard(connection.route)
                core.lost(connection, now)
                continue
            queue.took(parcel)
            core.waiting -= parcel.size
            due.append(connection)
        due.extend(stuck)


def _curve(frame: zmq.Frame) -> bytes:
    """The CURVE key the connection proved (ZAP's User-Id, hexadecimal)."""
    try:
        return bytes.fromhex(str(frame.get("User-Id")))
    except (zmq.ZMQError, ValueError):
        return b""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
