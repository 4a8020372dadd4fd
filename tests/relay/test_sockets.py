"""A real relay on the loopback, real CURVE: who gets in and what a hostile peer can do."""

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import zmq
from dealers import PATIENCE, dealer, greet, receive, refused

from podsql.relay.frames import BODY_LIMIT, Header, Kind
from podsql.relay.keys import PeerKeys
from podsql.relay.sockets.router import Relay


@pytest.fixture
def relay(world) -> Iterator[Relay]:
    made = Relay(listen="tcp://127.0.0.1:*", secret=bytes(range(1, 33)))
    made.host(world.mark, world.store)
    made.start()
    yield made
    made.stop()


def test_attack_1_a_peer_without_curve_is_refused(relay):
    with dealer(relay, None) as plain:
        assert refused(plain)
    assert relay.status()["connections"] == 0


def test_attack_2_a_stranger_is_refused_and_counted(relay):
    with dealer(relay, os.urandom(32)) as stranger:
        assert refused(stranger)
    assert relay.zap.refused > 1
    assert relay.status()["connections"] == 0


def test_attack_3_without_a_zap_handler_nobody_gets_in(relay, world):
    relay.zap.stop()
    with dealer(relay, world.keys["ana"].curve) as member:
        assert refused(member)


def test_attack_4_without_a_manifest_members_wait_and_then_get_in(tmp_path, world):
    from podsql.relay.manifest import ManifestStore

    store = ManifestStore(tmp_path / "later.bin", world.mark)
    relay = Relay(listen="tcp://127.0.0.1:*", secret=bytes(range(1, 33)))
    relay.host(world.mark, store)
    relay.start()
    try:
        with dealer(relay, world.keys["ana"].curve, reconnect_ivl=50) as member:
            assert refused(member)
            relay.adopt(world.mark, world.store.raw)
            member.setsockopt(zmq.SNDTIMEO, PATIENCE)
            greet(member)
    finally:
        relay.stop()


def test_attack_5_a_chosen_routing_id_changes_nothing_and_the_relay_lives(relay, world):
    first = b"\x00" + struct.pack(">I", 0x6B8B4568)
    with (
        dealer(relay, world.keys["north"].curve, routing_id=first) as hostile,
        dealer(relay, world.keys["ana"].curve) as ana,
        dealer(relay, world.keys["south"].curve) as south,
    ):
        greet(hostile)
        greet(ana)
        greet(south)
        ana.send_multipart([Header(kind=Kind.SEND, dst=world.address("south")).encode(), b"x"])
        header, body = receive(south)
        assert (header.src, body) == (world.address("ana"), b"x")


def test_attack_9_a_frame_over_the_limit_closes_the_connection_only(relay, world):
    with (
        dealer(relay, world.keys["ana"].curve) as ana,
        dealer(relay, world.keys["north"].curve) as north,
    ):
        greet(ana)
        greet(north)
        header = Header(kind=Kind.SEND, dst=world.address("north")).encode()
        ana.send_multipart([header, bytes(BODY_LIMIT + 1)])
        assert not north.poll(300)
        with dealer(relay, world.keys["south"].curve) as south:
            greet(south)
            south.send_multipart([header, b"still here"])
            assert receive(north)[1] == b"still here"


@pytest.mark.parametrize("count", [1, 3, 4, 2000])
def test_attacks_11_and_12_another_number_of_parts_is_dropped(relay, world, count):
    with (
        dealer(relay, world.keys["ana"].curve) as ana,
        dealer(relay, world.keys["north"].curve) as north,
    ):
        greet(ana)
        greet(north)
        header = Header(kind=Kind.SEND, dst=world.address("north")).encode()
        ana.send_multipart([header, *[b""] * (count - 1)])
        ana.send_multipart([header, b"after"])
        assert receive(north)[1] == b"after"
        assert relay.hosting.cores[world.mark].drops["malformed"] == 1


def test_attack_13_half_open_connections_do_not_hinder_peers(relay, world):
    host, port = relay.endpoint.removeprefix("tcp://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(300)]
    try:
        with dealer(relay, world.keys["ana"].curve) as ana:
            greet(ana)
    finally:
        for one in silent:
            one.close()


def test_attack_23_many_connections_leave_nothing_behind(relay, world):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        with dealer(relay, world.keys["ana"].curve) as ana:
            greet(ana)
    assert relay.status()["connections"] == 1
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/fd")) > before + 4 and time.monotonic() < deadline:
        socket.socketpair()[0].close()
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_attack_77_a_relay_with_another_key_gets_no_handshake(relay, world):
    class Other:
        endpoint = relay.endpoint
        public = PeerKeys.generate().curve_public

    with dealer(Other, world.keys["ana"].curve) as ana:  # type: ignore[arg-type]
        assert refused(ana)


def test_the_relays_process_loads_no_planner_engine_policy_or_data_library(tmp_path):
    code = (
        "import sys, podsql.relayd\n"
        "from podsql.relay.sockets.router import Relay\n"
        "r = Relay(listen='tcp://127.0.0.1:*', secret=bytes(range(1, 33)))\n"
        "r.start(); r.stop()\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = done.stdout.split()
    banned = ("podsql.planner", "podsql.engine", "podsql.policy", "podsql.connectors")
    assert not [
        name for name in loaded if name.startswith((*banned, "duckdb", "pyarrow", "sqlglot"))
    ]
