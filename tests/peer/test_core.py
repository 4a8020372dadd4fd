"""The peer's core over a link that loses, repeats and reorders."""

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from link import Weather, World
from people import Federation, federation

from podsql.errors import Error, error
from podsql.relay import events as ev
from podsql.relay.channels import A_PEER
from podsql.relay.frames import Flag, Header, Kind, Nack, decode
from podsql.relay.handshakes import HALF_OPEN, HALF_OPEN_A_PEER
from podsql.relay.records import Step
from podsql.relay.sealing import ChunkOpener, ChunkSealer, new_stream
from podsql.relay.streams import StreamSource

WEATHER = st.builds(
    Weather,
    lose=st.sampled_from([0.0, 0.1, 0.3]),
    repeat=st.sampled_from([0.0, 0.3]),
    delay=st.sampled_from([0.0, 0.05, 0.5]),
)


@cache
def members() -> Federation:
    return federation(
        {
            "ana": "analyst",
            "bob": "analyst",
            "north": "pod",
            "south": "pod",
            "rules": "service",
            "mo": "modeller",
            "chair": "convener",
        }
    )


def world(*names: str, seed: int = 0, weather: Weather | None = None) -> World:
    made = World(members(), seed=seed, weather=weather)
    for name in names:
        made.serve[name] = lambda asked: b"re:" + asked.body
        made.join(name)
    return made


def ask(made: World, frm: str, to: str, body: bytes, *, ident: int = 1, seconds: float = 60.0):
    made.feed(frm, ev.Ask(ident, members().cards[to], body, made.now + seconds))


def outcome(made: World, name: str, ident: int = 1) -> bytes | Error:
    found = [effect.outcome for effect in made.of(name, ev.Replied) if effect.ident == ident]
    assert len(found) == 1
    return found[0]


def test_a_call_is_answered_in_two_round_trips_and_the_next_in_one():
    made = world("ana", "north")
    ask(made, "ana", "north", b"one")
    made.run(0)
    assert outcome(made, "ana") == b"re:one"
    assert len(made.sent) == 5  # HS1, HS2, HS3, CALL, REPLY
    ask(made, "ana", "north", b"two", ident=2)
    made.run(0)
    assert outcome(made, "ana", 2) == b"re:two"
    assert len(made.sent) == 7


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), weather=WEATHER, restart=st.booleans(), calls=st.integers(1, 8))
def test_every_call_gets_exactly_one_reply_and_is_served_at_most_once(
    seed, weather, restart, calls
):
    made = world("ana", "north", seed=seed, weather=weather)
    for ident in range(1, calls + 1):
        ask(made, "ana", "north", b"%d" % ident, ident=ident, seconds=40)
    if restart:
        made.run(0.3)
        made.reconnect("ana")
    made.run(41)
    for ident in range(1, calls + 1):
        answer = outcome(made, "ana", ident)
        if isinstance(answer, Error):
            assert answer.code == "TIMEOUT"
        else:
            assert answer == b"re:%d" % ident
    served = [effect.ident for effect in made.of("north", ev.Asked)]
    assert len(served) == len(set(served))
    if weather.lose == 0:
        assert all(not isinstance(effect.outcome, Error) for effect in made.of("ana", ev.Replied))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), weather=WEATHER, chunks=st.integers(1, 150), cut=st.booleans())
def test_every_stream_arrives_bit_identical_or_fails_but_never_short(seed, weather, chunks, cut):
    made = world("ana", "north", seed=seed, weather=weather)
    stream, key = new_stream()
    sealer, opener = ChunkSealer(stream, key), ChunkOpener(stream, key)
    source = StreamSource(stream, memory=400)
    plain = [made.random.randbytes(20) for _ in range(chunks)]
    made.feed("north", ev.Offer(members().cards["ana"], source))
    for index, data in enumerate(plain):
        source.append(sealer.seal(index, data, index == chunks - 1), index == chunks - 1)
    got: list[bytes] = []

    def chunked(name: str, chunk: ev.Chunk) -> None:
        assert chunk.index == len(got)
        got.append(opener.open(chunk.index, chunk.sealed, chunk.final))
        made.feed(name, ev.Consumed(chunk.frm, chunk.stream, 1))

    made.chunked = chunked
    ask(made, "ana", "north", b"open the session", seconds=1000)
    made.feed("ana", ev.Read(members().cards["north"], stream))
    if cut:
        made.run(0.4)
        made.reconnect("ana")
        made.reconnect("north")
    made.run(3000)  # go-back-n at 30 % loss takes its time
    source.close()
    if not made.of("ana", ev.Broke):
        assert got == plain
    else:
        assert weather.lose > 0


def test_a_slow_reader_bounds_what_is_sent():
    made = world("ana", "north")
    stream, _key = new_stream()
    source = StreamSource(stream)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    for index in range(200):
        source.append(b"x" * 100, index == 199)
    made.feed("ana", ev.Read(members().cards["north"], stream))
    made.run(30)
    assert len(made.of("ana", ev.Chunk)) == 4
    address = members().cards["north"].address
    for _ in range(196):
        made.feed("ana", ev.Consumed(address, stream, 1))
        made.run(0)
    held = len(made.of("ana", ev.Chunk))
    assert held == 200
    assert made.of("ana", ev.Chunk)[-1].final
    source.close()


def test_a_stream_that_fails_or_is_gone_says_so():
    made = world("ana", "north")
    source = StreamSource(b"s" * 16)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    made.feed("ana", ev.Read(members().cards["north"], source.stream))
    made.run(0)
    source.fail(error("OUT_OF_MEMORY", "the engine ran out of memory"))
    made.feed("north", ev.Changed(members().cards["ana"].address, source.stream))
    made.feed("ana", ev.Read(members().cards["north"], b"t" * 16))
    made.run(0)
    assert [effect.fault.code for effect in made.of("ana", ev.Broke)] == [
        "OUT_OF_MEMORY",
        "EXPIRED_RESULT",
    ]
    source.close()


def test_somebody_else_cannot_read_a_stream():
    made = world("ana", "bob", "north")
    source = StreamSource(b"s" * 16)
    source.append(b"x" * 32, True)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    made.feed("bob", ev.Read(members().cards["north"], source.stream))
    made.run(1)
    assert [effect.fault.code for effect in made.of("bob", ev.Broke)] == ["EXPIRED_RESULT"]
    source.close()


PAIRS = [
    ("ana", "north", True),
    ("ana", "rules", True),
    ("north", "rules", True),
    ("north", "south", True),
    ("rules", "north", True),
    ("mo", "north", True),
    ("north", "ana", False),
    ("ana", "bob", False),
    ("rules", "ana", False),
    ("chair", "north", False),
]


@pytest.mark.parametrize(("frm", "to", "allowed"), PAIRS)
def test_the_session_table_decides_who_may_call_whom(frm, to, allowed):
    made = world(frm, to)
    ask(made, frm, to, b"hello")
    made.run(1)
    answer = outcome(made, frm)
    if allowed:
        assert answer == b"re:hello"
    else:
        assert isinstance(answer, Error)
        assert answer.code == "ROLE"


def test_the_answering_side_checks_the_session_table_too():
    """A pod that pretends to be allowed gets no answer to HS1 from an analyst."""
    made = world("north", "ana")
    made.peers["north"].out.role = "analyst"
    made.peers["ana"].out.role = "analyst"
    made.feed("north", ev.Ask(1, members().cards["south"], b"x", made.now + 5))
    hs1 = made.sent[-1][1]
    header = Header(
        kind=Kind.SEND,
        dst=made.peers["ana"].address,
        src=made.peers["north"].address,
        flow=b"f" * 16,
    )
    made.deliver(header.encode(), hs1)
    made.run(1)
    assert made.peers["ana"].half_open == 0


def test_both_may_open_at_once():
    made = world("north", "south")
    ask(made, "north", "south", b"a")
    ask(made, "south", "north", b"b")
    made.run(1)
    assert outcome(made, "north") == b"re:a"
    assert outcome(made, "south") == b"re:b"


def test_a_restarted_peer_is_reached_again_by_a_new_handshake():
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    made.join("north")
    ask(made, "ana", "north", b"b", ident=2)
    made.run(1)
    assert outcome(made, "ana", 2) == b"re:b"


def test_a_session_is_replaced_after_ten_minutes_without_losing_a_call():
    made = world("ana", "north")
    for ident in range(1, 40):
        ask(made, "ana", "north", b"x", ident=ident)
        made.run(30)
        assert outcome(made, "ana", ident) == b"re:x"
    handshakes = [1 for header, body in made.sent if body[0] == Step.HS1]
    assert len(handshakes) == 2
    assert len({effect.handshake for effect in made.of("north", ev.Asked)}) == 2


def test_sessions_survive_a_relay_restart():
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    made.reconnect("ana")
    made.reconnect("north")
    ask(made, "ana", "north", b"b", ident=2)
    made.run(1)
    assert outcome(made, "ana", 2) == b"re:b"
    assert sum(body[0] == Step.HS1 for _, body in made.sent) == 1


def test_a_body_made_for_its_session_is_made_again_for_another():
    made = world("ana", "north")
    made.serve["north"] = lambda asked: None
    made.feed("ana", ev.Ask(1, members().cards["north"], lambda h: h, made.now + 60))
    made.run(1)
    made.serve["north"] = lambda asked: b"ok" if asked.body == asked.handshake else b"bad"
    made.join("north")
    made.run(30)
    assert outcome(made, "ana") == b"ok"
    hashes = {effect.body for effect in made.of("north", ev.Asked)}
    assert len(hashes) == 2


def test_a_call_to_an_absent_peer_ends_at_its_deadline():
    made = world("ana")
    ask(made, "ana", "north", b"a", seconds=5)
    attempt = made.sent[0][0]
    nack = Header(kind=Kind.NACK, flow=decode(attempt).flow, seq=Nack.OFFLINE)
    made.feed("ana", ev.Arrived(nack.encode(), b""))
    made.run(6)
    answer = outcome(made, "ana")
    assert isinstance(answer, Error)
    assert answer.code == "POD_LOST"


def test_a_peer_that_leaves_the_manifest_is_cut_off():
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    made.serve["north"] = lambda asked: None
    ask(made, "ana", "north", b"b", ident=2)
    everybody = members().manifest
    fewer = type(everybody)(
        federation=everybody.federation,
        version=2,
        issued=everybody.issued,
        expires=everybody.expires,
        cards=everybody.cards,
        revoked=(members().cards["north"].identity,),
    )
    made.feed("ana", ev.Enrolled(fewer))
    answer = outcome(made, "ana", 2)
    assert isinstance(answer, Error)
    assert answer.code == "REVOKED"
    ask(made, "ana", "north", b"c", ident=3)
    refused = outcome(made, "ana", 3)
    assert isinstance(refused, Error)
    assert refused.code == "REVOKED"


def test_someone_new_is_let_in_as_soon_as_the_manifest_names_them():
    made = world("ana", "north")
    everybody = members().manifest
    without = type(everybody)(
        federation=everybody.federation,
        version=1,
        issued=everybody.issued,
        expires=everybody.expires,
        cards=tuple(
            card for card in everybody.cards if card.signer != members().cards["ana"].identity
        ),
    )
    made.feed("north", ev.Enrolled(without))
    ask(made, "ana", "north", b"a")
    made.run(0)
    assert not made.of("ana", ev.Replied)
    made.feed("north", ev.Enrolled(everybody))
    made.run(0)
    assert outcome(made, "ana") == b"re:a"


def test_notes_wait_for_a_session_and_arrive_once():
    made = world("ana", "north")
    made.feed("ana", ev.Tell(members().cards["north"], b"note"))
    made.run(1)
    made.feed("ana", ev.Tell(members().cards["north"], b"note 2"))
    made.run(1)
    assert [(n.ident, n.body) for n in made.of("north", ev.Asked)] == [
        (None, b"note"),
        (None, b"note 2"),
    ]


def test_half_open_handshakes_are_capped_in_all_and_a_peer():
    """attack 30: a captured HS1, replayed: HS2 comes back, nobody can finish, the cap holds."""
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    header, hs1 = next((h, b) for h, b in made.sent if b[0] == Step.HS1)
    head = decode(header)
    for flow in range(HALF_OPEN * 2):
        replayed = Header(kind=Kind.SEND, dst=head.dst, src=head.src, flow=flow.to_bytes(16, "big"))
        made.deliver(replayed.encode(), hs1)
    made.run(0)
    assert made.peers["north"].half_open == HALF_OPEN_A_PEER
    ask(made, "ana", "north", b"b", ident=2)
    made.run(1)
    assert outcome(made, "ana", 2) == b"re:b"
    assert len(made.of("north", ev.Asked)) == 2


def test_a_forged_unknown_only_causes_handshakes_at_a_bounded_rate():
    """attack 36, session part: a storm of UNKNOWN, NACK, GONE and DRAIN changes no state."""
    made = world("ana", "north")
    ask(made, "ana", "north", b"a")
    made.run(1)
    flow = decode(made.sent[-1][0]).flow
    before = len(made.sent)
    for turn in range(200):
        forged = Header(
            kind=Kind.SEND,
            dst=made.peers["ana"].address,
            src=made.peers["north"].address,
            flow=flow,
        )
        made.deliver(forged.encode(), bytes((Step.UNKNOWN,)))
        for code in Nack:
            nack = Header(kind=Kind.NACK, dst=made.peers["ana"].address, flow=flow, seq=code)
            made.deliver(nack.encode(), b"")
        for kind in (Kind.GONE, Kind.DRAIN, Kind.BYE):
            made.deliver(Header(kind=kind, dst=made.peers["ana"].address).encode(), b"")
        made.run(0.1)
        if turn % 20 == 0:
            ask(made, "ana", "north", b"%d" % turn, ident=100 + turn)
    made.run(5)
    asked = [effect.ident for effect in made.of("north", ev.Asked)]
    assert len(asked) == len(set(asked)) == 11
    assert all(outcome(made, "ana", 100 + turn) == b"re:%d" % turn for turn in range(0, 200, 20))
    assert sum(body[0] == Step.HS1 for _, body in made.sent[before:]) <= 6


def test_a_forged_nack_storm_does_not_break_a_stream():
    """attack 36: NACKs are hints; the stream stands and arrives whole."""
    made = world("ana", "north")
    stream, key = new_stream()
    sealer, opener = ChunkSealer(stream, key), ChunkOpener(stream, key)
    source = StreamSource(stream)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    for index in range(50):
        source.append(sealer.seal(index, b"%d" % index, index == 49), index == 49)
    digest = hashlib.sha256()

    def chunked(name: str, chunk: ev.Chunk) -> None:
        digest.update(opener.open(chunk.index, chunk.sealed, chunk.final))
        for code in (Nack.BUSY, Nack.OFFLINE, Nack.REVOKED):
            nack = Header(kind=Kind.NACK, dst=chunk.frm, flow=stream, seq=code)
            made.deliver(nack.encode(), b"")
        made.feed(name, ev.Consumed(chunk.frm, chunk.stream, 1))

    made.chunked = chunked
    made.feed("ana", ev.Read(members().cards["north"], stream))
    made.run(300)
    assert made.of("ana", ev.Chunk)[-1].final
    assert digest.digest() == hashlib.sha256(b"".join(b"%d" % i for i in range(50))).digest()
    source.close()


def test_no_more_than_a_few_sessions_are_kept_with_one_peer():
    made = world("ana", "north")
    for turn in range(10):
        ask(made, "ana", "north", b"x", ident=turn + 1)
        made.run(700)
    assert len(made.peers["north"].out.channels.of(made.peers["ana"].address)) <= A_PEER


def test_stream_flags_are_the_only_thing_a_relay_can_set_and_the_seal_tells():
    """attack 32: an earlier chunk marked final ends in BAD_RESULT, never in a short result."""
    made = world("ana", "north")
    stream, key = new_stream()
    sealer, opener = ChunkSealer(stream, key), ChunkOpener(stream, key)
    source = StreamSource(stream)
    made.feed("north", ev.Offer(members().cards["ana"], source))
    for index in range(5):
        source.append(sealer.seal(index, b"%d" % index, index == 4), index == 4)
    faults: list[str] = []
    plain: list[bytes] = []

    def chunked(name: str, chunk: ev.Chunk) -> None:
        try:
            plain.append(opener.open(chunk.index, chunk.sealed, chunk.final))
        except Error as fault:
            faults.append(fault.code)

    def cut(header: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
        head = decode(header)
        if head.kind is Kind.STREAM and head.seq == 2:
            forged = Header(
                kind=Kind.STREAM,
                flags=Flag.FINAL,
                dst=head.dst,
                src=head.src,
                flow=head.flow,
                seq=2,
            )
            return [(forged.encode(), body)]
        return [(header, body)]

    made.chunked, made.meddle = chunked, cut
    made.feed("ana", ev.Read(members().cards["north"], stream))
    made.run(10)
    assert faults == ["BAD_RESULT"]
    assert plain == [b"0", b"1"]
    source.close()
