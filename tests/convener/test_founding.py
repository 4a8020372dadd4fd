"""A federation's directory on disk: what is in it, who may read it, how it is edited."""

import os
import stat
import subprocess
import sys

import pytest

from podsql.convener.changes import DAY, MANIFEST_LIFE, extend, revoke
from podsql.convener.desk import open_desk
from podsql.convener.editing import current_edition, edit, load_federation_key, write_invite
from podsql.convener.founding import RelayChoice, found
from podsql.convener.relay_files import plan_relay
from podsql.convener.serving import commands, prepare
from podsql.errors import Error
from podsql.membership import load_membership
from podsql.relay.invite import invite_from_text
from podsql.relay.manifest import ManifestStore
from podsql.relay.places import manifest_path

ENDPOINT = "tcp://relay.example:5555"
NOW = 1_800_000_000_000


def make(home, *, invites=(), passphrase=None):
    choice = RelayChoice(endpoint=ENDPOINT, plan=plan_relay(ENDPOINT))
    return found("clinics", home, choice, now=NOW, invites=invites, passphrase=passphrase)


def test_a_founded_federation_can_be_read_back(tmp_path):
    founded = make(tmp_path / "fed", invites=[("north", "pod"), ("ana", "analyst")])
    manifest = current_edition(founded.desk).manifest
    assert {card.name for card in manifest.members()} == {"convener", "registrar"}
    assert {(e.name, e.role) for e in manifest.invites} == {("north", "pod"), ("ana", "analyst")}
    invite = invite_from_text(dict(founded.invites)["north"])
    assert invite.federation == founded.fingerprint
    assert invite.relay.endpoint == ENDPOINT
    convener = load_membership(founded.desk.membership, environ={})
    assert convener.role == "convener"
    assert convener.relay == invite.relay


def test_secrets_are_private_and_none_lies_with_the_relay(tmp_path):
    home = make(tmp_path / "fed").desk.home
    for name in ("federation.key", "convener.json", "registrar.json", "relay/relay.key"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with_relay = {path.name for path in (home / "relay").iterdir()}
    assert not with_relay & {"federation.key", "convener.json", "registrar.json"}


def test_a_directory_in_use_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(Error) as caught:
        make(tmp_path)
    assert caught.value.code == "CONFIG"
    assert os.listdir(tmp_path) == ["precious"]


def test_a_failed_founding_leaves_nothing(tmp_path):
    with pytest.raises(Error):
        make(tmp_path / "fed", invites=[("north", "king")])
    assert os.listdir(tmp_path) == []


def test_the_federation_key_can_be_sealed(tmp_path):
    desk = make(tmp_path / "fed", passphrase="correct horse").desk
    load_federation_key(desk, "correct horse")
    for wrong in (None, "battery staple"):
        with pytest.raises(Error) as caught:
            load_federation_key(desk, wrong)
        assert caught.value.code == "KEY_FILE"


def test_attack_78_a_readable_federation_key_is_refused(tmp_path):
    desk = make(tmp_path / "fed").desk
    desk.federation_key.chmod(0o644)
    with pytest.raises(Error) as caught:
        load_federation_key(desk)
    assert caught.value.code == "KEY_FILE"


def test_a_swapped_federation_key_is_noticed(tmp_path):
    one, two = make(tmp_path / "one").desk, make(tmp_path / "two").desk
    os.replace(two.federation_key, one.federation_key)
    with pytest.raises(Error) as caught:
        load_federation_key(one)
    assert caught.value.code == "KEY_FILE"


def test_edits_are_versions_in_a_row(tmp_path):
    desk = make(tmp_path / "fed").desk
    seed = load_federation_key(desk)
    versions = [current_edition(desk).manifest.version]
    for _ in range(3):
        versions.append(edit(desk, seed, extend, now=NOW).manifest.version)
    assert versions == [1, 2, 3, 4]


EDITOR = """
import sys
from pathlib import Path
from podsql.convener.changes import extend
from podsql.convener.desk import open_desk
from podsql.convener.editing import edit, load_federation_key
desk = open_desk(Path(sys.argv[1]))
seed = load_federation_key(desk)
for _ in range(10):
    print(edit(desk, seed, extend, now=1_800_000_000_000).manifest.version)
"""


def test_two_processes_never_sign_one_version_twice(tmp_path):
    desk = make(tmp_path / "fed").desk
    editors = [
        subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(desk.home)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    versions = [int(line) for each in editors for line in each.communicate(timeout=60)[0].split()]
    assert sorted(versions) == list(range(2, 22))


def test_after_a_restore_the_newest_manifest_seen_is_the_base(tmp_path):
    desk = make(tmp_path / "fed").desk
    seed = load_federation_key(desk)
    backup = desk.manifest.read_bytes()
    newer = edit(desk, seed, extend, now=NOW)
    ManifestStore(desk.home / "registrar-seen.bin", newer.manifest.federation).accept(
        newer.raw, NOW
    )
    desk.manifest.write_bytes(backup)
    assert edit(desk, seed, extend, now=NOW).manifest.version == newer.manifest.version + 1


def test_an_open_invite_can_be_revoked(tmp_path):
    desk = make(tmp_path / "fed").desk
    seed = load_federation_key(desk)
    write_invite(desk, seed, name="ana", role="analyst", now=NOW, entropy=os.urandom)
    assert edit(desk, seed, revoke("ana"), now=NOW).manifest.invites == ()


def test_serving_renews_a_manifest_in_its_second_half_and_hands_it_to_the_relay(tmp_path):
    desk = make(tmp_path / "fed").desk
    assert prepare(desk, passphrase=None, now=NOW + DAY) == 1
    assert prepare(desk, passphrase=None, now=NOW + MANIFEST_LIFE // 2 + DAY) == 2
    federation = desk.file().federation.fingerprint
    held = ManifestStore(manifest_path(desk.relay, federation), federation).current
    assert held is not None
    assert held.version == 2


def test_serving_never_takes_a_relay_back(tmp_path):
    desk = make(tmp_path / "fed").desk
    seed = load_federation_key(desk)
    backup = desk.manifest.read_bytes()
    edit(desk, seed, extend, now=NOW)
    prepare(desk, passphrase=None, now=NOW)
    desk.manifest.write_bytes(backup)
    prepare(desk, passphrase=None, now=NOW)
    federation = desk.file().federation.fingerprint
    held = ManifestStore(manifest_path(desk.relay, federation), federation).current
    assert held is not None
    assert held.version == 2


def test_the_relay_process_is_started_without_the_passphrase(tmp_path):
    desk = make(tmp_path / "fed").desk
    relay, registrar = commands(desk, {"PATH": "/bin", "PODSQL_PASSPHRASE": "x"}, "x")
    assert "PODSQL_PASSPHRASE" not in relay.environ
    assert registrar.environ["PODSQL_PASSPHRASE"] == "x"
    assert str(desk.home) not in [*relay.command[:3]]
    assert relay.command[3].startswith(str(desk.relay))


def test_nothing_is_a_federation_but_a_founded_one(tmp_path):
    with pytest.raises(Error) as caught:
        open_desk(tmp_path)
    assert caught.value.code == "CONFIG"
