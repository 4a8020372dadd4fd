"""Endpoints over real sockets and a relay of the test's own (``hostile.py``)."""

import hashlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest
from hostile import HostileRelay
from people import Federation, federation

from podsql.errors import Error, error
from podsql.relay.frames import Kind, decode
from podsql.relay.invite import RelayAddress, invite_curve, secret_hash
from podsql.relay.keys import PeerKeys, fingerprint
from podsql.relay.link import Heartbeat
from podsql.relay.manifest import InviteEntry
from podsql.relay.peer import Timing
from podsql.relay.records import Step
from podsql.relay.sealing import ChunkOpener, ChunkSealer, new_stream
from podsql.relay.sockets.endpoint import Egress, Endpoint, Request
from podsql.relay.streams import StreamSource

ROLES = {"ana": "analyst", "bob": "analyst", "north": "pod", "south": "pod", "rules": "service"}
CHUNK = 1 << 16


class Stage:
    """A federation, its relay, and endpoints that are closed at the end."""

    def __init__(self, folder: Path, members: Federation) -> None:
        self.folder = folder
        self.members = members
        self.relay_keys = PeerKeys.generate()
        self.relay = self.make_relay()
        self.endpoints: list[Endpoint] = []

    def make_relay(self, port: int | None = None) -> HostileRelay:
        keys = self.relay_keys
        return HostileRelay(keys.curve, keys.curve_public, self.members.data, port=port)

    @property
    def address(self) -> RelayAddress:
        return RelayAddress(
            endpoint=f"tcp://127.0.0.1:{self.relay.port}", curve=self.relay_keys.curve_public
        )

    def endpoint(self, name: str, **options) -> Endpoint:
        options.setdefault("relay", self.address)
        made = Endpoint(
            keys=self.members.keys[name],
            store=self.members.store(self.folder, name),
            name=name,
            **options,
        )
        self.endpoints.append(made)
        return made

    def join(self, name: str, **options) -> Endpoint:
        made = self.endpoint(name, **options)
        made.start(10)
        return made

    def close(self) -> None:
        for each in self.endpoints:
            each.close()
        self.relay.close()


@contextmanager
def stage_for(folder: Path, members: Federation) -> Iterator[Stage]:
    made = Stage(folder, members)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_for(tmp_path, federation(ROLES)) as made:
        yield made


def echo(request: Request) -> None:
    request.reply(request.peer.name.encode() + b":" + request.body)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something that another thread will bring about."""
    end = time.monotonic() + seconds
    waiting = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        waiting.wait(0.01)
    return True


class Whole:
    """A sink that opens chunks, hashes them and grants credit."""

    def __init__(self, stream: bytes, key: bytes) -> None:
        self.opener = ChunkOpener(stream, key)
        self.digest = hashlib.sha256()
        self.chunks = 0
        self.done: SimpleQueue[str] = SimpleQueue()
        self.grant: Callable[[int], None] = lambda count: None
        self.on_chunk: Callable[[int], None] = lambda index: None

    def chunk(self, index: int, sealed: bytes, final: bool) -> None:
        assert index == self.chunks
        self.chunks += 1
        self.digest.update(self.opener.open(index, sealed, final))
        self.on_chunk(index)
        self.grant(1)
        if final:
            self.done.put("whole")

    def failed(self, fault: Error) -> None:
        self.done.put(fault.code)


@pytest.mark.parametrize(
    ("frm", "to"),
    [
        ("ana", "north"),
        ("ana", "rules"),
        ("north", "rules"),
        ("north", "south"),
        ("rules", "north"),
    ],
)
def test_every_kind_of_session_carries_a_call(stage, frm, to):
    stage.join(to, serve=echo)
    caller = stage.join(frm)
    answer = caller.call_wait(stage.members.cards[to], b"hello", timeout=10)
    assert answer == frm.encode() + b":hello"


def test_a_modeller_calls_a_pod_as_an_analyst_does(tmp_path):
    with stage_for(tmp_path, federation({"mo": "modeller", "north": "pod"})) as stage:
        stage.join("north", serve=echo)
        mo = stage.join("mo")
        assert mo.call_wait(stage.members.cards["north"], b"x", timeout=10) == b"mo:x"


def test_an_invitee_reaches_the_convener_with_its_invites_key(tmp_path):
    secret = os.urandom(32)
    curve = invite_curve(secret)
    keys = PeerKeys.generate()
    mailbox = PeerKeys(identity=os.urandom(32), noise=os.urandom(32), curve=curve)
    invite = InviteEntry(
        curve=mailbox.curve_public,
        secret_hash=secret_hash(secret),
        name="new",
        role="pod",
        expires=2**50,
    )
    members = federation({"chair": "convener"}, invites=(invite,))
    with stage_for(tmp_path, members) as stage:
        stage.join("chair", serve=lambda request: request.reply(request.peer.role.encode()))
        newcomer = Endpoint(
            keys=keys,
            relay=stage.address,
            store=members.store(tmp_path, "new"),
            curve=curve,
        )
        stage.endpoints.append(newcomer)
        newcomer.start()
        assert newcomer.call_wait(members.cards["chair"], b"join", timeout=10) == b"invitee"


def test_a_reply_may_come_later_and_from_another_thread(stage):
    held: SimpleQueue[Request] = SimpleQueue()
    stage.join("north", serve=held.put)
    ana = stage.join("ana")
    replies: SimpleQueue[bytes | Error] = SimpleQueue()
    for body in (b"1", b"2"):
        ana.call(stage.members.cards["north"], body, timeout=10, on_reply=replies.put)
    first, second = held.get(timeout=10), held.get(timeout=10)
    second.reply(second.body)
    assert replies.get(timeout=10) == b"2"
    first.decline(error("BUSY", "not now"))
    refused = replies.get(timeout=10)
    assert isinstance(refused, Error)
    assert refused.code == "BUSY"


def test_a_body_bound_to_its_session_matches_what_the_other_side_sees(stage):
    stage.join(
        "north",
        serve=lambda request: request.reply(b"%d" % (request.body == request.handshake)),
    )
    ana = stage.join("ana")
    assert ana.call_wait(stage.members.cards["north"], lambda h: h, timeout=10) == b"1"


def test_notes_arrive_and_want_no_reply(stage):
    notes: SimpleQueue[Request] = SimpleQueue()
    stage.join("north", serve=notes.put)
    ana = stage.join("ana")
    ana.notify(stage.members.cards["north"], b"note")
    note = notes.get(timeout=10)
    assert note.body == b"note"
    assert not note.wants_reply


def test_a_peer_that_serves_nothing_says_so(stage):
    stage.join("north")
    ana = stage.join("ana")
    with pytest.raises(Error) as refused:
        ana.call_wait(stage.members.cards["north"], b"x", timeout=10)
    assert refused.value.code == "NOT_SUPPORTED"


def test_a_body_over_the_limit_is_refused_on_either_side(stage):
    stage.join("north", serve=lambda request: request.reply(bytes(2 << 20)))
    ana = stage.join("ana")
    for body in (bytes(2 << 20), b"small"):
        with pytest.raises(Error) as refused:
            ana.call_wait(stage.members.cards["north"], body, timeout=10)
        assert refused.value.code == "ARGUMENT"
    big = bytes((1 << 20) - 64)
    stage.join("south", serve=lambda request: request.reply(request.body))
    assert ana.call_wait(stage.members.cards["south"], big, timeout=10) == big


def test_a_callback_that_raises_does_not_end_the_endpoint(stage, caplog):
    def serve(request: Request) -> None:
        if request.body == b"bad":
            raise ValueError
        echo(request)

    stage.join("north", serve=serve)
    ana = stage.join("ana")
    with pytest.raises(Error):
        ana.call_wait(stage.members.cards["north"], b"bad", timeout=0.3)
    assert ana.call_wait(stage.members.cards["north"], b"good", timeout=10) == b"ana:good"
    assert "callback" in caplog.text


def test_closing_ends_open_calls_with_an_error(stage):
    stage.join("north", serve=lambda request: None)
    ana = stage.join("ana")
    replies: SimpleQueue[bytes | Error] = SimpleQueue()
    ana.call(stage.members.cards["north"], b"x", timeout=60, on_reply=replies.put)
    ana.close()
    answer = replies.get(timeout=10)
    assert isinstance(answer, Error)
    assert answer.code == "CLOSED"
    with pytest.raises(Error):
        ana.call_wait(stage.members.cards["north"], b"x", timeout=1)


def test_timers_posts_and_descriptors_run_on_the_io_thread(stage):
    ana = stage.join("ana")
    seen: SimpleQueue[tuple[str, str]] = SimpleQueue()

    def note(what: str) -> Callable[[], None]:
        return lambda: seen.put((what, threading.current_thread().name))

    reading, writing = os.pipe()
    try:

        def readable() -> None:
            os.read(reading, 1)
            note("fd")()

        ana.post(lambda: ana.watch_fd(reading, readable))
        ana.post(note("post"))
        ana.later(0.05, note("timer"))
        os.write(writing, b"x")
        found = dict(seen.get(timeout=10) for _ in range(3))
        assert set(found) == {"post", "timer", "fd"}
        assert set(found.values()) == {"podsql-ana"}
        done = threading.Event()
        ana.post(lambda: (ana.unwatch_fd(reading), done.set()))
        assert done.wait(10)
    finally:
        os.close(reading)
        os.close(writing)


def offer_stream(pod: Endpoint, to, chunks: int, folder: Path) -> tuple[bytes, bytes, bytes]:
    """Begin to serve a stream; its id, key and the digest of what it holds."""
    stream, key = new_stream()
    source = StreamSource(stream, folder=folder, memory=8 * CHUNK)
    sealer = ChunkSealer(stream, key)
    digest = hashlib.sha256()
    ready = threading.Event()

    def begin() -> None:
        pod.send_stream(to, source)
        for index in range(chunks):
            data = os.urandom(CHUNK)
            digest.update(data)
            source.append(sealer.seal(index, data, index == chunks - 1), index == chunks - 1)
        ready.set()

    pod.post(begin)
    assert ready.wait(30)
    return stream, key, digest.digest()


def read_whole(reader: Endpoint, frm, stream: bytes, key: bytes) -> Whole:
    sink = Whole(stream, key)
    handle = reader.read_stream(frm, stream, sink)
    sink.grant = handle.grant
    # The first chunks may have come before the handle was known.
    handle.grant(sink.chunks)
    return sink


def test_a_stream_arrives_whole(stage, tmp_path):
    pod, ana = stage.join("north"), stage.join("ana")
    stream, key, digest = offer_stream(pod, stage.members.cards["ana"], 100, tmp_path)
    sink = read_whole(ana, stage.members.cards["north"], stream, key)
    assert sink.done.get(timeout=30) == "whole"
    assert sink.digest.digest() == digest
    assert sink.chunks == 100


def test_a_stream_goes_on_after_the_relay_was_replaced(stage, tmp_path):
    pod, ana = stage.join("north"), stage.join("ana")
    stream, key, digest = offer_stream(pod, stage.members.cards["ana"], 200, tmp_path)
    at_forty = threading.Event()
    sink = Whole(stream, key)
    sink.on_chunk = lambda index: at_forty.set() if index == 40 else None
    handle = ana.read_stream(stage.members.cards["north"], stream, sink)
    sink.grant = handle.grant
    handle.grant(sink.chunks)
    assert at_forty.wait(30)
    port = stage.relay.port
    stage.relay.close()
    stage.relay = stage.make_relay(port)
    assert sink.done.get(timeout=40) == "whole"
    assert sink.digest.digest() == digest


def test_a_call_sent_while_the_relay_is_away_is_answered_when_it_is_back(stage):
    served: list[bytes] = []

    def serve(request: Request) -> None:
        served.append(request.body)
        request.reply(b"ok")

    stage.join("north", serve=serve)
    ana = stage.join("ana")
    assert ana.call_wait(stage.members.cards["north"], b"before", timeout=10) == b"ok"
    port = stage.relay.port
    stage.relay.close()
    replies: SimpleQueue[bytes | Error] = SimpleQueue()
    ana.call(stage.members.cards["north"], b"during", timeout=30, on_reply=replies.put)
    stage.relay = stage.make_relay(port)
    assert replies.get(timeout=30) == b"ok"
    assert served == [b"before", b"during"]
    handshakes = [1 for header, body in stage.relay.seen if body[:1] == bytes((Step.HS1,))]
    assert not handshakes


def test_a_silent_relay_is_left_and_found_again(stage):
    """attack 19: the relay stands still; peers notice by heartbeat and connect anew."""
    timing = Timing(heartbeat=Heartbeat(every=0.1, misses=3, hello=0.1))
    stage.join("north", serve=echo, timing=timing)
    ana = stage.join("ana", timing=timing)
    north = stage.members.cards["north"]
    assert ana.call_wait(north, b"1", timeout=10) == b"ana:1"
    hellos = stage.relay.hellos
    stage.relay.silent = True
    assert until(lambda: stage.relay.hellos >= hellos + 2)
    stage.relay.silent = False
    assert ana.call_wait(north, b"2", timeout=20) == b"ana:2"


def test_another_relay_key_is_a_hard_failure_that_shows_the_fingerprint(stage):
    """attack 77"""
    pinned = PeerKeys.generate().curve_public
    relay = RelayAddress(endpoint=stage.address.endpoint, curve=pinned)
    ana = stage.endpoint("ana", relay=relay)
    with pytest.raises(Error) as refused:
        ana.start(10)
    assert refused.value.code == "RELAY_KEY"
    assert fingerprint(pinned) in refused.value.message
    assert not stage.relay.seen


def test_a_key_that_the_relay_does_not_admit_is_told_so(stage):
    stage.relay.admit = lambda key: False
    ana = stage.endpoint("ana")
    with pytest.raises(Error) as refused:
        ana.start(10)
    assert refused.value.code == "NOT_ADMITTED"


def test_a_peer_shut_out_for_a_while_comes_back_unaided(stage):
    stage.join("north", serve=echo)
    ana = stage.join("ana")
    port = stage.relay.port
    stage.relay.close()
    stage.relay = stage.make_relay(port)
    stage.relay.admit = lambda key: False
    assert until(lambda: stage.relay.refusals >= 2)
    stage.relay.admit = lambda key: True
    answer = ana.call_wait(stage.members.cards["north"], b"x", timeout=30)
    assert answer == b"ana:x"


def test_no_relay_at_all_is_unreachable(stage):
    stage.relay.close()
    ana = stage.endpoint("ana")
    with pytest.raises(Error) as refused:
        ana.start(0.5)
    assert refused.value.code == "RELAY_UNREACHABLE"
    stage.relay = stage.make_relay()


def test_a_relay_name_that_does_not_resolve_is_unreachable(stage):
    relay = RelayAddress(endpoint="tcp://relay.invalid:5555", curve=stage.address.curve)
    ana = stage.endpoint("ana", relay=relay)
    with pytest.raises(Error) as refused:
        ana.start(10)
    assert refused.value.code == "RELAY_UNREACHABLE"


def test_a_manifest_of_another_federation_is_refused(stage):
    stage.relay.manifest = federation({"eve": "pod"}).data
    ana = stage.endpoint("ana")
    with pytest.raises(Error) as refused:
        ana.start(10)
    assert refused.value.code == "MANIFEST"


def test_an_older_manifest_than_one_seen_before_is_refused(stage):
    old = stage.members.data
    stage.relay.manifest = stage.members.next()
    ana = stage.join("ana")
    stage.relay.manifest = old
    with pytest.raises(Error) as refused:
        ana.refresh_manifest()
    assert refused.value.code == "MANIFEST"
    assert ana.store.current is not None
    assert ana.store.current.version == 2


def test_a_convener_publishes_a_manifest_and_others_see_it(tmp_path):
    with stage_for(tmp_path, federation({"chair": "convener", "north": "pod"})) as stage:
        chair, north = stage.join("chair"), stage.join("north")
        data = stage.members.next()
        chair.publish_manifest(data)
        assert chair.store.raw == data
        assert north.refresh_manifest().version == 2


def test_the_relay_sees_no_content_and_only_padded_sizes(stage):
    stage.join("north", serve=echo)
    ana = stage.join("ana")
    for body in (b"CANARY", b"CANARY" * 10):
        ana.call_wait(stage.members.cards["north"], body, timeout=10)
    frames = [body for _, body in stage.relay.seen]
    assert not any(b"CANARY" in body for body in frames)
    data = {len(body) for body in frames if body[0] == Step.DATA}
    assert len(data) == 1
    assert {decode(header).kind for header, _ in stage.relay.seen} == {Kind.SEND}


def test_the_relay_can_only_break_a_session_not_forge_in_it(stage):
    """attacks 25 and 36 on real sockets: flipped data never reaches the owner's code."""
    served: list[bytes] = []

    def serve(request: Request) -> None:
        served.append(request.body)
        request.reply(b"ok")

    stage.join("north", serve=serve)
    ana = stage.join("ana")
    north = stage.members.cards["north"]
    assert ana.call_wait(north, b"a", timeout=10) == b"ok"
    flips = [0]

    def flip(header: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        if body[0] == Step.DATA and not flips[0]:
            flips[0] = 1
            return [(header, body[:-1] + bytes((body[-1] ^ 1,)))]
        return [(header, body)]

    stage.relay.meddle = flip
    assert ana.call_wait(north, b"b", timeout=20) == b"ok"
    assert served == [b"a", b"b"]


def test_an_expired_manifest_names_nobody_any_more(tmp_path):
    members = federation({"ana": "analyst", "north": "pod"}, lifetime_ms=1500)
    with stage_for(tmp_path, members) as stage:
        stage.join("north", serve=echo)
        ana = stage.join("ana")
        north = members.cards["north"]
        assert ana.call_wait(north, b"x", timeout=1) == b"ana:x"

        def refused() -> bool:
            try:
                ana.call_wait(north, b"y", timeout=1)
            except Error as fault:
                return fault.code in ("MANIFEST", "REVOKED")
            return False

        assert until(refused)


class Socks:
    """A SOCKS5 proxy for one connection after another, with user name and password."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near:
                near.recv(2 + near.recv(2, socket.MSG_PEEK)[1])
                near.sendall(b"\x05\x02")
                login = near.recv(513)
                near.sendall(b"\x01\x00")
                request = near.recv(262)
                self.asked.append((login[2:5], request[5 : 5 + request[4]]))
                near.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
                with socket.create_connection(("127.0.0.1", self._port)) as far:
                    _splice(near, far)


def _splice(near: socket.socket, far: socket.socket) -> None:
    while True:
        for ready in select.select([near, far], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (far if ready is near else near).sendall(data)


def test_the_relay_is_reached_through_socks_which_resolves_its_name(stage):
    socks = Socks(stage.relay.port)
    relay = RelayAddress(endpoint="tcp://relay.invalid:5555", curve=stage.address.curve)
    try:
        ana = stage.join(
            "ana",
            relay=relay,
            egress=Egress(socks=socks.place, socks_user="ana", socks_password="secret"),
        )
        assert ana.refresh_manifest().version == 1
        assert socks.asked == [(b"ana", b"relay.invalid")]
        ana.close()
    finally:
        socks.close()
