"""``podsql policy …`` on a service's own machine: each verb, what it prints, what it refuses."""

import json
import os

import msgspec
import pytest

from podsql.cli.app import run
from podsql.convener.desk import peer_file
from podsql.membership import MeSection, RelaySection, key_text, membership_text
from podsql.policy.service import reviews
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.orders import Orders
from podsql.policy.service.people import know
from podsql.relay.keys import PeerKeys, save_keys

MARK = PeerKeys.generate().fingerprint
ANA, BEN = PeerKeys.generate(), PeerKeys.generate()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A service that has joined, in the working directory."""
    for name in ("PODSQL_FEDERATION", "PODSQL_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    relay = RelaySection(endpoint="tcp://127.0.0.1:9", key=key_text(os.urandom(32)))
    file = peer_file("clinics", MARK, relay, peer="x")
    file = msgspec.structs.replace(file, me=MeSection(name="access", role="service"))
    (tmp_path / "federation.toml").write_text(membership_text(file))
    save_keys(tmp_path / "keys.json", PeerKeys.generate())
    assert run(["policy", "init"]) == 0
    return tmp_path


def said(capsys, *arguments: str):
    capsys.readouterr()
    assert run(["policy", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert run(["policy", *arguments]) != 0
    return capsys.readouterr().err


def asked(home, count: int = 1) -> None:
    database = Database(home / "policy.sqlite")
    now = 1_790_000_000_000
    for _ in range(count):
        wish = make_grant(analyst=ANA.identity_public, now=now, tables=["visits"])
        Orders(database, lambda: now).ask(wish, name="ana", asked_by="ana", reason="study\x1b[2J")
    database.close()


def test_officers_are_made_changed_listed_and_ended(capsys):
    made = said(capsys, "officer", "ben", "--role", "approver", "--key", BEN.fingerprint)
    assert made == {
        "officer": "ben", "role": "approver", "key": BEN.fingerprint, "state": "active"
    }  # fmt: skip
    assert said(capsys, "officer", "ben", "--role", "admin")["key"] == BEN.fingerprint
    assert said(capsys, "officer", "ben", "--no-key")["role"] == "admin"
    assert said(capsys, "officer", "eva")["role"] == "viewer"
    assert [one["officer"] for one in said(capsys, "officer")] == ["ben", "eva"]
    assert said(capsys, "officer", "eva", "--end")["state"] == "ended"
    assert refused(capsys, "officer", "ben", "--end").startswith("CONFLICT")
    assert refused(capsys, "officer", "eva").startswith("CONFLICT")
    assert refused(capsys, "officer", "x", "--key", "nobody").startswith("UNKNOWN_PEER")
    assert refused(capsys, "officer", "x", "--role", "boss").startswith("ARGUMENT")


def test_people_keep_what_is_not_said_anew_and_are_off_boarded(capsys):
    key = ANA.fingerprint
    first = said(capsys, "person", key, "--organisation", "clinic", "--trained-until", "2030-01-31")
    assert first["trained_until"] == "2030-02-01T00:00:00Z"
    second = said(capsys, "person", key, "--contact", "a@example.org")
    assert (second["organisation"], second["contact"]) == ("clinic", "a@example.org")
    assert second["trained_until"] == first["trained_until"]
    assert run(["grant", key, "--table", "visits"]) == 0
    assert said(capsys, "off-board", key)["grants_ended"] == 1
    (shown,) = said(capsys, "person")
    assert shown["state"].startswith("ended")
    assert refused(capsys, "off-board", key).startswith("ARGUMENT")
    assert refused(capsys, "person", key, "--trained-until", "31.1.2030").startswith("ARGUMENT")


def test_two_people_of_one_name_are_told_apart_by_key(home, capsys):
    database = Database(home / "policy.sqlite")
    with database.write() as db:
        know(db, ANA.identity_public, "ana")
        know(db, BEN.identity_public, "ana")
    database.close()
    text = refused(capsys, "off-board", "ana")
    assert ANA.fingerprint in text
    assert BEN.fingerprint in text
    assert said(capsys, "off-board", BEN.fingerprint)["person"] == "ana"
    assert said(capsys, "off-board", "ana")["grants_ended"] == 0


def test_projects_are_registered_closed_and_opened_again(capsys):
    made = said(
        capsys, "project", "p1", "--title", "Study", "--purpose", "cohort", "--basis", "consent",
        "--ethics", "17/26", "--ends", "2030-12-31",
    )  # fmt: skip
    assert (made["basis"], made["ends"], made["state"]) == (
        "consent", "2031-01-01T00:00:00Z", "open"
    )  # fmt: skip
    assert said(capsys, "project", "p1", "--close")["state"].startswith("closed")
    assert said(capsys, "project", "p1", "--title", "Study 2")["ends"] == made["ends"]
    assert said(capsys, "project", "p2")["ends"] is None
    assert [one["project"] for one in said(capsys, "project")] == ["p1", "p2"]
    assert refused(capsys, "project", "p3", "--close").startswith("ARGUMENT")


def test_freezes_and_settings(capsys):
    assert refused(capsys, "freeze", "north").startswith("ARGUMENT")
    assert said(capsys, "freeze", "all", "--reason", "breach") == {"pod": "all", "state": "frozen"}
    assert refused(capsys, "thaw", "north").startswith("ARGUMENT")
    assert said(capsys, "thaw", "all")["state"] == "thawed"
    assert [one["value"] for one in said(capsys, "setting")] == ["off", "off"]
    (on,) = said(capsys, "setting", "two_person", "on")
    assert (on["setting"], on["value"]) == ("two_person", "on")
    for words in (("two_person",), ("two_person", "yes"), ("nonsense", "on")):
        assert refused(capsys, "setting", *words).startswith("ARGUMENT")


def test_requests_are_approved_once_or_twice_and_refused(home, capsys):
    asked(home, 3)
    assert [one["request"] for one in said(capsys, "requests")] == [3, 2, 1]
    assert said(capsys, "approve", "1", "--note", "fine")["grant"]
    assert said(capsys, "refuse", "2")["state"] == "refused"
    said(capsys, "setting", "two_person", "on")
    assert said(capsys, "approve", "3")["grant"] is None
    assert refused(capsys, "approve", "3").startswith("CONFLICT")
    assert [one["state"] for one in said(capsys, "requests", "--all")] == [
        "open", "refused", "approved"
    ]  # fmt: skip
    capsys.readouterr()
    assert run(["policy", "requests"]) == 0
    shown = capsys.readouterr().out
    assert "request=3" in shown
    assert "\x1b" not in shown


def test_held_results_are_released_and_withheld(home, capsys):
    database = Database(home / "policy.sqlite")
    with database.write() as db:
        for ident in ("r1", "r2"):
            reviews.hold(
                db,
                reviews.Review(
                    id=ident, pod="north", analyst=ANA.identity_public, purpose="", project="",
                    tables=("main.visits",), release="rows", rows=3, withheld=0, size=90, columns=2,
                    query_hash=b"q", result_hash=b"h", created=1_790_000_000_000,
                ),
            )  # fmt: skip
    database.close()
    assert {one["result"] for one in said(capsys, "held")} == {"r1", "r2"}
    assert said(capsys, "release", "r1")["state"] == "released"
    assert said(capsys, "withhold", "r2", "--note", "rows of one person")["state"] == "withheld"
    assert said(capsys, "held") == []
    assert {one["state"] for one in said(capsys, "held", "--all")} == {"released", "refused"}
    assert refused(capsys, "release", "r2").startswith("CONFLICT")


def test_the_record_backup_and_restore(home, capsys):
    assert run(["grant", ANA.fingerprint, "--table", "visits"]) == 0
    assert said(capsys, "backup", "b.sqlite") == {"backup": "b.sqlite", "epoch": 1}
    said(capsys, "freeze", "north", "--reason", "x")
    assert said(capsys, "history", "--verify") == {"acts": 2, "epoch": 2}
    assert [one["act"] for one in said(capsys, "history", "--search", "north")] == ["freeze"]
    done = said(capsys, "restore", "b.sqlite")
    assert (done["epoch"], done["grants"], done["ended"]) == (3, 1, 0)
    (home / "policy.sqlite").unlink()
    for ending in ("-wal", "-shm"):
        (home / f"policy.sqlite{ending}").unlink(missing_ok=True)
    assert said(capsys, "restore", "b.sqlite", "--epoch", "50")["ended"] == 1
    assert said(capsys, "history", "--verify") == {"acts": 2, "epoch": 50}
    assert refused(capsys, "restore", "nothing").startswith("CONFIG")
    assert refused(capsys, "backup", "b.sqlite").startswith("ARGUMENT")


def test_every_verb_says_what_it_is_for(capsys):
    for verb in (
        "officer", "person", "project", "off-board", "freeze", "thaw", "setting", "requests",
        "approve", "refuse", "held", "release", "withhold", "history", "backup", "restore",
    ):  # fmt: skip
        assert run(["policy", verb, "--help"]) == 0
        assert "--json" in capsys.readouterr().out
