"""The manifest: nobody but the federation key moves it, and it never moves back."""

from pathlib import Path

import msgspec
import pytest

from podsql.errors import IntegrityError
from podsql.message import Signed
from podsql.relay.cards import make_card
from podsql.relay.frames import address_of
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, signing_public
from podsql.relay.manifest import (
    SIZE_LIMIT,
    SKEW_MS,
    InviteEntry,
    Manifest,
    ManifestStore,
    read_manifest,
    sign_manifest,
)
from podsql.relay.signing import sign

SEED = generate_signing()
FEDERATION = fingerprint(signing_public(SEED))
ANA, NORTH, SOUTH = PeerKeys.generate(), PeerKeys.generate(), PeerKeys.generate()
NOW = 1_000_000
CARDS = (
    make_card(ANA, name="ana", role="analyst", now=1),
    make_card(NORTH, name="north", role="pod", now=1),
)
INVITE = InviteEntry(curve=b"i" * 32, secret_hash=b"h" * 32, name="east", role="pod", expires=NOW)


def manifest(**change: object) -> Manifest:
    plain = Manifest(
        federation=FEDERATION, version=2, issued=NOW - 10, expires=NOW + 10, cards=CARDS
    )
    return msgspec.structs.replace(plain, **change)


def forged(plain: Manifest, seed: bytes = SEED) -> bytes:
    """Signed without the checks that a convener's own tool makes."""
    return msgspec.msgpack.encode(sign("manifest", msgspec.msgpack.encode(plain), seed))


def refused(data: bytes, now: int = NOW, federation: str = FEDERATION) -> str:
    with pytest.raises(IntegrityError) as failure:
        read_manifest(data, federation=federation, now=now)
    assert failure.value.code == "MANIFEST"
    return failure.value.message


def test_a_manifest_says_who_is_who() -> None:
    read = read_manifest(sign_manifest(manifest(), SEED), federation=FEDERATION, now=NOW)
    assert [card.name for card in read.members()] == ["ana", "north"]
    north = read.by_name("north")
    assert north is not None
    assert north.identity == NORTH.identity_public
    assert read.by_identity(NORTH.identity_public) is north
    assert read.by_noise(NORTH.noise_public) is north
    assert read.by_address(address_of(NORTH.curve_public)) is north
    assert read.by_name("south") is read.by_identity(b"") is read.by_noise(bytes(32)) is None
    assert read.curve_keys() == {ANA.curve_public, NORTH.curve_public}


def test_a_revoked_identity_is_found_by_nothing() -> None:
    read = manifest(revoked=(NORTH.identity_public,))
    read = read_manifest(sign_manifest(read, SEED), federation=FEDERATION, now=NOW)
    assert [card.name for card in read.members()] == ["ana"]
    assert read.by_name("north") is read.by_noise(NORTH.noise_public) is None
    assert read.by_address(NORTH.address) is read.by_identity(NORTH.identity_public) is None
    assert read.curve_keys() == {ANA.curve_public}


def test_a_name_may_pass_from_a_revoked_card_to_a_new_one() -> None:
    cards = (*CARDS, make_card(SOUTH, name="north", role="pod", now=2))
    read = manifest(cards=cards, revoked=(NORTH.identity_public,))
    read = read_manifest(sign_manifest(read, SEED), federation=FEDERATION, now=NOW)
    north = read.by_name("north")
    assert north is not None
    assert north.identity == SOUTH.identity_public


def test_an_expired_invite_is_not_open() -> None:
    assert manifest(invites=(INVITE,)).open_invites(NOW - 1) == (INVITE,)
    assert manifest(invites=(INVITE,)).open_invites(NOW) == ()


def test_attack_24_an_expired_or_future_manifest_is_refused() -> None:
    data = sign_manifest(manifest(), SEED)
    assert "expired" in refused(data, now=NOW + 10)
    assert "future" in refused(data, now=NOW - 11 - SKEW_MS)
    read_manifest(data, federation=FEDERATION, now=NOW - 10 - SKEW_MS)


def test_attack_24_a_manifest_of_another_signer_is_refused() -> None:
    other = generate_signing()
    assert "another key" in refused(forged(manifest(), other))
    stranger = fingerprint(signing_public(other))
    assert "another key" in refused(sign_manifest(manifest(), SEED), federation=stranger)
    assert "another federation" in refused(forged(manifest(federation=stranger)))
    refused(sign_manifest(manifest(), SEED), federation="ps1mistyped")
    with pytest.raises(IntegrityError, match="another federation key"):
        sign_manifest(manifest(), other)


def test_attack_24_a_truncated_or_changed_manifest_is_refused() -> None:
    data = sign_manifest(manifest(), SEED)
    for size in range(0, len(data), 7):
        refused(data[:size])
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 0x10
        refused(bytes(changed))
    refused(data + b"\x00")
    assert "limit" in refused(bytes(SIZE_LIMIT + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": -1},
        {"version": 2**60},
        {"expires": NOW - 10},
        {"cards": (*CARDS, CARDS[0])},
        {"cards": (*CARDS, make_card(SOUTH, name="north", role="pod", now=1))},
        {
            "cards": (
                *CARDS,
                make_card(
                    PeerKeys(identity=NORTH.identity, noise=SOUTH.noise, curve=SOUTH.curve),
                    name="south",
                    role="pod",
                    now=1,
                ),
            )
        },
        {
            "cards": (
                *CARDS,
                make_card(
                    PeerKeys(identity=SOUTH.identity, noise=NORTH.noise, curve=SOUTH.curve),
                    name="south",
                    role="pod",
                    now=1,
                ),
            )
        },
        {
            "cards": (
                *CARDS,
                make_card(
                    PeerKeys(identity=SOUTH.identity, noise=SOUTH.noise, curve=NORTH.curve),
                    name="south",
                    role="pod",
                    now=1,
                ),
            )
        },
        {"cards": (msgspec.structs.replace(CARDS[0], body=CARDS[1].body),)},
        {"cards": (sign("offer", CARDS[0].body, ANA.identity),)},
        {"revoked": (b"short",)},
        {"invites": (INVITE, INVITE)},
        {"invites": (msgspec.structs.replace(INVITE, curve=NORTH.curve_public),)},
        {"invites": (msgspec.structs.replace(INVITE, curve=b""),)},
        {"invites": (msgspec.structs.replace(INVITE, secret_hash=b""),)},
        {"invites": (msgspec.structs.replace(INVITE, role="relay"),)},
        {"invites": (msgspec.structs.replace(INVITE, name="../x"),)},
    ],
    ids=[
        "version 0",
        "version below 0",
        "version too high",
        "never valid",
        "card twice",
        "name twice",
        "identity twice",
        "session key twice",
        "mailbox key twice",
        "card of a wrong signature",
        "not a card",
        "short revoked key",
        "invite twice",
        "invite with a member's key",
        "invite without key",
        "invite without hash",
        "invite of a wrong role",
        "invite of a wrong name",
    ],
)
def test_what_no_convener_may_sign_is_neither_signed_nor_read(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError) as failure:
        sign_manifest(manifest(**change), SEED)
    assert failure.value.code == "MANIFEST"
    refused(forged(manifest(**change)))


def test_attack_51_another_static_key_under_an_old_card_is_refused() -> None:
    # A directory that serves its own session key for north cannot make north's card say so.
    card = msgspec.msgpack.decode(CARDS[1].body)
    card[card.index(NORTH.noise_public)] = SOUTH.noise_public
    body = msgspec.msgpack.encode(card)
    for false_card in (
        Signed(kind="card", body=body, signer=NORTH.identity_public, signature=CARDS[1].signature),
        sign("card", body, SOUTH.identity),
    ):
        refused(forged(manifest(cards=(CARDS[0], false_card))))
    own = make_card(SOUTH, name="north", role="pod", now=1)
    refused(forged(manifest(cards=(CARDS[0], own)), SOUTH.identity))


# -- the store ---------------------------------------------------------------------------------


def store_at(path: Path) -> ManifestStore:
    return ManifestStore(path, FEDERATION)


def test_a_store_moves_forward_and_remembers(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    store = store_at(path)
    assert (store.current, store.raw) == (None, None)
    with pytest.raises(IntegrityError, match="no manifest"):
        store.fresh(NOW)
    first, second = sign_manifest(manifest(), SEED), sign_manifest(manifest(version=5), SEED)
    assert store.accept(first, NOW) is True
    assert store.accept(first, NOW) is False
    with pytest.raises(IntegrityError, match="expired"):
        store.accept(first, NOW + 10)
    assert store.accept(second, NOW) is True
    again = store_at(path)
    assert again.raw == second
    assert again.fresh(NOW) == manifest(version=5)
    with pytest.raises(IntegrityError, match="expired"):
        again.fresh(NOW + 10)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "after a restart"])
def test_attack_24_whatever_is_refused_leaves_the_old_manifest(
    tmp_path: Path, restart: bool
) -> None:
    path = tmp_path / "manifest"
    store = store_at(path)
    good = sign_manifest(manifest(version=5), SEED)
    store.accept(good, NOW)
    if restart:
        store = store_at(path)
    for bad in (
        sign_manifest(manifest(version=4), SEED),
        sign_manifest(manifest(version=5, cards=CARDS[:1]), SEED),
        sign_manifest(manifest(version=9, expires=NOW), SEED),
        forged(manifest(version=9), generate_signing()),
        sign_manifest(manifest(version=9), SEED)[:-1],
        b"",
    ):
        with pytest.raises(IntegrityError) as failure:
            store.accept(bad, NOW)
        assert failure.value.code == "MANIFEST"
        assert store.raw == good
        assert store.current == manifest(version=5)
        assert path.read_bytes() == good


def test_attack_24_an_expired_manifest_on_disk_still_pins_the_version(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    store_at(path).accept(sign_manifest(manifest(version=5), SEED), NOW)
    later = NOW + 1000
    store = store_at(path)
    with pytest.raises(IntegrityError, match="already seen"):
        store.accept(sign_manifest(manifest(version=4, expires=later + 9), SEED), later)
    assert store.accept(sign_manifest(manifest(version=6, expires=later + 9), SEED), later)


def test_attack_24_a_damaged_store_stops_the_peer_instead_of_starting_over(tmp_path: Path) -> None:
    path = tmp_path / "manifest"
    store_at(path).accept(sign_manifest(manifest(), SEED), NOW)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        store_at(path)


def test_a_manifest_that_cannot_be_kept_does_not_count(tmp_path: Path) -> None:
    store = store_at(tmp_path / "folder" / "manifest")
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(IntegrityError, match="manifest file"):
        store.accept(sign_manifest(manifest(), SEED), NOW)
    assert store.current is None
    with pytest.raises(IntegrityError, match="manifest file"):
        store_at(tmp_path)


def test_attack_43_the_envelope_encoded_otherwise_changes_nothing(tmp_path: Path) -> None:
    store = store_at(tmp_path / "manifest")
    data = sign_manifest(manifest(), SEED)
    store.accept(data, NOW)
    # The same five fields, the array's length in its long form.
    assert store.accept(b"\xdc\x00\x05" + data[1:], NOW) is False
    assert store.raw == data
