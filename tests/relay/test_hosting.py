"""Several federations at one relay, without sockets: nothing of one reaches another."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_world import World

from podsql.relay.claims import Claims
from podsql.relay.frames import Header, Kind, Nack, address_of
from podsql.relay.hosting import Hosting
from podsql.relay.keys import PeerKeys
from podsql.relay.limits import RelayLimits
from podsql.relay.manifest import ManifestStore

FLOW = bytes(range(16))
NOBODY_KNOWN = bytes(range(100, 116))


@pytest.fixture
def hosting() -> Hosting:
    return Hosting(RelayLimits(), lambda _: None)


@pytest.fixture
def pair(tmp_path, hosting) -> tuple[World, World]:
    return _pair(tmp_path, hosting)


def _pair(folder, hosting: Hosting) -> tuple[World, World]:
    worlds = World(folder / "a", hosting=hosting), World(folder / "b", hosting=hosting)
    for world in worlds:
        world.greet("ana", "north", "desk")
    return worlds


def send_to(address: bytes, kind: Kind = Kind.SEND) -> Header:
    return Header(kind=kind, dst=address, flow=FLOW)


def publish(world: World, data: bytes, who: str = "desk") -> list[Header]:
    """What the convener hears about a manifest it handed over."""
    world.send(who, Header(kind=Kind.PUBLISH), data)
    return [header for header, _ in world.drain(who)]


def with_key(world: World, name: str, curve: bytes) -> None:
    """``name`` of this federation has that mailbox key from its next manifest on."""
    world.keys[name] = Borrowed(world.keys[name], curve)


class Borrowed(PeerKeys):
    """Keys of a peer that writes another's mailbox key on its card (it needs no secret for it)."""

    def __init__(self, own: PeerKeys, curve: bytes) -> None:
        super().__init__(identity=own.identity, noise=own.noise, curve=own.curve)
        object.__setattr__(self, "borrowed", curve)

    @property
    def curve_public(self) -> bytes:
        return self.borrowed  # type: ignore[attr-defined,no-any-return]


def test_attack_79_another_federations_address_is_answered_as_nobodys(pair):
    ours, theirs = pair
    for kind in (Kind.SEND, Kind.STREAM, Kind.WATCH):
        answers = []
        for target in (theirs.address("north"), NOBODY_KNOWN):
            ours.send("ana", send_to(target, kind), b"x" * 100)
            ((header, body),) = ours.drain("ana")
            assert header.src == target
            answers.append((replace(header, src=bytes(16)), body))
        assert answers[0] == answers[1]
    assert theirs.drain("north") == []
    assert theirs.core.messages == 3  # the WELCOMEs


def test_an_invitee_reaches_no_convener_of_another_federation(pair):
    ours, theirs = pair
    ours.greet("newcomer")
    for target in (theirs.address("desk"), NOBODY_KNOWN):
        ours.send("newcomer", send_to(target), b"x")
        assert [header.seq for header, _ in ours.drain("newcomer")] == [Nack.REFUSED]
    assert theirs.drain("desk") == []


def test_a_federation_hears_nothing_when_another_gets_a_manifest(pair):
    ours, theirs = pair
    kinds = [header.kind for header in publish(ours, ours.manifest(revoked=("ana",)))]
    assert kinds == [Kind.MANIFEST]
    ours.send("ana", send_to(ours.address("north")), b"x")
    assert [header.seq for header, _ in ours.drain("ana") if header.kind is Kind.NACK] == [
        Nack.REVOKED
    ]
    assert [theirs.drain(name) for name in ("ana", "north", "desk")] == [[], [], []]
    theirs.send("ana", send_to(theirs.address("north")), b"x")
    assert len(theirs.drain("north")) == 1


def test_attack_80_a_convener_cannot_publish_for_another_federation(pair):
    ours, theirs = pair
    before = ours.store.raw, theirs.store.raw
    answers = publish(ours, theirs.manifest(revoked=("ana",)))
    assert [(header.kind, header.seq) for header in answers] == [(Kind.NACK, Nack.REFUSED)]
    assert (ours.store.raw, theirs.store.raw) == before
    theirs.send("ana", send_to(theirs.address("north")), b"x")
    assert len(theirs.drain("north")) == 1


def test_attack_81_a_key_stays_where_it_was_listed_first(pair, hosting, caplog):
    ours, theirs = pair
    stolen = theirs.keys["north"].curve_public
    with_key(ours, "south", stolen)
    assert [header.kind for header in publish(ours, ours.manifest())] == [Kind.MANIFEST]
    assert "ALARM" in caplog.text
    ours.send("ana", send_to(address_of(stolen)), b"x")
    assert [header.seq for header, _ in ours.drain("ana") if header.kind is Kind.NACK] == [
        Nack.OFFLINE
    ]
    ours.send("ana", send_to(address_of(stolen), Kind.WATCH))
    assert [header.kind for header, _ in ours.drain("ana")] == [Kind.GONE]
    theirs.send("ana", send_to(theirs.address("north")), b"x")
    assert [body for _, body in theirs.drain("north")] == [b"x"]


def test_attack_82_nobody_stops_his_own_revocation_by_a_key_of_two_federations(pair):
    """North of A convenes B: B lists a key that north then takes in A."""
    ours, theirs = pair
    shared = PeerKeys.generate().curve_public
    with_key(theirs, "south", shared)
    publish(theirs, theirs.manifest())
    with_key(ours, "north", shared)
    publish(ours, ours.manifest())
    assert publish(ours, ours.manifest(revoked=("ana",)))[0].kind is Kind.MANIFEST
    assert not hosting_admits(ours, "ana")
    assert hosting_admits(ours, "desk")


def hosting_admits(world: World, name: str) -> bool:
    assert world.hosting is not None
    return world.hosting.admits(world.curve(name), world.now_ms)


def test_a_key_that_is_free_again_may_be_taken(pair, hosting):
    ours, theirs = pair
    wanted = theirs.keys["north"].curve_public
    theirs.keys["north"] = PeerKeys.generate()
    publish(theirs, theirs.manifest())
    with_key(ours, "south", wanted)
    publish(ours, ours.manifest())
    assert hosting._claims.owner(wanted) == ours.mark


def test_a_restart_in_another_order_moves_no_disputed_key(tmp_path):
    path = tmp_path / "disputes.bin"
    hosting = Hosting(RelayLimits(), lambda _: None, Claims(path))
    ours, theirs = _pair(tmp_path, hosting)
    wanted = theirs.keys["north"].curve_public
    with_key(ours, "south", wanted)
    publish(ours, ours.manifest())
    for order in ((ours, theirs), (theirs, ours)):
        again = Hosting(RelayLimits(), lambda _: None, Claims(path))
        for world in order:
            again.host(world.mark, world.store)
        assert again._claims.owner(wanted) == theirs.mark
        assert again.cores[ours.mark].roster.entry(wanted, 0).role == ""


def test_a_federation_that_leaves_takes_its_keys_and_connections_with_it(pair, hosting):
    ours, theirs = pair
    hosting.drop(theirs.mark, 0.0)
    assert not hosting_admits(theirs, "ana")
    theirs.send("ana", send_to(theirs.address("north")), b"x")
    assert len(theirs.core) == 0
    assert hosting.drops == {"unknown": 1}
    ours.send("ana", send_to(ours.address("north")), b"x")
    assert len(ours.drain("north")) == 1


def test_a_relay_with_a_federation_that_has_no_manifest_yet_calls_nobody_a_stranger(
    pair, hosting, tmp_path
):
    assert hosting.complete
    hosting.host("later", ManifestStore(tmp_path / "none", pair[0].mark))
    assert not hosting.complete


def test_attack_83_one_federations_queues_leave_the_others_their_part(tmp_path):
    limits = RelayLimits(process_bytes=40_000, window_bytes=1 << 30)
    ours, theirs = _pair(tmp_path, Hosting(limits, lambda _: None))
    for _ in range(50):
        ours.send("ana", send_to(ours.address("north"), Kind.STREAM), bytes(1000))
    assert Nack.BUSY in [header.seq for header, _ in ours.drain("ana")]
    assert ours.core.waiting <= 20_000
    for _ in range(15):
        theirs.send("ana", send_to(theirs.address("north"), Kind.STREAM), bytes(1000))
    assert theirs.drain("ana") == []
    assert len(theirs.drain("north")) == 15


def test_attack_83_one_federations_rate_leaves_the_others_theirs(tmp_path):
    limits = RelayLimits(federation_messages_per_second=10)
    ours, theirs = _pair(tmp_path, Hosting(limits, lambda _: None))
    for name in ("ana", "desk") * 20:
        ours.send(name, send_to(ours.address("north")), b"x")
    assert {header.seq for header, _ in ours.drain("ana")} == {Nack.RATE}
    theirs.send("ana", send_to(theirs.address("north")), b"x")
    assert len(theirs.drain("north")) == 1


def test_attack_83_manifests_to_verify_are_rationed_by_size(tmp_path):
    limits = RelayLimits(federation_manifest_bytes_per_second=2000)
    ours, theirs = _pair(tmp_path, Hosting(limits, lambda _: None))
    heard = [publish(ours, bytes(1000))[0].seq for _ in range(6)]
    assert heard == [Nack.REFUSED] * 4 + [Nack.RATE] * 2
    assert publish(theirs, theirs.manifest())[0].kind is Kind.MANIFEST


def test_attack_83_a_federation_has_so_many_peers_at_once(tmp_path):
    limits = RelayLimits(federation_peers=3)
    ours, _ = _pair(tmp_path, Hosting(limits, lambda _: None))
    ours.send("south", Header(kind=Kind.HELLO), b"\x94\xa7hello/1\x01\xa0\x00")
    assert len(ours.core) == 3
    ours.greet("ana")
    assert ours.core.drops["full"] == 1


def test_attack_83_asking_for_a_large_manifest_fills_no_more_than_the_part(tmp_path):
    limits = RelayLimits(process_bytes=20_000, window_bytes=1 << 30)
    ours, _ = _pair(tmp_path, Hosting(limits, lambda _: None))
    for _ in range(50):
        ours.send("ana", Header(kind=Kind.FETCH))
    answers = ours.drain("ana")
    assert sum(len(body) for _, body in answers) <= 10_000
    assert {header.kind for header, _ in answers} == {Kind.MANIFEST, Kind.NACK}


def test_counters_tell_nothing_of_another_federation(pair):
    ours, theirs = pair
    before = theirs.core.status()
    for _ in range(5):
        ours.send("ana", send_to(NOBODY_KNOWN), b"x")
        ours.send("ana", send_to(theirs.address("north")), b"x")
        ours.send("ana", bytes(64))
    assert theirs.core.status() == before


@settings(max_examples=40, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from(["ana", "north", "newcomer", "desk"]),
            st.sampled_from(list(Kind)),
            st.booleans(),
            st.sampled_from(["ana", "north", "south", "desk"]),
            st.binary(max_size=40),
        ),
        max_size=30,
    )
)
def test_whatever_is_sent_a_source_is_of_the_receivers_own_federation(tmp_path_factory, frames):
    hosting = Hosting(RelayLimits(), lambda _: None)
    worlds = _pair(tmp_path_factory.mktemp("worlds"), hosting)
    for frm, name, kind, to, target, body in frames:
        worlds[frm].send(name, Header(kind=kind, dst=worlds[to].address(target), flow=FLOW), body)
    for world in worlds:
        own = {world.address(name) for name in world.keys} | {address_of(world.invite_curve)}
        for name in ("ana", "north", "newcomer", "desk"):
            for header, _ in world.drain(name):
                if header.kind in (Kind.SEND, Kind.STREAM):
                    assert header.src in own
        assert world.core.waiting == sum(c.queue.waiting for c in world.core.connections())
