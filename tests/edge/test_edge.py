"""TLS edge and CONNECT tunnel on the loopback: real sockets, a private CA, hostile and honest peers."""

import base64
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "relay"))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
from relay_world import World
from test_three_hosts import certificates

from podsql.errors import Error
from podsql.relay.invite import RelayAddress
from podsql.relay.manifest import ManifestStore
from podsql.relay.sockets.edge import Edge
from podsql.relay.sockets.endpoint import Egress, Endpoint
from podsql.relay.sockets.router import Relay

LOGIN = "clinic:secret"


class Proxy:
    """An HTTP proxy that knows CONNECT only, for one target and one login."""

    def __init__(self, target: str, login: str = "") -> None:
        self.target, self.login = target, login
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                self.open.append(near)
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            token = base64.b64encode(self.login.encode())
            if self.login and b"Proxy-Authorization: Basic " + token not in head:
                near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                near.close()
            elif not head.startswith(f"CONNECT {self.target} ".encode()):
                near.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                near.close()
            else:
                host, port = self.target.rsplit(":", 1)
                far = socket.create_connection((host, int(port)))
                self.open.append(far)
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
                self._pump(near, far)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(65536):
                other.sendall(piece)
        for each in (one, other):
            each.close()

    def close(self) -> None:
        self.listener.close()
        for each in self.open:
            each.close()


class Site:
    """A relay behind its edge, and what peers need to reach it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder)
        certificates(folder, "127.0.0.1")
        secret = bytes(range(1, 33))
        self.relay = Relay(listen="tcp://127.0.0.1:*", secret=secret)
        self.relay.host(self.world.mark, self.world.store)
        self.relay.start()
        self.edge = Edge(
            listen="127.0.0.1:0",
            certificate=folder / "tls.pem",
            key=folder / "tls.key",
            target=self.relay.endpoint.removeprefix("tcp://"),
        )
        self.edge.start()

    def endpoint(self, name: str, egress: Egress, serve=None, host: str = "127.0.0.1") -> Endpoint:
        port = self.edge.address.rsplit(":", 1)[1]
        return Endpoint(
            keys=self.world.keys[name],
            relay=RelayAddress(endpoint=f"tls://{host}:{port}", curve=self.relay.public),
            store=ManifestStore(self.folder / f"{name}.seen", self.world.mark),
            egress=egress,
            serve=serve,
            name=name,
        )

    def close(self) -> None:
        self.edge.stop()
        self.relay.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@contextmanager
def proxy(target: str, login: str = "") -> Iterator[Proxy]:
    made = Proxy(target, login)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def started(*endpoints: Endpoint) -> Iterator[None]:
    try:
        for endpoint in endpoints:
            endpoint.start(timeout=15.0)
        yield
    finally:
        for endpoint in endpoints:
            endpoint.close()


def refusal(endpoint: Endpoint) -> Error:
    with pytest.raises(Error) as caught:
        endpoint.start(timeout=6.0)
    endpoint.close()
    return caught.value


def echo(request) -> None:
    request.reply(request.body)


@pytest.mark.parametrize("login", ["", LOGIN])
def test_a_call_goes_through_proxy_tls_and_edge_and_back(site, login):
    with proxy(site.edge.address, login) as way:
        place = f"{login}@{way.place}" if login else way.place
        egress = Egress(proxy=place, ca=site.folder / "ca.pem")
        pod = site.endpoint("north", egress, serve=echo)
        ana = site.endpoint("ana", egress)
        with started(pod, ana):
            card = site.world.store.current.by_name("north")
            body = bytes(range(256)) * 3000
            assert ana.call_wait(card, body, timeout=20) == body


def test_tls_without_a_proxy(site):
    pod = site.endpoint("north", Egress(ca=site.folder / "ca.pem"), serve=echo)
    ana = site.endpoint("ana", Egress(ca=site.folder / "ca.pem"))
    with started(pod, ana):
        card = site.world.store.current.by_name("north")
        assert ana.call_wait(card, b"x", timeout=20) == b"x"


def test_a_certificate_of_an_unknown_ca_is_refused_and_the_hint_names_the_option(site):
    fault = refusal(site.endpoint("ana", Egress()))
    assert fault.code == "PROXY"
    assert "not trusted" in fault.message
    assert "ca" in fault.hint


def test_a_certificate_of_another_host_is_refused(site):
    fault = refusal(site.endpoint("ana", Egress(ca=site.folder / "ca.pem"), host="localhost"))
    assert fault.code == "PROXY"
    assert "not trusted" in fault.message


def test_a_proxy_that_wants_a_login_says_so(site):
    with proxy(site.edge.address, LOGIN) as way:
        fault = refusal(site.endpoint("ana", Egress(proxy=way.place, ca=site.folder / "ca.pem")))
    assert (fault.code, "login" in fault.message) == ("PROXY", True)


def test_a_proxy_that_refuses_the_relay_is_named(site):
    with proxy("elsewhere:443") as way:
        fault = refusal(site.endpoint("ana", Egress(proxy=way.place, ca=site.folder / "ca.pem")))
    assert (fault.code, "403" in fault.message) == ("PROXY", True)


def test_a_dead_proxy_is_named(site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    fault = refusal(site.endpoint("ana", Egress(proxy=place, ca=site.folder / "ca.pem")))
    assert fault.code == "PROXY"
    assert place in fault.message


def test_what_answers_nonsense_is_no_proxy(site):
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def talk() -> None:
            with suppress(OSError):
                while True:
                    one = odd.accept()[0]
                    one.recv(4096)
                    one.sendall(b"SSH-2.0-odd\r\n\r\n")
                    one.close()

        threading.Thread(target=talk, daemon=True).start()
        place = f"127.0.0.1:{odd.getsockname()[1]}"
        fault = refusal(site.endpoint("ana", Egress(proxy=place, ca=site.folder / "ca.pem")))
    assert fault.code == "PROXY"


def test_attacks_13_to_15_silent_and_slow_connections_are_closed_and_hinder_nobody(site):
    host, port = site.edge.address.rsplit(":", 1)
    silent = [socket.create_connection((host, int(port))) for _ in range(200)]
    slow = socket.create_connection((host, int(port)))
    slow.sendall(b"\x16\x03\x01\x02\x00")  # the head of a ClientHello, and nothing more
    try:
        ana = site.endpoint("ana", Egress(ca=site.folder / "ca.pem"))
        with started(ana):
            assert ana.refresh_manifest().version == site.world.store.current.version
        for one in (*silent[:5], slow):
            one.settimeout(15.0)
            assert one.recv(1) == b""
    finally:
        for one in (*silent, slow):
            one.close()


def test_the_edge_speaks_no_old_tls(site):
    host, port = site.edge.address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(site.folder / "ca.pem")
    with (
        socket.create_connection((host, int(port))) as raw,
        context.wrap_socket(raw, server_hostname=host) as tls,
    ):
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
