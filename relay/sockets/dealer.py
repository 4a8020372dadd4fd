"""The DEALER socket towards the relay: built, watched, rebuilt; used on the I/O thread only.

libzmq never tells its user that a peer was refused (ZAP 400 kills the connection for good) or that
the relay's key is wrong (it tries for ever), so a monitor socket is read and turned into events.
Rule to keep: no send or receive here ever blocks.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import SystemRandom
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from podsql.relay.frames import BODY_LIMIT
from podsql.relay.keys import z85
from podsql.relay.sockets.iothread import IoThread

_LOG: Final = logging.getLogger("podsql.relay")
_WATCHED: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)
_CONTROL_LIMIT: Final = 4096
_BATCH: Final = 64
_COPY_BELOW: Final = 16_384
# Plain ints: the hot path would otherwise spend more on enum arithmetic than on the frames.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE: Final = int(zmq.POLLIN)
_WRITABLE: Final = int(zmq.POLLOUT)


class Turn(Enum):
    """What the monitor says of the connection."""

    UP = 1
    DOWN = 2
    REFUSED = 3
    """ZAP 400 or 500: this socket will never connect again."""
    NOT_YET = 4
    """ZAP 300: libzmq goes on trying."""
    NO_HANDSHAKE = 5
    """No CURVE handshake: another relay key, or a relay that just went away."""
    NOT_A_RELAY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Where and how to connect. ``target`` is ``tcp://address:port``, names already resolved."""

    target: str
    relay_key: bytes
    secret: bytes
    public: bytes
    socks: str | None = None
    socks_user: str | None = None
    socks_password: str | None = None


class Dealer:
    """One socket after another to the same relay."""

    def __init__(
        self,
        *,
        io: IoThread,
        context: "zmq.Context[zmq.Socket[bytes]]",
        on_frame: Callable[[bytes, bytes], None],
        on_turn: Callable[[Turn], None],
    ) -> None:
        self._io = io
        self._context = context
        self._on_frame = on_frame
        self._on_turn = on_turn
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Any = None
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._blocked = False

    def connect(self, wiring: Wiring) -> None:
        """Build the socket and begin to connect."""
        self.close(linger=0)
        made = self._context.socket(zmq.DEALER)
        made.curve_secretkey = z85(wiring.secret)
        made.curve_publickey = z85(wiring.public)
        made.curve_serverkey = z85(wiring.relay_key)
        for option, value in (
            (zmq.IMMEDIATE, 1),
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, BODY_LIMIT),
            (zmq.SNDHWM, 16),
            (zmq.RCVHWM, 16),
            (zmq.HANDSHAKE_IVL, 10_000),
            (zmq.HEARTBEAT_IVL, 15_000),
            (zmq.HEARTBEAT_TIMEOUT, 45_000),
            (zmq.HEARTBEAT_TTL, 45_000),
            (zmq.CONNECT_TIMEOUT, 10_000),
            (zmq.RECONNECT_IVL, int(SystemRandom().uniform(50, 250))),
            (zmq.RECONNECT_IVL_MAX, int(SystemRandom().uniform(2_000, 5_000))),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 60),
        ):
            made.setsockopt(option, value)
        if "[" in wiring.target:
            made.setsockopt(zmq.IPV6, 1)
        if wiring.socks:
            made.setsockopt(zmq.SOCKS_PROXY, wiring.socks.encode())
            if wiring.socks_user:
                made.setsockopt(zmq.SOCKS_USERNAME, wiring.socks_user.encode())
                made.setsockopt(zmq.SOCKS_PASSWORD, (wiring.socks_password or "").encode())
        self._monitor = made.get_monitor_socket(_WATCHED)
        self._io.watch(self._monitor, zmq.POLLIN, lambda _: self._watch())
        self._io.watch(made, zmq.POLLIN, self._ready)
        self._socket = made
        made.connect(wiring.target)

    def close(self, *, linger: int) -> None:
        """Drop the socket; frames not yet sent get ``linger`` ms."""
        if self._socket is None:
            return
        self._io.unwatch(self._monitor)
        self._io.unwatch(self._socket)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger)
        self._socket = self._monitor = None
        self.forget()

    def forget(self) -> None:
        """Drop what waits to be sent: it belongs to a connection that is gone."""
        self._waiting.clear()
        self._block(False)

    def send(self, header: bytes, body: bytes) -> None:
        """Send a control frame, or queue it until the socket takes it."""
        if self._waiting or not self._push(header, body):
            self._waiting.append((header, body))
            if len(self._waiting) > _CONTROL_LIMIT:
                self._waiting.popleft()
            self._block(True)

    def send_bulk(self, header: bytes, body: bytes) -> bool:
        """Send a bulk frame now, or say that the socket is full."""
        if self._waiting or not self._push(header, body):
            self._block(True)
            return False
        return True

    @property
    def writable(self) -> bool:
        """Whether a bulk frame may be tried."""
        return self._socket is not None and not self._blocked

    def _push(self, header: bytes, body: bytes) -> bool:
        made = self._socket
        if made is None:
            return True
        try:
            # Both frames or none: once the first is taken, libzmq takes the rest of the message.
            made.send(header, _MORE)
            made.send(body, _NOBLOCK, copy=len(body) < _COPY_BELOW)
        except zmq.Again:
            return False
        return True

    def _block(self, blocked: bool) -> None:
        if blocked != self._blocked:
            self._blocked = blocked
            if self._socket is not None:
                flags = zmq.POLLIN | zmq.POLLOUT if blocked else zmq.POLLIN
                self._io.watch(self._socket, flags, self._ready)

    def _ready(self, flags: int) -> None:
        if flags & _WRITABLE:
            self._drain()
        if flags & _READABLE:
            self._receive()

    def _drain(self) -> None:
        while self._waiting:
            if not self._push(*self._waiting[0]):
                return
            self._waiting.popleft()
        # The idle step of the loop goes on with bulk.
        self._block(False)

    def _receive(self) -> None:
        for _ in range(_BATCH):
            made = self._socket
            if made is None:
                return
            try:
                part = made.recv(_NOBLOCK, copy=False)
            except zmq.Again:
                return
            header, body, frames = part.bytes, b"", 1
            while part.more:
                part = made.recv(_NOBLOCK, copy=False)
                frames += 1
                if frames == 2:
                    body = part.bytes
            if frames == 2:
                self._on_frame(header, body)

    def _watch(self) -> None:
        monitor = self._monitor
        while monitor is not None and monitor is self._monitor:
            try:
                message = recv_monitor_message(monitor, zmq.NOBLOCK)
            except zmq.Again:
                return
            turn = _turn(message["event"], message["value"])
            _LOG.debug("relay connection: %s", turn.name)
            self._on_turn(turn)


def _turn(event: int, value: int) -> Turn:
    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        return Turn.UP
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return Turn.NOT_YET if value == 300 else Turn.REFUSED
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return Turn.NO_HANDSHAKE
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return Turn.NOT_A_RELAY
    return Turn.DOWN
