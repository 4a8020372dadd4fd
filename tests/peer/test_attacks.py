"""A relay in the attacker's hands against two honest peers (numbers of the threat list)."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link import World
from test_core import ask, members, outcome, world

from podsql.errors import Error
from podsql.relay import events as ev
from podsql.relay.frames import Header, Kind, decode
from podsql.relay.records import Record, Step
from podsql.relay.sealing import ChunkOpener, ChunkSealer, new_stream
from podsql.relay.session import Initiator
from podsql.relay.streams import StreamSource

Meddle = Callable[[bytes, bytes], list[tuple[bytes, bytes]]]


def on_step(step: Step, change: Callable[[bytes, bytes], list[tuple[bytes, bytes]]]) -> Meddle:
    """Meddle with the first frame of a step only."""
    done: list[bool] = []

    def meddle(header: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        if body[0] == step and not done:
            done.append(True)
            return change(header, body)
        return [(header, body)]

    return meddle


@settings(max_examples=60, deadline=None)
@given(
    step=st.sampled_from([Step.HS1, Step.HS2, Step.HS3, Step.DATA]),
    at=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_any_flipped_bit_is_rejected_and_the_call_still_gets_its_true_answer(step, at, bit):
    """attack 25"""
    made = world("ana", "north")

    def flip(header: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        changed = bytearray(body)
        changed[1 + int(at * (len(body) - 1))] ^= 1 << bit
        return [(header, bytes(changed))]

    made.meddle = on_step(step, flip)
    ask(made, "ana", "north", b"query", seconds=50)
    made.run(51)
    assert outcome(made, "ana") == b"re:query"
    assert [effect.body for effect in made.of("north", ev.Asked)] == [b"query"]
    assert made.peers["north"].out.dropped + made.peers["ana"].out.dropped >= 1


@pytest.mark.parametrize("step", [Step.HS1, Step.HS2, Step.HS3, Step.DATA])
@pytest.mark.parametrize("keep", [0, 1, 2, 33])
def test_cut_messages_are_rejected_without_an_exception(step, keep):
    """attack 26"""
    made = world("ana", "north")
    made.meddle = on_step(step, lambda header, body: [(header, body[:keep])])
    ask(made, "ana", "north", b"query", seconds=50)
    made.run(51)
    assert outcome(made, "ana") == b"re:query"


def readdress(header: bytes, *, dst: bytes | None = None, src: bytes | None = None) -> bytes:
    head = decode(header)
    return replace(head, dst=dst or head.dst, src=src or head.src).encode()


def test_hs1_sent_to_another_pod_makes_no_session():
    """attack 27: re-addressed."""
    made = world("ana", "north", "south")
    south = members().cards["south"].address
    made.meddle = lambda header, body: (
        [(readdress(header, dst=south), body)] if body[0] == Step.HS1 else [(header, body)]
    )
    ask(made, "ana", "north", b"query", seconds=30)
    made.run(31)
    assert isinstance(outcome(made, "ana"), Error)
    assert not made.of("south", ev.Asked)
    assert made.peers["south"].half_open == 0


def test_a_swapped_source_makes_no_session():
    """attack 27: bob's HS1 shown as ana's."""
    made = world("ana", "bob", "north")
    ana = members().cards["ana"].address
    made.meddle = lambda header, body: (
        [(readdress(header, src=ana), body)]
        if decode(header).src == members().cards["bob"].address
        else [(header, body)]
    )
    ask(made, "bob", "north", b"query", seconds=30)
    made.run(31)
    assert isinstance(outcome(made, "bob"), Error)
    assert not made.of("north", ev.Asked)


@pytest.mark.parametrize("versions", [(0, 0), (1, 0), (2, 1)])
def test_another_protocol_version_in_the_prologue_makes_no_session(versions):
    """attack 28: an initiator that was talked into another version meets no half-open session."""
    made = world("ana", "north")
    ana, north = members().cards["ana"], members().cards["north"]
    caller = Initiator(
        prologue=b"podsql/1" + bytes(versions) + ana.address + north.address,
        static=members().keys["ana"].noise,
        remote_static=north.noise,
    )
    header = Header(kind=Kind.SEND, dst=north.address, src=ana.address, flow=b"f" * 16)
    made.deliver(header.encode(), bytes((Step.HS1,)) + caller.start())
    made.run(1)
    assert made.peers["north"].half_open == 0
    assert not made.sent


def test_a_replayed_call_is_served_once_in_its_session_and_never_in_another():
    """attack 29"""
    made = world("ana", "north")
    ask(made, "ana", "north", b"query")
    made.run(1)
    captured = [
        (header, body)
        for header, body in made.sent
        if body[0] == Step.DATA and decode(header).dst == made.peers["north"].address
    ]
    for header, body in captured * 3:
        made.deliver(header, body)
    made.run(1)
    assert len(made.of("north", ev.Asked)) == 1
    made.join("north")
    ask(made, "ana", "north", b"again", ident=2)
    made.run(20)
    new = decode(made.sent[-1][0]).flow
    for header, body in captured:
        made.deliver(header, body)
        made.deliver(replace(decode(header), flow=new).encode(), body)
    made.run(1)
    assert [effect.body for effect in made.of("north", ev.Asked)] == [b"query", b"again"]


def test_a_replayed_handshake_cannot_be_finished():
    """attack 30: the whole captured conversation is played again to the pod."""
    made = world("ana", "north")
    ask(made, "ana", "north", b"query")
    made.run(1)
    captured = [
        (header, body)
        for header, body in made.sent
        if decode(header).dst == made.peers["north"].address
    ]
    made.join("north")
    for header, body in captured:
        made.deliver(header, body)
    made.run(5)
    assert len(made.of("north", ev.Asked)) == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_chunks_shuffled_repeated_and_dropped_still_make_the_same_result(seed):
    """attack 31"""
    made = World(members(), seed=seed)
    for name in ("ana", "north"):
        made.serve[name] = lambda asked: asked.body
        made.join(name)
    stream, key = new_stream()
    sealer, opener = ChunkSealer(stream, key), ChunkOpener(stream, key)
    source = StreamSource(stream)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    plain = [b"%d" % index for index in range(60)]
    for index, data in enumerate(plain):
        source.append(sealer.seal(index, data, index == 59), index == 59)
    held: list[tuple[bytes, bytes]] = []

    def shuffle(header: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        if decode(header).kind is not Kind.STREAM:
            return [(header, body)]
        held.append((header, body))
        if len(held) < 4:
            return []
        out = [held.pop(made.random.randrange(len(held))) for _ in range(3)]
        return [] if made.random.random() < 0.2 else out + out[:1]

    got: list[bytes] = []

    def chunked(name: str, chunk: ev.Chunk) -> None:
        got.append(opener.open(chunk.index, chunk.sealed, chunk.final))
        made.feed(name, ev.Consumed(chunk.frm, chunk.stream, 1))

    made.meddle, made.chunked = shuffle, chunked
    made.feed("ana", ev.Read(members().cards["north"], stream))
    made.run(3000)
    source.close()
    assert got == plain or (made.of("ana", ev.Broke) and got == plain[: len(got)])


def test_a_chunk_of_another_request_does_not_open():
    """attack 33: spliced from another stream of the same pod."""
    made = world("ana", "north")
    sources, keys = [], []
    for _ in range(2):
        stream, key = new_stream()
        sealer = ChunkSealer(stream, key)
        source = StreamSource(stream)
        made.feed("north", ev.Offer(members().cards["ana"], source))
        for index in range(3):
            source.append(sealer.seal(index, b"%d" % index, index == 2), index == 2)
        sources.append(source)
        keys.append(ChunkOpener(stream, key))
    spliced = sources[1].chunk(1)
    assert spliced is not None
    results: list[bytes | str] = []

    def chunked(name: str, chunk: ev.Chunk) -> None:
        try:
            results.append(keys[0].open(chunk.index, chunk.sealed, chunk.final))
        except Error as fault:
            results.append(fault.code)

    made.chunked = chunked
    made.meddle = lambda header, body: (
        [(header, spliced[0])]
        if decode(header).kind is Kind.STREAM and decode(header).seq == 1
        else [(header, body)]
    )
    made.feed("ana", ev.Read(members().cards["north"], sources[0].stream))
    made.run(1)
    assert results == [b"0", "BAD_RESULT", b"2"]
    for source in sources:
        source.close()


def test_one_lost_control_message_does_not_disturb_the_next():
    """attack 35"""
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    made.meddle = on_step(Step.DATA, lambda header, body: [])
    ask(made, "ana", "north", b"lost for now", ident=2)
    ask(made, "ana", "north", b"next", ident=3)
    made.run(0)
    assert outcome(made, "ana", 3) == b"re:next"
    assert not [effect for effect in made.of("ana", ev.Replied) if effect.ident == 2]
    made.run(5)
    assert outcome(made, "ana", 2) == b"re:lost for now"


def test_what_arrives_in_a_session_is_said_to_come_from_its_owner():
    """attack 37, session part: bob's session never yields a request of ana's, and ids do not mix."""
    made = world("ana", "bob", "north")
    ask(made, "ana", "north", b"a")
    ask(made, "bob", "north", b"b")
    made.run(1)
    seen = {effect.body: effect.peer.name for effect in made.of("north", ev.Asked)}
    assert seen == {b"a": "ana", b"b": "bob"}
    handshakes = {effect.handshake for effect in made.of("north", ev.Asked)}
    assert len(handshakes) == 2
    # bob's sealed call moved into ana's session opens nowhere
    bob = members().cards["bob"].address
    flow = next(decode(h).flow for h, b in made.sent if decode(h).src != bob and b[0] == Step.DATA)
    ask(made, "bob", "north", b"c", ident=2)
    header, body = made.sent[-2]
    moved = replace(decode(header), src=members().cards["ana"].address, flow=flow)
    made.deliver(moved.encode(), body)
    made.run(1)
    assert [e.peer.name for e in made.of("north", ev.Asked) if e.body == b"c"] == ["bob"]


def test_only_the_one_who_was_called_can_reply():
    made = world("ana", "north", "south")
    made.serve["north"] = lambda asked: None
    made.serve["south"] = lambda asked: None
    ask(made, "ana", "north", b"a", ident=1)
    ask(made, "ana", "south", b"b", ident=2)
    made.run(1)
    # south answers with the id of the call that ana made to north
    south = made.peers["south"]
    ana = members().cards["ana"].address
    best = south.out.channels.best(ana, made.now)
    assert best is not None
    south.out.seal(best, Record.REPLY, 1, b"forged", made.now)
    for effect in south.out.take():
        assert isinstance(effect, ev.Send)
        made.deliver(readdress(effect.header, src=south.address), effect.body)
    made.run(1)
    assert not made.of("ana", ev.Replied)


def test_a_peers_own_ciphertext_thrown_back_is_rejected():
    """attack 38b"""
    made = world("north", "south")
    made.serve["south"] = lambda asked: None
    ask(made, "north", "south", b"query")
    made.run(1)
    header, body = next((h, b) for h, b in made.sent if b[0] == Step.DATA)
    head = decode(header)
    dropped = made.peers["north"].out.dropped
    made.deliver(replace(head, dst=head.src, src=head.dst).encode(), body)
    made.run(1)
    assert made.peers["north"].out.dropped == dropped + 1
    assert not made.of("north", ev.Asked)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(list(Kind)),
    known=st.booleans(),
    body=st.binary(max_size=300),
    flags=st.integers(0, 255),
    seq=st.integers(0, 2**32 - 1),
)
def test_undecodable_bodies_are_not_acted_on(kind, known, body, flags, seq):
    """attack 38c: nothing is parsed before it authenticated; no exception, no effect but hints."""
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    flow = decode(made.sent[-1][0]).flow if known else b"?" * 16
    header = Header(
        kind=kind,
        flags=flags,
        dst=made.peers["north"].address,
        src=made.peers["ana"].address,
        flow=flow,
        seq=seq,
    )
    before = {name: len(found) for name, found in made.effects.items()}
    made.feed("north", ev.Arrived(header.encode(), body))
    new = made.effects["north"][before["north"] :]
    assert all(isinstance(effect, ev.Fetched | ev.PublishRefused) for effect in new)
    ask(made, "ana", "north", b"b", ident=2)
    made.run(5)
    assert outcome(made, "ana", 2) == b"re:b"


@settings(max_examples=60, deadline=None)
@given(header=st.binary(max_size=80), body=st.binary(max_size=80))
def test_garbage_frames_are_dropped(header, body):
    made = world("north")
    made.effects["north"].clear()
    made.feed("north", ev.Arrived(header, body))
    assert not made.effects["north"]
