"""One relay process for several federations: its own operator, their conveners, their peers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli

from podsql.cli.app import run
from podsql.convener.changes import revoke
from podsql.convener.desk import Desk
from podsql.convener.editing import edit, load_federation_key
from podsql.convener.founding import Founded, RelayChoice, found
from podsql.convener.publishing import publish
from podsql.convener.relay_files import hosted, plan_relay, prepare_relay
from podsql.errors import Error
from podsql.membership import load_membership, toml_text
from podsql.relay.invite import Invite, invite_from_text, invite_text
from podsql.relay.places import manifest_path, status_path
from podsql.relay.sockets.endpoint import Endpoint, Request

INVITES = (("ana", "analyst"), ("north", "pod"))
HEARS_SECONDS = 20.0


def now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Host:
    """A relay of somebody who convenes no federation."""

    home: Path
    endpoint: str
    key: bytes

    def found(self, home: Path) -> Founded:
        choice = RelayChoice(endpoint=self.endpoint, key=self.key)
        return found("clinics", home, choice, now=now(), invites=INVITES)

    def trust(self, made: Founded) -> None:
        manifest = str(made.desk.manifest)
        place = ["--dir", str(self.home)]
        assert run(["relay", "trust", manifest, "--federation", made.fingerprint, *place]) == 0

    def untrust(self, made: Founded) -> None:
        assert run(["relay", "untrust", made.fingerprint, "--dir", str(self.home)]) == 0


@pytest.fixture
def host(tmp_path) -> Host:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    return Host(
        tmp_path / "relay", endpoint, prepare_relay(tmp_path / "relay", plan_relay(endpoint))
    )


@contextmanager
def serving_relay(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """The relay's process, once it says that it is ready, for signals too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(host.home / "ready"))
        door.settimeout(HEARS_SECONDS)
        process = subprocess.Popen(
            [sys.executable, "-m", "podsql.relayd", str(host.home / "relay.toml")],
            stderr=subprocess.PIPE,
            env={**os.environ, "NOTIFY_SOCKET": str(host.home / "ready")},
        )
        door.recv(64)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0


def until(process: subprocess.Popen[bytes], words: str) -> None:
    """Read the relay's log up to a line with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line.decode():
            return
    raise AssertionError(f"the relay ended before it said {words!r}")


def endpoint_of(path: Path, serve: Callable[[Request], None] | None = None) -> Endpoint:
    me = load_membership(path, environ={})
    made = Endpoint(keys=me.keys, relay=me.relay, store=me.store, egress=me.egress, serve=serve)
    made.start(timeout=HEARS_SECONDS)
    return made


def echo(request: Request) -> None:
    request.reply(request.body)


@dataclass
class Clinic:
    """A pod and an analyst of one federation, connected."""

    ana: Endpoint
    north: Endpoint

    def exchange(self, patience: float = HEARS_SECONDS) -> None:
        assert self.ana.store.current is not None
        card = self.ana.store.current.by_name("north")
        assert card is not None
        assert self.ana.call_wait(card, b"hello", timeout=patience) == b"hello"

    def close(self) -> None:
        self.ana.close()
        self.north.close()


def clinic(made: Founded, home: Path, joined) -> Clinic:
    lines = dict(made.invites)
    north = joined(lines["north"], home / "north")
    ana = joined(lines["ana"], home / "ana")
    return Clinic(ana=endpoint_of(ana.path), north=endpoint_of(north.path, echo))


def test_federations_of_one_relay_come_work_and_go(host, tmp_path, serving, joined, capsys):
    first, second = host.found(tmp_path / "first"), host.found(tmp_path / "second")
    host.trust(first)
    with serving_relay(host) as relay, serving(first.desk):
        one = clinic(first, tmp_path / "1", joined)
        one.exchange()
        host.trust(second)
        relay.send_signal(signal.SIGHUP)
        until(relay, f"hosts {second.fingerprint}")
        with serving(second.desk):
            two = clinic(second, tmp_path / "2", joined)
            for each in (two, one):
                each.exchange()
            foreign = invite_from_text(dict(second.invites)["ana"])
            wrong = Invite(
                relay=foreign.relay,
                federation=first.fingerprint,
                secret=foreign.secret,
                name=foreign.name,
                role=foreign.role,
                expires=foreign.expires,
            )
            with pytest.raises(Error) as refused:
                joined(invite_text(wrong), tmp_path / "wrong")
            assert refused.value.code in ("INVITE", "MANIFEST", "NOT_ADMITTED")

            change_and_publish(first.desk, "ana")
            with pytest.raises(Error):
                one.exchange(2.0)
            two.exchange()

            host.untrust(first)
            relay.send_signal(signal.SIGHUP)
            until(relay, f"no longer hosts {first.fingerprint}")
            two.exchange()
            with pytest.raises(Error) as refused:
                endpoint_of(tmp_path / "1" / "north" / "federation.toml")
            assert refused.value.code == "NOT_ADMITTED"
            capsys.readouterr()
            assert run(["relay", "list", "--dir", str(host.home), "--json"]) == 0
            (listed,) = json.loads(capsys.readouterr().out)
            assert (listed["federation"], listed["members"]) == (second.fingerprint, 4)
            for each in (one, two):
                each.close()


def change_and_publish(desk: Desk, name: str) -> None:
    edition = edit(desk, load_federation_key(desk), revoke(name), now=now())
    assert publish(desk, edition) == ""


def test_a_damaged_manifest_or_file_is_no_business_of_the_others(host, tmp_path):
    first, second = host.found(tmp_path / "first"), host.found(tmp_path / "second")
    host.trust(first)
    host.trust(second)
    manifest_path(host.home, first.fingerprint).write_bytes(b"damaged")
    with serving_relay(host) as relay:
        until(relay, f"federation {first.fingerprint}: MANIFEST")
        until(relay, f"hosts {second.fingerprint}")
        endpoint_of(second.desk.membership).close()
        kept = (host.home / "relay.toml").read_bytes()
        (host.home / "relay.toml").write_bytes(b"[relay")
        relay.send_signal(signal.SIGHUP)
        until(relay, "everything stays as it is")
        endpoint_of(second.desk.membership).close()
        (host.home / "relay.toml").write_bytes(kept)
        host.trust(first)
        relay.send_signal(signal.SIGHUP)
        until(relay, f"hosts {first.fingerprint}")
        endpoint_of(first.desk.membership).close()


def test_an_older_manifest_is_not_taken_at_a_reload(host, tmp_path):
    made = host.found(tmp_path / "fed")
    host.trust(made)
    old = manifest_path(host.home, made.fingerprint).read_bytes()
    with serving_relay(host) as relay:
        change_and_publish(made.desk, "ana")
        manifest_path(host.home, made.fingerprint).write_bytes(old)
        relay.send_signal(signal.SIGHUP)
        until(relay, "already seen")
        convener = endpoint_of(made.desk.membership)
        assert convener.refresh_manifest().version == 4
        convener.close()


def test_each_federation_has_counters_of_its_own(host, tmp_path):
    first, second = host.found(tmp_path / "first"), host.found(tmp_path / "second")
    host.trust(first)
    host.trust(second)
    with serving_relay(host):
        endpoint_of(first.desk.membership).close()
    texts = [status_path(host.home, made.fingerprint).read_text() for made in (first, second)]
    assert [json.loads(text)["messages"] > 0 for text in texts] == [True, False]
    assert not any(made.fingerprint in text for made in (first, second) for text in texts)
    assert json.loads((host.home / "status.json").read_text())["federations"] == 2


def test_trusting_twice_lists_a_federation_once(host, tmp_path):
    made = host.found(tmp_path / "fed")
    host.trust(made)
    host.trust(made)
    assert hosted(host.home) == (made.fingerprint,)
    host.untrust(made)
    assert hosted(host.home) == ()
    assert run(["relay", "untrust", made.fingerprint, "--dir", str(host.home)]) == 2


def test_a_file_that_named_its_only_federation_is_brought_up_to_date(host, tmp_path):
    made = host.found(tmp_path / "fed")
    file = host.home / "relay.toml"
    sections = tomli.loads(file.read_text())
    sections["relay"].pop("federations")
    sections["relay"] |= {"federation": made.fingerprint, "manifest": "manifest.bin"}
    file.write_text(toml_text(sections))
    raw = made.desk.manifest.read_bytes()
    (host.home / "manifest.bin").write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-m", "podsql.relayd", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert "podsql relay list" in done.stderr
    assert hosted(host.home) == (made.fingerprint,)
    assert manifest_path(host.home, made.fingerprint).read_bytes() == raw
    assert not (host.home / "manifest.bin").exists()
