"""Sessions and sealed chunks under a relay that replays, reorders, drops, reflects and splices."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import IntegrityError
from podsql.relay.frames import Header, Kind, bound
from podsql.relay.keys import PeerKeys
from podsql.relay.noise import NONCE_LIMIT, Split
from podsql.relay.sealing import CHUNK_LIMIT, ChunkOpener, ChunkSealer, new_stream
from podsql.relay.session import (
    REKEY_BYTES,
    REKEY_MESSAGES,
    WINDOW,
    Initiator,
    ReplayWindow,
    Responder,
    Session,
    prologue,
)

AD = bound(Header(kind=Kind.SEND, dst=b"d" * 16, src=b"s" * 16, flow=b"f" * 16, seq=7))


def pair() -> tuple[Session, Session]:
    one, two = PeerKeys.generate(), PeerKeys.generate()
    between = prologue(one.address, two.address)
    opener = Initiator(prologue=between, static=one.noise, remote_static=two.noise_public)
    answerer = Responder(prologue=between, static=two.noise)
    hs3, _, session = opener.finish(answerer.answer(opener.start(), b""), b"")
    return session, answerer.finish(hs3)[1]


def late(counter: int) -> Session:
    """A session whose next message has that counter."""
    session = Session(Split(b"a" * 32, b"b" * 32, b"h" * 64, b"s" * 32), initiator=True)
    session._next = counter
    return session


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_the_window_takes_each_counter_once_and_none_too_old(counters: list[int]) -> None:
    window, taken, top = ReplayWindow(), set(), -1
    for counter in counters:
        expected = counter not in taken and counter > top - WINDOW
        assert window.fresh(counter) is expected
        if expected:
            window.take(counter)
            taken.add(counter)
            top = max(top, counter)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_attack_35_lost_and_reordered_messages_do_not_stop_later_ones(
    order: list[int], lost: set[int]
) -> None:
    ours, theirs = PAIR
    sealed = [ours.seal(b"%d" % number, AD) for number in range(12)]
    for number in order:
        if number not in lost:
            assert theirs.open(sealed[number], AD) == b"%d" % number
            with pytest.raises(IntegrityError, match="seen before"):
                theirs.open(sealed[number], AD)


PAIR = pair()


def test_attack_29_a_replayed_message_is_refused_in_its_session_and_in_the_next() -> None:
    ours, theirs = pair()
    query = ours.seal(b"query", AD)
    assert theirs.open(query, AD) == b"query"
    with pytest.raises(IntegrityError, match="seen before"):
        theirs.open(query, AD)
    _, next_session = pair()
    with pytest.raises(IntegrityError, match="authenticate"):
        next_session.open(query, AD)


def test_attack_29_a_message_that_fell_out_of_the_window_is_refused() -> None:
    ours, theirs = pair()
    first = ours.seal(b"first", AD)
    for _ in range(WINDOW):
        theirs.open(ours.seal(b"", AD), AD)
    with pytest.raises(IntegrityError, match="too old"):
        theirs.open(first, AD)


def test_attack_25_a_changed_message_is_refused_and_does_not_move_the_window() -> None:
    ours, theirs = pair()
    sealed = ours.seal(b"query", AD)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            theirs.open(bytes(changed), AD)
    for size in range(len(sealed)):
        with pytest.raises(IntegrityError):
            theirs.open(sealed[:size], AD)
    # Flipped counter bits reached as high as 2^63: had one moved the window, this would fail.
    assert theirs.open(sealed, AD) == b"query"


def test_attack_25_a_message_under_another_header_is_refused() -> None:
    ours, theirs = pair()
    header = Header(kind=Kind.SEND, dst=b"d" * 16, src=b"s" * 16, flow=b"f" * 16, seq=7)
    sealed = ours.seal(b"query", bound(header))
    for change in ({"dst": b"x" * 16}, {"src": b"x" * 16}, {"flow": b"x" * 16}, {"seq": 8}):
        with pytest.raises(IntegrityError):
            theirs.open(sealed, bound(dataclasses.replace(header, **change)))
    # The relay owns ttl: it is not bound.
    assert theirs.open(sealed, bound(dataclasses.replace(header, ttl=9))) == b"query"


def test_attack_38_a_used_up_counter_stops_the_session() -> None:
    session = late(NONCE_LIMIT - 1)
    session.seal(b"last", AD)
    for _ in range(3):
        with pytest.raises(IntegrityError, match="used up"):
            session.seal(b"one more", AD)


def test_attack_38_no_counter_is_used_twice() -> None:
    ours, _ = pair()
    counters = set()
    for number in range(200):
        counters.add(ours.seal(b"x", AD)[:8])
        if number % 3 == 0:
            with pytest.raises(TypeError):
                ours.seal(None, AD)  # type: ignore[arg-type]
    assert len(counters) == 200


def test_attack_38_messages_bytes_and_time_ask_for_a_new_handshake() -> None:
    ours, theirs = pair()
    assert not ours.exhausted(100.0)
    assert not ours.exhausted(699.0)
    assert ours.exhausted(700.0)
    assert not ours.expired(3699.0)
    assert ours.expired(3700.0)
    assert not theirs.exhausted(0.0)
    theirs._messages = REKEY_MESSAGES - 1
    theirs.open(ours.seal(b"", AD), AD)
    assert theirs.exhausted(0.0)
    third, _ = pair()
    third._bytes = REKEY_BYTES - 1
    third.seal(b"x", AD)
    assert third.exhausted(0.0)


def test_attack_38b_a_peers_own_message_reflected_is_refused() -> None:
    for session in pair():
        with pytest.raises(IntegrityError, match="authenticate"):
            session.open(session.seal(b"mine", AD), AD)


# -- bulk chunks -------------------------------------------------------------------------------


def sealed_stream(chunks: list[bytes]) -> tuple[ChunkOpener, list[tuple[bytes, bool]]]:
    stream, key = new_stream()
    sealer = ChunkSealer(stream, key)
    last = len(chunks) - 1
    return ChunkOpener(stream, key), [
        (sealer.seal(index, chunk, index == last), index == last)
        for index, chunk in enumerate(chunks)
    ]


@given(
    chunks=st.lists(st.binary(max_size=40), min_size=1, max_size=6),
    index=st.integers(0, 6),
    source=st.integers(0, 5),
    final=st.booleans(),
)
def test_attack_31_a_chunk_opens_only_as_what_it_was_sealed_as(
    chunks: list[bytes], index: int, source: int, final: bool
) -> None:
    opener, sealed = sealed_stream(chunks)
    data, was_final = sealed[source % len(sealed)]
    if index == source % len(sealed) and final == was_final:
        assert opener.open(index, data, final) == chunks[index]
        return
    with pytest.raises(IntegrityError) as refused:
        opener.open(index, data, final)
    assert refused.value.code == "BAD_RESULT"


def test_attack_31_chunks_open_in_any_order_and_again_after_a_resume() -> None:
    opener, sealed = sealed_stream([b"a", b"b", b"c"])
    for index in (2, 0, 1, 1, 2):
        data, final = sealed[index]
        assert opener.open(index, data, final) == b"abc"[index : index + 1]


def test_attack_32_an_earlier_chunk_marked_final_is_refused() -> None:
    opener, sealed = sealed_stream([b"a", b"b", b"c"])
    for index in (0, 1):
        with pytest.raises(IntegrityError, match="authenticate"):
            opener.open(index, sealed[index][0], True)
    with pytest.raises(IntegrityError, match="authenticate"):
        opener.open(2, sealed[2][0], False)


def test_attack_33_a_chunk_of_another_stream_is_refused() -> None:
    opener, _ = sealed_stream([b"same"])
    _, other = sealed_stream([b"same"])
    with pytest.raises(IntegrityError, match="authenticate"):
        opener.open(0, other[0][0], True)
    stream, key = new_stream()
    mine = ChunkSealer(stream, key).seal(0, b"same", True)
    # Even under one key, the stream's id is bound.
    with pytest.raises(IntegrityError, match="authenticate"):
        ChunkOpener(new_stream()[0], key).open(0, mine, True)


def test_attack_25_any_flipped_bit_of_a_chunk_is_refused() -> None:
    opener, sealed = sealed_stream([b"rows"])
    for bit in range(8 * len(sealed[0][0])):
        changed = bytearray(sealed[0][0])
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            opener.open(0, bytes(changed), True)


def test_an_index_is_sealed_once_and_nothing_follows_the_final_chunk() -> None:
    sealer = ChunkSealer(*new_stream())
    sealer.seal(0, memoryview(b"a"), False)
    for index in (0, 2):
        with pytest.raises(Exception, match="once each"):
            sealer.seal(index, b"b", False)
    sealer.seal(1, b"", True)
    with pytest.raises(Exception, match="once each"):
        sealer.seal(2, b"", True)


def test_sizes_and_indexes_out_of_range_are_refused() -> None:
    stream, key = new_stream()
    opener = ChunkOpener(stream, key)
    for sealed in (b"", bytes(15), bytes(CHUNK_LIMIT + 17)):
        with pytest.raises(IntegrityError, match="size"):
            opener.open(0, sealed, True)
    for index in (-1, 1 << 24):
        with pytest.raises(IntegrityError, match="range"):
            opener.open(index, bytes(16), True)
    with pytest.raises(Exception, match="limit"):
        ChunkSealer(stream, key).seal(0, bytes(CHUNK_LIMIT + 1), True)
    with pytest.raises(IntegrityError):
        ChunkOpener(stream, b"short")
