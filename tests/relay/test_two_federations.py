"""One real relay, two federations, real CURVE: what one can learn of the other, or do to it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import zmq
from dealers import PATIENCE, dealer, greet, receive, refused
from relay_world import World

from podsql.relay.frames import Header, Kind, Nack
from podsql.relay.limits import RelayLimits
from podsql.relay.sockets.router import Relay

FLOW = bytes(range(16))
NOBODYS = bytes(range(100, 116))


@pytest.fixture
def worlds(tmp_path) -> tuple[World, World]:
    return World(tmp_path / "a"), World(tmp_path / "b")


@pytest.fixture
def relay(worlds) -> Iterator[Relay]:
    limits = RelayLimits(federation_messages_per_second=2000, process_bytes=4 << 20)
    made = Relay(listen="tcp://127.0.0.1:*", secret=bytes(range(1, 33)), limits=limits)
    for world in worlds:
        made.host(world.mark, world.store)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def join(relay):
    """``join(world, name)``: a dealer that has said HELLO."""
    with ExitStack() as stack:

        def joined(world: World, name: str) -> "zmq.Socket[bytes]":
            made = stack.enter_context(dealer(relay, world.keys[name].curve))
            greet(made)
            return made

        yield joined


def send(made: "zmq.Socket[bytes]", dst: bytes, body: bytes = b"x", kind: Kind = Kind.SEND) -> None:
    made.send_multipart([Header(kind=kind, dst=dst, flow=FLOW).encode(), body])


def exchange(one: "zmq.Socket[bytes]", other: "zmq.Socket[bytes]", world: World) -> None:
    """Ana's frame reaches north, whatever else is going on."""
    send(one, world.address("north"), b"ping")
    header, body = receive(other)
    assert (header.src, body) == (world.address("ana"), b"ping")


def test_two_federations_work_at_once_and_cannot_name_each_other(relay, worlds, join):
    ours, theirs = worlds
    peers = {world.mark: (join(world, "ana"), join(world, "north")) for world in worlds}
    for world in worlds * 2:
        exchange(*peers[world.mark], world)
    ana = peers[ours.mark][0]
    for kind, answer in ((Kind.SEND, Kind.NACK), (Kind.STREAM, Kind.NACK), (Kind.WATCH, Kind.GONE)):
        heard = []
        for target in (theirs.address("north"), NOBODYS):
            send(ana, target, b"x" * 100, kind)
            header, body = receive(ana)
            assert (header.kind, header.src) == (answer, target)
            raw = header.encode()
            heard.append((raw[:24] + raw[40:], body))
        assert heard[0] == heard[1]
    exchange(*peers[theirs.mark], theirs)


def test_a_convener_publishes_for_its_own_federation_only(relay, worlds, join):
    ours, theirs = worlds
    desk, ana, north = (join(ours, "desk"), join(theirs, "ana"), join(theirs, "north"))
    old = ours.store.raw
    assert old is not None
    for foreign in (theirs.manifest(revoked=("ana",)), old[:-1]):
        send(desk, bytes(16), foreign, Kind.PUBLISH)
        assert (receive(desk)[0].kind, relay.hosting.cores[theirs.mark].roster.version) == (
            Kind.NACK,
            1,
        )
    newer = ours.manifest(revoked=("ana",))
    send(desk, bytes(16), newer, Kind.PUBLISH)
    assert receive(desk)[1] == newer
    send(desk, bytes(16), old, Kind.PUBLISH)
    assert receive(desk)[0].seq == Nack.REFUSED
    exchange(ana, north, theirs)
    with dealer(relay, ours.keys["ana"].curve) as revoked:
        assert refused(revoked)


def test_a_key_of_two_manifests_opens_the_first_federation_only(relay, worlds, join):
    ours, theirs = worlds
    theirs.keys["south"] = ours.keys["south"]
    desk = join(theirs, "desk")
    send(desk, bytes(16), theirs.manifest(), Kind.PUBLISH)
    assert receive(desk)[0].kind is Kind.MANIFEST
    south, ana = join(ours, "south"), join(theirs, "ana")
    send(ana, ours.address("south"))
    assert receive(ana)[0].seq == Nack.OFFLINE
    north = join(ours, "north")
    send(north, ours.address("south"), b"hello")
    assert receive(south)[1] == b"hello"


def test_federations_come_and_go_while_the_others_talk(relay, worlds, join, tmp_path):
    ours, theirs = worlds
    ana, north = join(ours, "ana"), join(ours, "north")
    third = World(tmp_path / "c")
    with dealer(relay, third.keys["ana"].curve) as early:
        assert refused(early)
    relay.host(third.mark, third.store)
    pair = join(third, "ana"), join(third, "north")
    exchange(*pair, third)
    exchange(ana, north, ours)
    relay.drop(third.mark)
    send(pair[0], third.address("north"))
    assert not pair[1].poll(300)
    with dealer(relay, third.keys["south"].curve) as late:
        assert refused(late)
    exchange(ana, north, ours)
    exchange(join(theirs, "ana"), join(theirs, "north"), theirs)


def test_attack_83_a_flood_in_one_federation_does_not_stop_the_other(relay, worlds, join):
    """Peers that send all they can, to peers that read nothing: the others' exchanges go on."""
    ours, theirs = worlds
    ana, north = join(theirs, "ana"), join(theirs, "north")
    deaf = join(ours, "north")
    flooders = [join(ours, name) for name in ("ana", "south", "desk")]
    ending = threading.Event()

    def flood(made: "zmq.Socket[bytes]", kind: Kind) -> None:
        header = Header(kind=kind, dst=ours.address("north"), flow=FLOW).encode()
        while not ending.is_set():
            with suppress(zmq.Again):
                made.send_multipart([header, bytes(20_000)], zmq.NOBLOCK)
            with suppress(zmq.Again):
                while True:
                    made.recv_multipart(zmq.NOBLOCK)

    threads = [
        threading.Thread(target=flood, args=(made, kind))
        for made, kind in zip(flooders, (Kind.SEND, Kind.STREAM, Kind.SEND), strict=True)
    ]
    for thread in threads:
        thread.start()
    core = relay.hosting.cores[ours.mark]
    try:
        for _ in range(50):
            exchange(ana, north, theirs)
            exchange(ana, north, theirs)
    finally:
        ending.set()
        for thread in threads:
            thread.join(PATIENCE / 1000)
    assert core.drops["rate"] + core.drops["busy"] > 100
    assert core.waiting <= core.part == 2 << 20
    assert not relay.hosting.cores[theirs.mark].drops
    assert deaf.poll(PATIENCE)
