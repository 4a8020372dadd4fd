"""Signatures, cards, invites: what is signed, by whom, and what a forger cannot do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import Error, IntegrityError
from podsql.message import Signed
from podsql.messages import decode_as
from podsql.relay.cards import (
    ROLES,
    Card,
    card_from_text,
    card_text,
    make_card,
    may_open,
    read_card,
)
from podsql.relay.invite import (
    Invite,
    RelayAddress,
    invite_curve,
    invite_from_text,
    invite_text,
    secret_hash,
)
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.signing import sign, verify
from podsql.service_messages import Grant

KEYS = PeerKeys.generate()


def named(change: dict[str, object]) -> str:
    """A test's name, without keys, which are other ones each time."""
    (item,) = change.items()
    return str((item[0], getattr(item[1], "endpoint", type(item[1]).__name__)))


SEED = generate_signing()
PUBLIC = signing_public(SEED)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]


def refused(code: str, call: object, *arguments: object, **named: object) -> Error:
    assert callable(call)
    with pytest.raises(IntegrityError) as failure:
        call(*arguments, **named)
    assert failure.value.code == code
    return failure.value


# -- signatures --------------------------------------------------------------------------------


def test_a_signed_document_gives_back_its_bytes() -> None:
    document = sign("grant", b"body", SEED)
    assert verify(document, "grant") == b"body"
    assert verify(document, "grant", PUBLIC) == b"body"
    assert document.signer == PUBLIC


@given(st.integers(0, 63), st.integers(0, 7))
def test_a_changed_signature_body_or_signer_is_refused(at: int, bit: int) -> None:
    document = sign("grant", b"b" * 64, SEED)
    for name in ("signature", "body", "signer"):
        changed = bytearray(getattr(document, name))
        changed[at % len(changed)] ^= 1 << bit
        refused(
            "SIGNATURE",
            verify,
            msgspec.structs.replace(document, **{name: bytes(changed)}),
            "grant",
        )


def test_another_signer_than_expected_is_refused() -> None:
    refused("SIGNATURE", verify, sign("grant", b"body", generate_signing()), "grant", PUBLIC)


def test_attack_40_a_malleated_signature_is_refused() -> None:
    document = sign("grant", b"body", SEED)
    scalar = int.from_bytes(document.signature[32:], "little") + GROUP_ORDER
    twin = document.signature[:32] + scalar.to_bytes(32, "little")
    refused("SIGNATURE", verify, msgspec.structs.replace(document, signature=twin), "grant")


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:6])
def test_attack_40_a_small_order_key_signs_nothing(point: bytes) -> None:
    # With such a key, R = A and S = 0 satisfy the equation for many messages.
    for first in (*SMALL_ORDER, point):
        forged = Signed(kind="grant", body=b"body", signer=point, signature=first + bytes(32))
        refused("SIGNATURE", verify, forged, "grant")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_and_signatures_of_wrong_sizes_are_refused(size: int) -> None:
    document = sign("grant", b"body", SEED)
    refused("SIGNATURE", verify, msgspec.structs.replace(document, signer=bytes(size)), "grant")
    if size != 64:
        wrong = msgspec.structs.replace(document, signature=bytes(size))
        refused("SIGNATURE", verify, wrong, "grant")


def test_attack_41_a_document_of_one_kind_is_never_another() -> None:
    decision = sign("decision", b"body", SEED)
    refused("SIGNATURE", verify, decision, "grant")
    # Relabelled by the relay: the kind is inside the signature as well.
    refused("SIGNATURE", verify, msgspec.structs.replace(decision, kind="grant"), "grant")
    moved = Signed(kind="grant", body=b"x\0body", signer=PUBLIC, signature=decision.signature)
    refused("SIGNATURE", verify, moved, "grant")
    refused("SIGNATURE", sign, "gr\0ant", b"body", SEED)


def grant_bytes() -> bytes:
    return msgspec.msgpack.encode(
        Grant(
            grant_id="g",
            analyst=PUBLIC,
            pod="north",
            tables=("visits",),
            purpose="p",
            project="q",
            release="sdc_local",
            since=5,
            until=9,
        )
    )


def test_attack_43_other_encodings_of_a_signed_body_break_its_signature() -> None:
    body = grant_bytes()
    assert body.endswith(b"\x05\x09\xc2")  # since, until, review
    long_form = body[:-3] + b"\xcc\x05\xcd\x00\x09\xc2"
    assert decode_as(Grant, long_form) == decode_as(Grant, body)
    document = sign("grant", body, SEED)
    refused("SIGNATURE", verify, msgspec.structs.replace(document, body=long_form), "grant")


@pytest.mark.parametrize(
    "body",
    [
        grant_bytes() + b"\x00",
        bytes((grant_bytes()[0] + 1,)) + grant_bytes()[1:] + b"\x01",
        grant_bytes()[:-1],
        grant_bytes()[:-1] + b"\xa1x",
        msgspec.msgpack.encode({"type": "grant/2", "grant_id": "g", "until": 9}),
        b"\x82\xa5until\x01\xa5until\x02",
        b"\xdd\x00\x10\x00\x00" + bytes(64),
        b"\x91" * 500,
    ],
    ids=["trailing", "extra field", "cut", "wrong type", "map", "double keys", "huge", "deep"],
)
def test_attack_43_bodies_that_are_not_the_type_do_not_decode(body: bytes) -> None:
    refused("BAD_MESSAGE", decode_as, Grant, verify(sign("grant", body, SEED), "grant"))


# -- cards -------------------------------------------------------------------------------------


def forge(seed: bytes = KEYS.identity, **change: object) -> Signed:
    """A card signed by ``seed`` whose fields a forger chose."""
    card = read_card(make_card(KEYS, name="north", role="pod", now=1))
    return sign("card", msgspec.msgpack.encode(msgspec.structs.replace(card, **change)), seed)


def test_a_card_says_who_and_survives_its_text() -> None:
    document = make_card(KEYS, name="north", role="pod", now=7)
    card = read_card(document)
    assert (card.name, card.role, card.created) == ("north", "pod", 7)
    assert (card.identity, card.noise, card.curve) == (
        KEYS.identity_public,
        KEYS.noise_public,
        KEYS.curve_public,
    )
    assert (card.address, card.fingerprint) == (KEYS.address, KEYS.fingerprint)
    text = card_text(document)
    assert text.startswith("podsql-card:")
    assert len(text.splitlines()) == 1
    assert card_from_text(f" {text}\n") == document


def test_a_card_is_signed_by_the_key_it_names() -> None:
    refused("SIGNATURE", read_card, forge(seed=SEED))
    refused(
        "SIGNATURE",
        read_card,
        sign("offer", make_card(KEYS, name="a", role="pod", now=1).body, KEYS.identity),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "North"},
        {"name": "1north"},
        {"name": "north\n"},
        {"name": "nörth"},
        {"name": "n" * 64},
        {"name": "../north"},
        {"role": "relay"},
        {"role": "invitee"},
        {"noise": bytes(31)},
        {"curve": b""},
        {"noise": KEYS.curve_public},
        {"created": "now"},
    ],
    ids=named,
)
def test_a_card_that_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    refused("BAD_MESSAGE", read_card, forge(KEYS.identity, **change))


def test_attack_43_a_card_with_trailing_or_extra_bytes_is_refused() -> None:
    body = make_card(KEYS, name="north", role="pod", now=1).body
    for other in (body + b"\x00", bytes((body[0] + 1,)) + body[1:] + b"\x01", body[:-1], b""):
        refused("BAD_MESSAGE", read_card, sign("card", other, KEYS.identity))


@given(st.text(max_size=80))
def test_pasted_text_that_is_no_card_is_refused(text: str) -> None:
    for line in (text, "podsql-card:" + text):
        with pytest.raises(IntegrityError):
            card_from_text(line)


def test_the_session_table_is_closed() -> None:
    allowed = {
        (one, other)
        for one in (*ROLES, "invitee", "relay", "")
        for other in (*ROLES, "invitee", "relay", "")
        if may_open(one, other)
    }
    assert allowed == {
        ("analyst", "pod"),
        ("analyst", "service"),
        ("analyst", "modeller"),
        ("modeller", "pod"),
        ("modeller", "service"),
        ("pod", "service"),
        ("pod", "pod"),
        ("service", "pod"),
        ("invitee", "convener"),
        ("analyst", "convener"),
        ("modeller", "convener"),
        ("pod", "convener"),
        ("service", "convener"),
    }


# -- invites -----------------------------------------------------------------------------------

INVITE = Invite(
    relay=RelayAddress(endpoint="tcp://relay.example:9443", curve=KEYS.curve_public),
    federation=fingerprint(PUBLIC),
    secret=b"\x42" * 32,
    name="north",
    role="pod",
    expires=99,
)


def test_an_invite_survives_its_line() -> None:
    text = invite_text(INVITE)
    assert text.startswith("podsql-invite:")
    assert len(text.splitlines()) == 1
    assert invite_from_text(f"{text}\n") == INVITE
    assert "42" * 32 not in repr(INVITE)
    assert repr(INVITE.secret) not in repr(INVITE)


@given(st.integers(0, 500), st.sampled_from("abcXYZ019-_"))
def test_a_mistyped_invite_is_refused(position: int, letter: str) -> None:
    text = invite_text(INVITE)
    at = position % len(text)
    typo = text[:at] + letter + text[at + 1 :]
    # The last letter holds two bits that say nothing; otherwise the checksum sees it.
    assert read_or_none(typo) in (None, INVITE)
    if at < len(text) - 1 and letter != text[at]:
        refused("INVITE", invite_from_text, typo)


def read_or_none(text: str) -> Invite | None:
    try:
        return invite_from_text(text)
    except IntegrityError:
        return None


@given(st.text(max_size=80))
def test_pasted_text_that_is_no_invite_is_refused(text: str) -> None:
    for line in (text, "podsql-invite:" + text):
        refused("INVITE", invite_from_text, line)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "North"},
        {"role": "relay"},
        {"secret": b"short"},
        {"federation": "ps1nonsense"},
        *(
            {"relay": RelayAddress(endpoint=endpoint, curve=KEYS.curve_public)}
            for endpoint in (
                "ipc:///tmp/x",
                "tcp://host",
                "tcp://:1",
                "tcp://host:99999",
                "tcp://host:1/path",
                "tcp://user@host:1",
                "tcp://host:1\n",
                "inproc://x",
                "tls://[::1",
                "",
            )
        ),
        {"relay": RelayAddress(endpoint="tcp://host:1", curve=b"x")},
    ],
    ids=named,
)
def test_an_invite_that_breaks_a_rule_is_neither_written_nor_read(
    change: dict[str, object],
) -> None:
    refused("INVITE", invite_text, msgspec.structs.replace(INVITE, **change))


def test_tls_and_ipv6_addresses_are_fine() -> None:
    for endpoint in ("tls://relay.example:443", "tcp://[::1]:9443", "tcp://127.0.0.1:9443"):
        invite = msgspec.structs.replace(
            INVITE, relay=RelayAddress(endpoint=endpoint, curve=KEYS.curve_public)
        )
        assert invite_from_text(invite_text(invite)) == invite


def test_secret_key_and_hash_of_an_invite_are_unrelated_bytes() -> None:
    derived = {INVITE.secret, invite_curve(INVITE.secret), secret_hash(INVITE.secret)}
    assert len(derived) == 3
    assert {len(each) for each in derived} == {32}
    assert isinstance(read_card(make_card(KEYS, name="a", role="pod", now=1)), Card)
