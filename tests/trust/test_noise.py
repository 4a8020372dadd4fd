"""The handshake against published vectors, against another library, and against a hostile relay."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base
from noise.connection import Keypair, NoiseConnection  # type: ignore[import-untyped]

from podsql.errors import IntegrityError
from podsql.relay.keys import PeerKeys
from podsql.relay.noise import HandshakeState, nonce_of
from podsql.relay.session import Initiator, Responder, Session, prologue

VECTORS = json.loads((Path(__file__).parent / "noise_vectors.json").read_text())["vectors"]
ANA = PeerKeys(identity=b"\x01" * 32, noise=b"\x02" * 32, curve=b"\x03" * 32)
NORTH = PeerKeys(identity=b"\x04" * 32, noise=b"\x05" * 32, curve=b"\x06" * 32)
SOUTH = PeerKeys(identity=b"\x07" * 32, noise=b"\x08" * 32, curve=b"\x09" * 32)
BETWEEN = prologue(ANA.address, NORTH.address)


def initiator(between: bytes = BETWEEN, psk: bytes | None = None) -> Initiator:
    return Initiator(
        prologue=between,
        static=ANA.noise,
        remote_static=NORTH.noise_public,
        ephemeral=b"\x0a" * 32,
        psk=psk,
    )


def responder(between: bytes = BETWEEN, psk: bytes | None = None) -> Responder:
    return Responder(prologue=between, static=NORTH.noise, ephemeral=b"\x0b" * 32, psk=psk)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_published_vectors_are_met_byte_for_byte(vector: dict[str, Any]) -> None:
    def raw(name: str) -> bytes | None:
        return None if vector[name] is None else bytes.fromhex(vector[name])

    psk = raw("psk")
    sides = (
        HandshakeState(
            initiator=True,
            prologue=raw("prologue") or b"",
            static=raw("init_static") or b"",
            remote_static=raw("init_remote_static"),
            ephemeral=raw("init_ephemeral"),
            psk=psk,
        ),
        HandshakeState(
            initiator=False,
            prologue=raw("prologue") or b"",
            static=raw("resp_static") or b"",
            ephemeral=raw("resp_ephemeral"),
            psk=psk,
        ),
    )
    messages = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]
    for step, (payload, ciphertext) in enumerate(messages[:3]):
        assert sides[step % 2].write_message(payload) == ciphertext
        assert sides[1 - step % 2].read_message(ciphertext) == payload
    ours, theirs = sides[0].split(), sides[1].split()
    assert ours.handshake_hash == theirs.handshake_hash == raw("handshake_hash")
    assert theirs.remote_static == crypto_scalarmult_base(raw("init_static") or b"")
    sessions = (Session(ours, initiator=True), Session(theirs, initiator=False))
    for step, (payload, ciphertext) in enumerate(messages[3:], start=3):
        # The vectors' transport has no associated data and leaves the counter implicit.
        sealed = sessions[step % 2].seal(payload, b"")
        assert sealed[8:] == ciphertext
        assert sessions[1 - step % 2].open(sealed, b"") == payload


@pytest.mark.parametrize("psk", [None, b"\x0c" * 32], ids=["XK", "XKpsk3"])
@pytest.mark.parametrize("we_start", [True, False], ids=["we start", "they start"])
def test_another_library_shakes_hands_with_us(we_start: bool, psk: bytes | None) -> None:
    name = b"Noise_XK" + (b"psk3" if psk else b"") + b"_25519_ChaChaPoly_BLAKE2b"
    other = NoiseConnection.from_name(name)
    other.set_prologue(BETWEEN)
    if psk:
        other.set_psks(psk)
    if we_start:
        other.set_as_responder()
        other.set_keypair_from_private_bytes(Keypair.STATIC, NORTH.noise)
        other.start_handshake()
        mine = initiator(psk=psk)
        assert other.read_message(mine.start()) == b""
        hs3, payload2, session = mine.finish(bytes(other.write_message(b"two")), b"three")
        assert payload2 == b"two"
        assert other.read_message(hs3) == b"three"
    else:
        other.set_as_initiator()
        other.set_keypair_from_private_bytes(Keypair.STATIC, ANA.noise)
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, NORTH.noise_public)
        other.start_handshake()
        mine_too = responder(psk=psk)
        hs2 = mine_too.answer(bytes(other.write_message()), b"two")
        assert other.read_message(hs2) == b"two"
        payload3, session = mine_too.finish(bytes(other.write_message(b"three")))
        assert payload3 == b"three"
        assert session.remote_static == ANA.noise_public
    assert other.get_handshake_hash() == session.handshake_hash
    assert other.decrypt(session.seal(b"out", b"")[8:]) == b"out"
    assert session.open(bytes(8) + bytes(other.encrypt(b"in")), b"") == b"in"


def test_both_ends_agree_and_know_each_other() -> None:
    ours, theirs = initiator(), responder()
    hs3, payload2, session = ours.finish(theirs.answer(ours.start(), b"hello"), b"query")
    payload3, other = theirs.finish(hs3)
    assert (payload2, payload3) == (b"hello", b"query")
    assert session.handshake_hash == other.handshake_hash
    assert session.remote_static == NORTH.noise_public
    assert other.remote_static == ANA.noise_public


def run(tamper: int, change: Any) -> None:
    """One handshake with message ``tamper`` changed on its way."""
    ours, theirs = initiator(), responder()
    wire = [change if step == tamper else bytes for step in range(3)]
    hs2 = theirs.answer(wire[0](ours.start()), b"two")
    hs3, _, _ = ours.finish(wire[1](hs2), b"three")
    theirs.finish(wire[2](hs3))


def lengths() -> list[int]:
    ours, theirs = initiator(), responder()
    hs1 = ours.start()
    hs2 = theirs.answer(hs1, b"two")
    hs3, _, _ = ours.finish(hs2, b"three")
    return [len(hs1), len(hs2), len(hs3)]


@pytest.mark.parametrize("step", range(3))
def test_attack_25_any_flipped_bit_of_a_handshake_ends_it(step: int) -> None:
    for bit in range(8 * lengths()[step]):

        def flip(message: bytes, bit: int = bit) -> bytes:
            changed = bytearray(message)
            changed[bit // 8] ^= 1 << bit % 8
            return bytes(changed)

        with pytest.raises(IntegrityError) as refused:
            run(step, flip)
        assert refused.value.code == "SESSION"


@pytest.mark.parametrize("step", range(3))
def test_attack_26_a_truncated_or_empty_handshake_message_is_refused(step: int) -> None:
    for size in range(lengths()[step]):

        def cut(message: bytes, size: int = size) -> bytes:
            return message[:size]

        with pytest.raises(IntegrityError) as refused:
            run(step, cut)
        assert refused.value.code == "SESSION"


@settings(max_examples=60)
@given(step=st.integers(0, 2), junk=st.binary(max_size=300))
def test_attack_26_no_bytes_whatever_raise_anything_but_a_refusal(step: int, junk: bytes) -> None:
    with pytest.raises(IntegrityError):
        run(step, lambda _: junk)


def test_attack_26_an_oversized_handshake_message_is_refused() -> None:
    for step in range(3):
        with pytest.raises(IntegrityError, match="too long"):
            run(step, lambda message: message + bytes(70_000))


@pytest.mark.parametrize(
    "other",
    [
        prologue(ANA.address, SOUTH.address),
        prologue(SOUTH.address, NORTH.address),
        prologue(NORTH.address, ANA.address),
    ],
    ids=["to another pod", "from another peer", "turned round"],
)
def test_attack_27_a_readdressed_handshake_fails_at_its_first_message(other: bytes) -> None:
    with pytest.raises(IntegrityError, match="authenticate"):
        responder(other).answer(initiator().start(), b"")


def test_attack_27_another_pod_cannot_answer_in_the_right_ones_place() -> None:
    impostor = Responder(prologue=BETWEEN, static=SOUTH.noise)
    with pytest.raises(IntegrityError, match="authenticate"):
        impostor.answer(initiator().start(), b"")


@pytest.mark.parametrize("position", [8, 9], ids=["major", "least version"])
def test_attack_28_ends_that_see_other_versions_do_not_meet(position: int) -> None:
    other = bytearray(BETWEEN)
    other[position] ^= 1
    with pytest.raises(IntegrityError, match="authenticate"):
        responder(bytes(other)).answer(initiator().start(), b"")


def test_attack_28_a_side_that_drops_the_shared_secret_is_not_let_in() -> None:
    with pytest.raises(IntegrityError):
        responder(psk=b"\x0c" * 32).answer(initiator().start(), b"")


LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:6])
def test_attack_34_a_low_order_ephemeral_drops_the_session(point: bytes) -> None:
    for step in (0, 1):
        with pytest.raises(IntegrityError) as refused:
            run(step, lambda message: point + message[32:])
        assert refused.value.code == "SESSION"


def test_attack_34_a_low_order_static_key_is_refused_before_anything_is_sent() -> None:
    mine = Initiator(prologue=BETWEEN, static=ANA.noise, remote_static=bytes(32))
    with pytest.raises(IntegrityError, match="low order"):
        mine.start()


def test_a_refused_handshake_is_never_used_again() -> None:
    theirs = responder()
    with pytest.raises(IntegrityError):
        theirs.answer(b"", b"")
    with pytest.raises(IntegrityError, match="over"):
        theirs.answer(initiator().start(), b"")


def test_messages_out_of_turn_are_refused() -> None:
    ours = initiator()
    with pytest.raises(IntegrityError, match="out of turn"):
        ours.finish(bytes(48), b"")
    with pytest.raises(IntegrityError, match="not finished"):
        responder().finish(initiator().start())


def test_the_last_counter_of_a_key_is_never_used() -> None:
    assert nonce_of(258) == bytes.fromhex("000000000201000000000000")
    nonce_of(2**64 - 2)
    with pytest.raises(IntegrityError, match="used up"):
        nonce_of(2**64 - 1)
