"""A relay in the attacker's hands: speaks the wire, passes frames on, and lets a test meddle.

Independent of the product's relay on purpose: about as little as a relay can be (ROUTER, CURVE,
source addresses from the CURVE key), plus ``meddle(header, body) -> frames to deliver``.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

import zmq
from zmq.utils.z85 import decode as z85_decode
from zmq.utils.z85 import encode as z85_encode

from podsql.relay.frames import Header, Kind, Nack, address_of, decode
from podsql.relay.greeting import Welcome
from podsql.relay.greeting import encode as encode_greeting

Frames = list[tuple[bytes, bytes]]


def pass_on(header: bytes, body: bytes) -> Frames:
    """Meddle with nothing."""
    return [(header, body)]


class HostileRelay:
    """Runs in a thread of the test; ``seen`` keeps every frame it was given."""

    def __init__(
        self, secret: bytes, public: bytes, manifest: bytes, *, port: int | None = None
    ) -> None:
        self.manifest = manifest
        self.meddle: Callable[[bytes, bytes], Frames] = pass_on
        self.seen: list[tuple[bytes, bytes]] = []
        self.silent = False
        self._routes: dict[bytes, bytes] = {}
        self.admit: Callable[[bytes], bool] = lambda key: True
        self._context = zmq.Context()
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind("inproc://zeromq.zap.01")
        self._router = self._context.socket(zmq.ROUTER)
        self._router.zap_domain = b"relay"
        self._router.curve_server = True
        self._router.curve_secretkey = z85_encode(secret)
        self._router.curve_publickey = z85_encode(public)
        self._router.setsockopt(zmq.LINGER, 0)
        self.hellos = self.refusals = 0
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 0)
        if port is None:
            port = self._router.bind_to_random_port("tcp://127.0.0.1")
        else:
            self._router.bind(f"tcp://127.0.0.1:{port}")
        self.port = port
        self._bell = self._context.socket(zmq.PAIR)
        self._bell.bind("inproc://bell")
        self._ringer = self._context.socket(zmq.PAIR)
        self._ringer.connect("inproc://bell")
        self._injected: Frames = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def inject(self, header: bytes, body: bytes) -> None:
        """Deliver a frame that nobody sent, to the peer that ``dst`` names."""
        self._injected.append((header, body))
        self._ringer.send(b"inject")

    def close(self) -> None:
        self._ringer.send(b"stop")
        self._thread.join()
        self._ringer.close(linger=0)
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._bell, zmq.POLLIN)
        poller.register(self._zap, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._bell in ready:
                if self._bell.recv() == b"stop":
                    break
                while self._injected:
                    self._deliver(*self._injected.pop(0))
            if self._zap in ready:
                asked = self._zap.recv_multipart()
                status = b"200" if self.admit(asked[6]) else b"400"
                self.refusals += status != b"200"
                user = z85_encode(asked[6])
                self._zap.send_multipart([asked[0], asked[1], status, b"", user, b""])
            if self._router in ready:
                frames = self._router.recv_multipart(copy=False)
                key = z85_decode(frames[0].get("User-Id").encode())
                self._take(frames[0].bytes, address_of(key), frames[1].bytes, frames[2].bytes)
        self._router.close(linger=0)
        self._bell.close(linger=0)
        self._zap.close(linger=0)

    def _take(self, route: bytes, source: bytes, header: bytes, body: bytes) -> None:
        head = decode(header)
        self._routes[source] = route
        self.hellos += head.kind is Kind.HELLO
        if self.silent:
            return
        if head.kind is Kind.HELLO:
            welcome = encode_greeting(Welcome(address=source, manifest_version=1))
            self._reply(route, Kind.WELCOME, welcome)
        elif head.kind is Kind.PING:
            self._reply(route, Kind.PONG, b"")
        elif head.kind is Kind.FETCH:
            self._reply(route, Kind.MANIFEST, self.manifest)
        elif head.kind is Kind.PUBLISH:
            self.manifest = body
        elif head.kind in (Kind.SEND, Kind.STREAM):
            stamped = replace(head, src=source).encode()
            self.seen.append((stamped, body))
            for out in self.meddle(stamped, body):
                if not self._deliver(*out):
                    nack = Header(kind=Kind.NACK, dst=source, flow=head.flow, seq=Nack.OFFLINE)
                    self._router.send_multipart([route, nack.encode(), b""])

    def _deliver(self, header: bytes, body: bytes) -> bool:
        route = self._routes.get(header[8:24])
        if route is None:
            return False
        self._router.send_multipart([route, header, body])
        return True

    def _reply(self, route: bytes, kind: Kind, body: bytes) -> None:
        self._router.send_multipart([route, Header(kind=kind).encode(), body])
