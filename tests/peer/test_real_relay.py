"""Endpoints and the product's own relay, a process that is killed and stopped at will."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from people import Federation, federation
from test_endpoint import ROLES, Whole, echo, offer_stream

from podsql.errors import Error
from podsql.relay.invite import RelayAddress
from podsql.relay.keys import PeerKeys, replace_file, save_seed
from podsql.relay.link import Heartbeat
from podsql.relay.peer import Timing
from podsql.relay.places import manifest_path
from podsql.relay.sockets.endpoint import Endpoint, Request


class RealRelay:
    """``python -m podsql.relayd`` on a port of its own."""

    def __init__(self, folder: Path, members: Federation) -> None:
        self.folder = folder
        self.members = members
        self.keys = PeerKeys.generate()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        folder.mkdir()
        save_seed(folder / "relay.key", self.keys.curve)
        replace_file(manifest_path(folder, members.fingerprint), members.data, mode=0o600)
        (folder / "relay.toml").write_text(
            f'[relay]\nlisten = "tcp://127.0.0.1:{self.port}"\n'
            f'federations = ["{members.fingerprint}"]\n'
        )
        self.endpoints: list[Endpoint] = []
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podsql.relayd", str(self.folder / "relay.toml")],
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def join(self, name: str, **options) -> Endpoint:
        made = Endpoint(
            keys=self.members.keys[name],
            relay=RelayAddress(
                endpoint=f"tcp://127.0.0.1:{self.port}", curve=self.keys.curve_public
            ),
            store=self.members.store(self.folder, name),
            name=name,
            **options,
        )
        self.endpoints.append(made)
        made.start(20)
        return made

    def close(self) -> None:
        for each in self.endpoints:
            each.close()
        self.kill()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RealRelay]:
    made = RealRelay(tmp_path / "relay", federation(ROLES | {"mo": "modeller"}))
    try:
        yield made
    finally:
        made.close()


def test_every_kind_of_session_passes_the_real_relay(relay):
    ends = {name: relay.join(name, serve=echo) for name in ("ana", "mo", "north", "south", "rules")}
    for frm, to in (
        ("ana", "north"),
        ("mo", "north"),
        ("ana", "rules"),
        ("north", "rules"),
        ("north", "south"),
        ("rules", "north"),
    ):
        answer = ends[frm].call_wait(relay.members.cards[to], b"hello", timeout=10)
        assert answer == frm.encode() + b":hello"


def test_a_stream_survives_a_relay_killed_twice(relay, tmp_path):
    """attack 18, the peers' side: kill -9 mid-stream, one execution, equal SHA-256."""
    served: list[bytes] = []

    def serve(request: Request) -> None:
        served.append(request.body)
        request.reply(b"ok")

    pod, ana = relay.join("north", serve=serve), relay.join("ana")
    north = relay.members.cards["north"]
    assert ana.call_wait(north, b"run", timeout=10) == b"ok"
    chunks = 240
    stream, key, digest = offer_stream(pod, relay.members.cards["ana"], chunks, tmp_path)
    marks: SimpleQueue[int] = SimpleQueue()
    sink = Whole(stream, key)
    handle = ana.read_stream(north, stream, sink)

    def at(index: int) -> None:
        if index in (60, 150):
            marks.put(index)

    sink.on_chunk = at
    sink.grant = handle.grant
    handle.grant(sink.chunks)
    for _ in range(2):
        marks.get(timeout=30)
        relay.kill()
        relay.start()
    assert sink.done.get(timeout=60) == "whole"
    assert sink.digest.digest() == digest
    assert sink.chunks == chunks
    assert ana.call_wait(north, b"after", timeout=20) == b"ok"
    assert served == [b"run", b"after"]


def test_a_slow_reader_holds_the_sender_back(relay, tmp_path):
    pod, ana = relay.join("north"), relay.join("ana")
    stream, key, digest = offer_stream(pod, relay.members.cards["ana"], 100, tmp_path)
    arrived: SimpleQueue[int] = SimpleQueue()
    sink = Whole(stream, key)
    sink.on_chunk = arrived.put
    handle = ana.read_stream(relay.members.cards["north"], stream, sink)
    assert [arrived.get(timeout=10) for _ in range(4)] == [0, 1, 2, 3]
    # Without a grant nothing more comes, whatever else passes on the same connection meanwhile.
    ana.refresh_manifest()
    assert arrived.empty()
    sink.grant = handle.grant
    handle.grant(4)
    assert sink.done.get(timeout=30) == "whole"
    assert sink.digest.digest() == digest


def test_a_relay_that_stands_still_is_noticed_and_calls_go_on_after_it(relay):
    """attack 19, with the real relay stopped and continued."""
    timing = Timing(heartbeat=Heartbeat(every=0.1, misses=3, hello=0.2))
    relay.join("north", serve=echo, timing=timing)
    ana = relay.join("ana", timing=timing)
    north = relay.members.cards["north"]
    assert ana.call_wait(north, b"1", timeout=10) == b"ana:1"
    os.kill(relay.process.pid, signal.SIGSTOP)
    os.waitpid(relay.process.pid, os.WUNTRACED)  # it stands when every thread does
    try:
        with pytest.raises(Error) as late:
            ana.call_wait(north, b"2", timeout=1.0)
        assert late.value.code in ("TIMEOUT", "RELAY_UNREACHABLE")
    finally:
        os.kill(relay.process.pid, signal.SIGCONT)
    assert ana.call_wait(north, b"3", timeout=20) == b"ana:3"


def test_a_peer_that_is_not_there_is_found_when_it_comes(relay):
    ana = relay.join("ana")
    replies: SimpleQueue[bytes | Error] = SimpleQueue()
    ana.call(relay.members.cards["north"], b"early", timeout=30, on_reply=replies.put)
    with pytest.raises(Error) as missing:
        ana.call_wait(relay.members.cards["south"], b"x", timeout=0.5)
    assert missing.value.code == "POD_LOST"
    relay.join("north", serve=echo)
    assert replies.get(timeout=30) == b"ana:early"


def test_a_restarted_pod_is_reached_again(relay):
    pod = relay.join("north", serve=echo)
    ana = relay.join("ana")
    north = relay.members.cards["north"]
    assert ana.call_wait(north, b"1", timeout=10) == b"ana:1"
    pod.close()
    relay.join("north", serve=echo)
    assert ana.call_wait(north, b"2", timeout=20) == b"ana:2"


def test_bulk_does_not_starve_calls(relay, tmp_path):
    pod, ana = relay.join("north", serve=echo), relay.join("ana")
    north = relay.members.cards["north"]
    stream, key, digest = offer_stream(pod, relay.members.cards["ana"], 300, tmp_path)
    sink = Whole(stream, key)
    handle = ana.read_stream(north, stream, sink)
    sink.grant = handle.grant
    handle.grant(sink.chunks)
    for turn in range(20):
        assert ana.call_wait(north, b"%d" % turn, timeout=10) == b"ana:%d" % turn
    assert sink.done.get(timeout=30) == "whole"
    assert sink.digest.digest() == digest


def test_a_source_spills_ciphertext_to_a_nameless_file(relay, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    pod, ana = relay.join("north"), relay.join("ana")
    stream, key, digest = offer_stream(pod, relay.members.cards["ana"], 40, spool)
    assert not list(spool.iterdir())
    sink = Whole(stream, key)
    handle = ana.read_stream(relay.members.cards["north"], stream, sink)
    sink.grant = handle.grant
    handle.grant(sink.chunks)
    assert sink.done.get(timeout=30) == "whole"
    assert sink.digest.digest() == digest


def test_who_is_replaced_by_the_same_keys_elsewhere_is_told_at_once(relay):
    """Two processes of one identity: the newer one is served, the older one's calls do not hang."""
    held: SimpleQueue[Request] = SimpleQueue()
    relay.join("north", serve=held.put)
    older = relay.join("ana")
    north = relay.members.cards["north"]
    ended: SimpleQueue[bytes | Error] = SimpleQueue()
    older.call(north, b"one", timeout=60, on_reply=ended.put)
    held.get(timeout=20)
    newer = relay.join("ana")
    assert ended.get(timeout=20).code == "REPLACED"
    older.call(north, b"two", timeout=60, on_reply=ended.put)
    assert ended.get(timeout=20).code == "REPLACED"
    newer.call(north, b"three", timeout=20, on_reply=ended.put)
    held.get(timeout=20).reply(b"done")
    assert ended.get(timeout=20) == b"done"
