"""The relay's rules, without sockets."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_world import HELLO

from podsql.errors import Error
from podsql.relay.frames import Flag, Header, Kind, Nack
from podsql.relay.limits import Bucket, Conduct, RelayLimits
from podsql.relay.queues import Parcel, Queue
from podsql.relay.roster import Roster, Standing

FLOW = bytes(range(16))


def send_to(world, name: str, **changes) -> Header:
    return replace(Header(kind=Kind.SEND, dst=world.address(name), flow=FLOW), **changes)


def nacks(world, name: str) -> list[int]:
    return [h.seq for h, _ in world.drain(name) if h.kind is Kind.NACK]


def test_a_frame_reaches_its_destination_under_the_senders_own_address(world):
    world.greet("ana", "north")
    world.send("ana", send_to(world, "north"), b"sealed")
    ((header, body),) = world.drain("north")
    assert (header.src, header.flow, body) == (world.address("ana"), FLOW, b"sealed")


def test_attack_6_a_forged_source_is_overwritten(world):
    world.greet("ana", "north", "south")
    world.send("ana", send_to(world, "north", src=world.address("south")), b"x")
    assert world.drain("north")[0][0].src == world.address("ana")


def test_attack_17_an_absent_destination_is_answered_offline_and_nothing_is_queued(world):
    world.greet("ana")
    world.send("ana", send_to(world, "north"), bytes(1 << 20))
    assert nacks(world, "ana") == [Nack.OFFLINE]
    assert world.core.waiting == 0


def test_a_connection_that_has_not_said_hello_is_not_forwarded(world):
    world.greet("north")
    world.send("ana", send_to(world, "north"), b"x")
    assert world.drain("north") == []
    assert world.core.drops["no_hello"] == 1


def test_attack_7_the_newest_connection_of_a_key_wins_and_the_older_is_told(world):
    world.greet("ana", "north")
    older = next(c for c in world.core.connections() if c.route == b"north")
    world.send("north", Header(kind=Kind.HELLO), b"\x94\xa7hello/1\x01\xa0\x00", route=b"second")
    told = older.queue.next(0.0)
    assert told is not None
    assert told.header[4] == Kind.GONE
    world.send("ana", send_to(world, "north"), b"x")
    assert [h.kind for h, _ in world.drain("second")] == [Kind.WELCOME, Kind.SEND]
    world.send("north", send_to(world, "ana"), b"from the older one")
    assert world.drain("ana") == []


def test_a_peer_that_connects_again_and_again_is_counted_rightly(world):
    world.greet("ana", "north")
    for again in (b"second", b"third", b"fourth"):
        older = next(
            c for c in world.core.connections() if c.entry.address == world.address("north")
        )
        for _ in range(5):
            world.send("ana", send_to(world, "north"), bytes(1000))
        world.send("north", Header(kind=Kind.HELLO), HELLO, route=again)
        while (parcel := older.queue.next(0.0)) is not None:
            older.queue.took(parcel)
            world.core.waiting -= parcel.size
        world.core.lost(older, 0.0)
        assert world.core.waiting == sum(c.queue.waiting for c in world.core.connections())


def test_attack_8_a_revocation_holds_at_the_next_message(world):
    world.greet("ana", "north", "desk")
    world.send("desk", Header(kind=Kind.PUBLISH), world.manifest(revoked=("ana",)))
    assert [h.kind for h, _ in world.drain("north")] == [Kind.MANIFEST]
    world.drain("ana")
    world.send("ana", send_to(world, "north"), b"x")
    assert nacks(world, "ana") == [Nack.REVOKED]
    assert world.drain("north") == []


@pytest.mark.parametrize(
    "header",
    [
        b"",
        bytes(63),
        bytes(65),
        b"XX\x01" + bytes(61),
        b"PS\x02" + bytes(61),
        b"PS\x01\x00\x05\x00\x00\x01" + bytes(56),
        b"PS\x01\x00\xee" + bytes(59),
    ],
    ids=["empty", "short", "long", "magic", "major", "reserved", "kind"],
)
def test_attack_12_a_malformed_header_is_dropped_and_counted(world, header):
    world.greet("ana", "north")
    world.send("ana", header, b"x")
    assert world.core.drops["malformed"] == 1
    assert world.drain("north") == []


def test_three_malformed_frames_mute_a_key_for_a_minute(world):
    world.greet("ana", "north")
    for _ in range(3):
        world.send("ana", bytes(64), now=1.0)
    world.send("ana", send_to(world, "north"), b"x", now=2.0)
    assert world.core.drops["muted"] == 1
    world.send("ana", send_to(world, "north"), b"x", now=62.0)
    assert len(world.drain("north", 62.0)) == 1


def test_attack_16_a_peer_that_does_not_read_fills_its_own_queue_only(tmp_path):
    from relay_world import World

    world = World(tmp_path, RelayLimits(window_bytes=4096, queue_bytes=8192))
    world.greet("ana", "north", "south")
    for _ in range(20):
        world.send("ana", send_to(world, "north", kind=Kind.STREAM), bytes(1000))
    assert Nack.BUSY in nacks(world, "ana")
    sent = world.drain("north")
    assert sum(64 + len(body) for _, body in sent) <= 4096
    world.send("ana", send_to(world, "south"), b"x")
    assert len(world.drain("south")) == 1


def test_an_acknowledgement_opens_the_window_again(tmp_path):
    from relay_world import World

    world = World(tmp_path, RelayLimits(window_bytes=2500))
    world.greet("ana", "north")
    for _ in range(4):
        world.send("ana", send_to(world, "north", kind=Kind.STREAM), bytes(1000))
    first = world.drain("north")
    assert len(first) < 4
    connection = next(c for c in world.core.connections() if c.route == b"north")
    world.send("north", Header(kind=Kind.ACK), struct.pack(">Q", connection.queue.sent))
    assert len(first) + len(world.drain("north")) == 4


def test_attack_21_a_huge_acknowledgement_and_ttl_are_clamped(world):
    world.greet("ana", "north")
    connection = next(c for c in world.core.connections() if c.route == b"north")
    world.send("north", Header(kind=Kind.ACK), struct.pack(">Q", (1 << 64) - 1))
    assert connection.queue.acked == connection.queue.sent
    world.send("ana", send_to(world, "north", ttl=0xFFFFFFFF), b"x")
    assert world.drain("north", now=world.core.limits.longest_ttl_ms / 1000 + 1) == []
    assert world.core.waiting >= 0


def test_control_goes_before_bulk():
    queue = Queue(1 << 20)
    queue.put(Parcel(bytes(64), b"bulk", 9.0), bulk=True)
    queue.put(Parcel(bytes(64), b"control", 9.0), bulk=False)
    first = queue.next(0.0)
    assert first is not None
    assert first.body == b"control"


def test_an_expired_frame_is_dropped():
    queue = Queue(1 << 20)
    queue.put(Parcel(bytes(64), b"late", 1.0), bulk=False)
    assert queue.next(2.0) is None
    assert queue.waiting == 0


def test_attack_20_only_members_addresses_can_be_watched_and_the_answers_look_alike(world):
    world.greet("ana", "north")
    world.send("ana", Header(kind=Kind.WATCH, dst=world.address("north")))
    world.send("ana", Header(kind=Kind.WATCH, dst=bytes(16)))
    known, unknown = world.drain("ana")
    assert (known[0].kind, unknown[0].kind) == (Kind.PRESENT, Kind.GONE)
    assert len(known[0].encode()) == len(unknown[0].encode())
    assert known[1] == unknown[1] == b""
    connection = next(c for c in world.core.connections() if c.route == b"north")
    world.core.lost(connection, 1.0)
    assert [h.kind for h, _ in world.drain("ana")] == [Kind.GONE]


def test_an_invitee_reaches_conveners_only(world):
    world.greet("north", "desk", "newcomer")
    world.send("newcomer", send_to(world, "north"), b"x")
    assert nacks(world, "newcomer") == [Nack.REFUSED]
    world.send("newcomer", send_to(world, "desk"), b"x")
    assert world.drain("north") == []
    assert len(world.drain("desk")) == 1
    from podsql.relay.frames import address_of

    world.send("north", Header(kind=Kind.SEND, dst=address_of(world.invite_curve)), b"x")
    assert nacks(world, "north") == [Nack.REFUSED]


def test_only_a_convener_publishes_a_manifest(world):
    world.greet("ana", "north")
    world.send("ana", Header(kind=Kind.PUBLISH), world.manifest())
    assert nacks(world, "ana") == [Nack.REFUSED]
    assert world.core.roster.version == 1


def test_attack_24_an_older_foreign_expired_or_cut_manifest_changes_nothing(world):
    world.greet("desk")
    old = world.store.raw
    newer = world.manifest()
    other = type(world)(world.folder / "..")
    bad = [
        other.manifest(version=9),
        world.manifest(version=9, issued=world.now_ms - 9000, expires=world.now_ms - 1),
        newer[:-1],
        b"",
    ]
    for data in bad:
        world.send("desk", Header(kind=Kind.PUBLISH), data)
    assert nacks(world, "desk") == [Nack.REFUSED] * len(bad)
    assert world.store.raw == old
    world.send("desk", Header(kind=Kind.PUBLISH), newer)
    world.drain("desk")
    world.send("desk", Header(kind=Kind.PUBLISH), old)
    assert nacks(world, "desk") == [Nack.REFUSED]
    assert world.core.roster.version == 2


def test_a_sender_over_its_rate_is_told_when_to_try_again(tmp_path):
    from relay_world import World

    world = World(tmp_path, RelayLimits(messages_per_second=2))
    world.greet("ana", "north")
    for _ in range(6):
        world.send("ana", send_to(world, "north"), b"x")
    told = [h for h, _ in world.drain("ana") if h.kind is Kind.NACK]
    assert {h.seq for h in told} == {Nack.RATE}
    assert all(h.ttl > 0 for h in told)
    assert len(world.drain("north")) + len(told) == 6


def test_silent_connections_are_swept(world):
    world.greet("ana", "north")
    world.core.sweep(world.core.limits.silence_seconds + 1)
    assert len(world.core) == 0


def test_drain_is_announced_to_everybody(world):
    world.greet("ana", "north")
    world.core.drain(500, 2000, 0.0)
    assert [h.kind for h, _ in world.drain("ana")] == [Kind.DRAIN]
    assert [(h.kind, h.seq) for h, _ in world.drain("north")] == [(Kind.DRAIN, 500)]


def test_no_manifest_admits_nobody(tmp_path):
    from podsql.relay.keys import PeerKeys, fingerprint, signing_public
    from podsql.relay.manifest import ManifestStore

    mark = fingerprint(signing_public(bytes(32)))
    roster = Roster(ManifestStore(tmp_path / "none", mark))
    key = PeerKeys.generate().curve_public
    assert not roster.loaded
    assert not roster.admits(key, 0)
    assert roster.entry(key, 0).standing is Standing.UNKNOWN


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60))
def test_a_bucket_never_gives_more_than_its_rate(takes):
    bucket, now, given_out = Bucket(10.0, 0.0), 0.0, 0
    for step, amount in takes:
        now += step
        if bucket.take(amount, now) == 0.0:
            given_out += amount
    assert given_out <= 20 + 10 * now + 1e-6


def test_strikes_far_apart_do_not_mute():
    conduct = Conduct()
    for minute in range(5):
        conduct.strike(minute * 61.0)
    assert not conduct.muted(5 * 61.0)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(["ana", "north", "newcomer"]),
            st.sampled_from(list(Kind)),
            st.sampled_from(["ana", "north", "south", "desk"]),
            st.binary(max_size=40),
            st.integers(0, 255),
        ),
        max_size=25,
    )
)
def test_whatever_arrives_the_books_balance_and_no_source_is_forged(tmp_path_factory, frames):
    from relay_world import World

    world = World(tmp_path_factory.mktemp("world"))
    world.greet("ana", "north", "newcomer")
    own = {world.address(n) for n in ("ana", "north")} | {
        c.entry.address for c in world.core.connections()
    }
    for name, kind, target, body, seq in frames:
        header = Header(kind=kind, dst=world.address(target), seq=seq, flags=int(Flag.URGENT))
        try:
            world.send(name, header, body)
        except Error as fault:  # pragma: no cover - a failure of the test
            raise AssertionError(fault.code) from fault
    for name in ("ana", "north", "newcomer"):
        for header, _ in world.drain(name):
            if header.kind in (Kind.SEND, Kind.STREAM):
                assert header.src in own
    waiting = sum(c.queue.waiting for c in world.core.connections())
    assert world.core.waiting == waiting
