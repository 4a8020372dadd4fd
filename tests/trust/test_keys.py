"""Key files, fingerprints and the text forms of keys."""

import os
import stat
import sys
from base64 import b64decode
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from podsql.errors import IntegrityError, InterfaceError
from podsql.relay.frames import address_of
from podsql.relay.keys import (
    PeerKeys,
    fingerprint,
    fingerprint_key,
    generate_signing,
    load_keys,
    load_seed,
    parse_fingerprint,
    save_keys,
    save_seed,
    signing_public,
    z85,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners are POSIX")


def refused(path: Path, passphrase: str | None = None) -> IntegrityError:
    with pytest.raises(IntegrityError) as failure:
        load_keys(path, passphrase)
    assert failure.value.code == "KEY_FILE"
    return failure.value


def test_public_keys_are_those_of_the_usual_library() -> None:
    keys = PeerKeys.generate()
    assert keys.identity_public == bytes(SigningKey(keys.identity).verify_key)
    assert keys.noise_public == bytes(PrivateKey(keys.noise).public_key)
    assert keys.curve_public == bytes(PrivateKey(keys.curve).public_key)
    assert keys.address == address_of(keys.curve_public)
    assert keys.fingerprint == fingerprint(keys.identity_public)


def test_three_secrets_are_three() -> None:
    with pytest.raises(IntegrityError):
        PeerKeys(identity=b"x" * 32, noise=b"x" * 32, curve=b"y" * 32)
    with pytest.raises(IntegrityError):
        PeerKeys(identity=b"x" * 31, noise=b"y" * 32, curve=b"z" * 32)


def test_the_repr_of_keys_shows_no_secret() -> None:
    keys = PeerKeys.generate()
    for secret in (keys.identity, keys.noise, keys.curve):
        assert repr(secret) not in repr(keys)
        assert secret.hex() not in repr(keys)


def test_keys_come_back_from_their_file(tmp_path: Path) -> None:
    keys, path = PeerKeys.generate(), tmp_path / "new folder" / "peer.key"
    save_keys(path, keys)
    assert load_keys(path) == keys
    assert [entry.name for entry in path.parent.iterdir()] == ["peer.key"]


def test_a_sealed_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    keys, path = PeerKeys.generate(), tmp_path / "peer.key"
    save_keys(path, keys, "correct horse")
    assert load_keys(path, "correct horse") == keys
    document = msgspec.json.decode(path.read_bytes())
    assert keys.identity not in b64decode(document["secret"])
    assert "passphrase" in refused(path).hint
    refused(path, "wrong horse")


def test_a_plain_file_in_place_of_a_sealed_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    save_keys(path, PeerKeys.generate())
    assert "not sealed" in refused(path, "correct horse").message


def test_a_seed_file_is_not_a_peers_file(tmp_path: Path) -> None:
    seed, path = generate_signing(), tmp_path / "federation.key"
    save_seed(path, seed)
    assert load_seed(path) == seed
    assert signing_public(seed) == bytes(SigningKey(seed).verify_key)
    assert "peer keys" in refused(path).message
    with pytest.raises(IntegrityError):
        save_seed(path, b"short")


@posix
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610])
def test_attack_78_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "peer.key"
    save_keys(path, PeerKeys.generate())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    assert "other users" in refused(path).message


@posix
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to give away"
)
def test_attack_78_a_key_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    save_keys(path, PeerKeys.generate())
    os.chown(path, 12345, -1)
    assert "another user" in refused(path).message


@posix
def test_attack_78_the_mode_holds_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_keys(tmp_path / "peer.key", PeerKeys.generate())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "peer.key").stat().st_mode) == 0o600


@posix
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    refused(tmp_path / "pipe")
    refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / "absent").message


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IntegrityError, match="cannot be written"):
        save_keys(tmp_path / "file" / "peer.key", PeerKeys.generate())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b'{"podsql":"peer keys/1"}',
        b'{"podsql":"peer keys/1","secret":"","extra":1}',
        b'{"podsql":"peer keys/1","secret":"AAAA"}',
        b'{"podsql":"peer keys/1","secret":"!!!!"}',
        b'{"podsql":"peer keys/1","secret":"AAAA","salt":"AAAA"}',
        b'{"podsql":"peer keys/2","secret":"AAAA"}',
        b'{"podsql":7,"secret":"AAAA"}',
        b" " * 5000,
    ],
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer.key"
    path.write_bytes(content)
    path.chmod(0o600)
    refused(path, "phrase" if b"salt" in content else None)


@given(st.binary(min_size=32, max_size=32))
def test_a_fingerprint_stands_for_the_whole_key(public: bytes) -> None:
    text = fingerprint(public)
    assert text.startswith("ps1")
    assert len(text) == 59
    assert fingerprint_key(text) == public
    assert parse_fingerprint(f"  {text.upper()}\n") == text


@given(st.integers(0, 58), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567ı "))
def test_a_mistyped_fingerprint_is_refused(position: int, letter: str) -> None:
    text = fingerprint(b"k" * 32)
    typo = text[:position] + letter + text[position + 1 :]
    # A dotless i counts as an i when upper-cased; it reads as the same key.
    assume(letter.upper() != text[position].upper())
    with pytest.raises(InterfaceError):
        parse_fingerprint(typo)


@pytest.mark.parametrize("text", ["", "ps1", "ps2" + "a" * 56, "ps1" + "a" * 56, "ps1" + "é" * 56])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(InterfaceError):
        parse_fingerprint(text)


def test_z85_meets_the_published_example() -> None:
    # ZeroMQ RFC 32, "test case".
    assert z85(bytes.fromhex("864fd26fb559f75b")) == b"HelloWorld"
    assert len(z85(bytes(32))) == 40
    with pytest.raises(InterfaceError):
        z85(b"abc")
