"""The command line as a person and a script use it; no relay runs here."""

import json
import os
import stat
import subprocess
import sys

import msgspec
import pytest

from podsql.cli.app import run
from podsql.convener.desk import peer_file
from podsql.membership import (
    MeSection,
    RelaySection,
    key_text,
    load_membership,
    membership_text,
)
from podsql.pod.config import load_pod_config
from podsql.policy.document import load_policy, load_preset
from podsql.relay.invite import invite_from_text
from podsql.relay.keys import PeerKeys, save_keys

RELAY = "tcp://127.0.0.1:9"  # the discard port: nobody listens
MARK = PeerKeys.generate().fingerprint


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    for name in ("PODSQL_FEDERATION", "PODSQL_PASSPHRASE", "PODSQL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def as_json(capsys, *arguments: str):
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def member(home, name: str, role: str):
    """A membership on disk, as a join writes it (without a relay that would admit it)."""
    home.mkdir(exist_ok=True)
    keys = PeerKeys.generate()
    save_keys(home / "keys.json", keys)
    file = peer_file(
        "clinics", MARK, RelaySection(endpoint=RELAY, key=key_text(os.urandom(32))), peer="x"
    )
    file = msgspec.structs.replace(file, me=MeSection(name=name, role=role))
    (home / "federation.toml").write_text(membership_text(file))
    return keys


def test_version_and_help_are_there(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("podsql ")
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in (
        "federation",
        "invite",
        "join",
        "relay",
        "pod",
        "policy",
        "grant",
        "revoke",
        "sql",
    ):
        assert verb in listed
    for verb in ("explain", "doctor", "key", "demo", "audit"):
        assert verb in listed


@pytest.mark.parametrize(
    "verb",
    [
        *(("federation", name) for name in ("init", "serve", "show", "renew", "revoke")),
        *(("relay", name) for name in ("init", "trust", "serve", "status")),
        *(
            ("pod", n)
            for n in [
                "init",
                "check",
                "mock",
                "serve",
                "status",
                "budget",
                "pause",
                "resume",
                "reload",
            ]
        ),
        *(("policy", name) for name in ("init", "serve", "status", "check", "explain", "test")),
        *(("key", name) for name in ("show", "rotate", "recover")),
        *((name,) for name in ("invite", "join", "sql", "explain", "grant", "revoke", "doctor")),
        ("demo",),
        *(
            ("audit", n)
            for n in [
                *(
                    "init",
                    "verify",
                    "head",
                    "export",
                    "prune",
                    "pack",
                    "projects",
                    "people",
                    "data",
                ),
                *("infosec", "outputs", "dpia", "dsa", "decisions", "expiring", "revocations"),
                *("activity", "budget", "incident", "opt-out", "retention", "register", "model"),
                "assurance",
            ]
        ),
    ],
    ids=" ".join,
)
def test_every_verb_explains_itself(verb, capsys):
    assert run([*verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["sql"], ["invite", "x"], ["sql", "x", "--format", "y"]]
)
def test_wrong_usage_is_exit_2(arguments, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().out == ""


def test_a_federation_is_founded_with_one_command(capsys):
    made = as_json(
        capsys,
        "federation",
        "init",
        "clinics",
        "--relay",
        RELAY,
        "--invite",
        "north:pod",
        "--invite",
        "ana:analyst",
    )
    assert set(made["invites"]) == {"north", "ana"}
    invite = invite_from_text(made["invites"]["ana"])
    assert (invite.name, invite.role, invite.federation) == ("ana", "analyst", made["fingerprint"])
    shown = as_json(capsys, "federation", "show")
    assert {m["name"] for m in shown["members"]} == {"convener", "registrar"}
    assert {i["name"] for i in shown["invites"]} == {"north", "ana"}


def test_data_is_on_stdout_and_the_rest_on_stderr(capsys):
    assert run(["federation", "init", "clinics", "--relay", RELAY, "--invite", "ana:analyst"]) == 0
    streams = capsys.readouterr()
    assert [line.split()[0] for line in streams.out.splitlines()] == ["ana"]
    assert "podsql federation serve" in streams.err


def test_a_sealed_federation_needs_its_passphrase(monkeypatch, capsys):
    monkeypatch.setenv("PODSQL_PASSPHRASE", "correct horse")
    assert run(["federation", "init", "clinics", "--relay", RELAY]) == 0
    monkeypatch.delenv("PODSQL_PASSPHRASE")
    assert run(["invite", "ana", "--role", "analyst"]) == 3
    assert "KEY_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["federation", "init", "Clinics", "--relay", RELAY], "ARGUMENT", 2),
        (["federation", "init", "clinics", "--relay", "http://x"], "CONFIG", 2),
        (["federation", "init", "clinics", "--relay", RELAY, "--invite", "north"], "ARGUMENT", 2),
        (["federation", "init", "clinics", "--relay", RELAY, "--invite", "a:king"], "ARGUMENT", 2),
        (["federation", "init", "clinics", "--relay", "tls://x:443"], "ARGUMENT", 2),
        (["federation", "show"], "CONFIG", 2),
        (["join", "podsql-invite:nonsense"], "INVITE", 3),
        (["join", "@missing"], "ARGUMENT", 2),
        (["join", "x", "--table", "visits=missing.csv"], "ARGUMENT", 2),
        (["join", "x", "--serve"], "ARGUMENT", 2),
        (["join", "x", "--allow", "ps1nonsense"], "ARGUMENT", 2),
        (["join", "x", "--privacy-unit", "visits=id"], "ARGUMENT", 2),
        (["key", "show"], "CONFIG", 2),
        (["grant", "ana"], "CONFIG", 2),
        (["policy", "check", "missing.toml"], "POLICY_FILE", 2),
        (["policy", "init", "--preset", "lax"], "ARGUMENT", 2),
        (["pod", "status"], "CONFIG", 2),
        (["audit", "verify", "missing.log"], "CONFIG", 2),
        (["audit", "verify"], "CONFIG", 2),
        (["audit", "head"], "CONFIG", 2),
        (["audit", "dpia"], "CONFIG", 2),
        (["audit", "activity", "--by", "moon"], "ARGUMENT", 2),
        (["audit", "export", "--format", "xml"], "ARGUMENT", 2),
        (["audit", "prune", "--before", "yesterday"], "ARGUMENT", 2),
    ],
)
def test_what_cannot_work_says_code_and_leaves_nothing(
    arguments, code, exit_code, capsys, tmp_path
):
    assert run(arguments) == exit_code
    streams = capsys.readouterr()
    assert streams.err.startswith(f"{code}: ")
    assert streams.out == ""
    assert os.listdir(tmp_path) == []


def test_the_doctor_names_the_next_command_without_a_membership(capsys):
    assert run(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["state"] == "failed"
    membership = next(f for f in report["findings"] if f["check"] == "membership")
    assert "podsql join" in membership["next"]


def test_the_doctor_finds_a_key_file_that_others_can_read(capsys, tmp_path):
    member(tmp_path, "ana", "analyst")
    (tmp_path / "keys.json").chmod(0o644)
    assert run(["doctor"]) == 1
    assert "KEY_FILE" in capsys.readouterr().out


def test_the_fingerprint_can_be_shown_again(capsys, tmp_path):
    keys = member(tmp_path, "ana", "analyst")
    shown = as_json(capsys, "key", "show")
    assert shown["fingerprint"] == keys.fingerprint
    assert shown["card"].startswith("podsql-card:")


def test_grants_are_written_listed_and_revoked(capsys, tmp_path):
    member(tmp_path, "access", "service")
    assert run(["policy", "init"]) == 0
    assert stat.S_IMODE((tmp_path / "policy.sqlite").stat().st_mode) == 0o600
    capsys.readouterr()
    given = as_json(capsys, "grant", MARK, "--table", "visits", "--days", "1")
    (listed,) = as_json(capsys, "grant", "--list")
    assert listed["grant"] == given["grant"]
    assert listed["tables"] == ["main.visits"]
    assert listed["revoked"] is None
    assert as_json(capsys, "policy", "status")["grants"] == 1
    as_json(capsys, "revoke", given["grant"])
    (listed,) = as_json(capsys, "grant", "--list")
    assert listed["revoked"]
    assert run(["revoke", given["grant"]]) == 2


def test_a_grant_without_an_end_says_so(capsys, tmp_path):
    member(tmp_path, "access", "service")
    assert run(["policy", "init"]) == 0
    capsys.readouterr()
    as_json(capsys, "grant", MARK)
    assert as_json(capsys, "grant", "--list")[0]["until"] == "revocation"


def test_only_a_service_gets_a_store(capsys, tmp_path):
    member(tmp_path, "ana", "analyst")
    assert run(["policy", "init"]) == 3


def test_a_pod_is_set_up_from_the_command_line(capsys, tmp_path):
    member(tmp_path, "north", "pod")
    (tmp_path / "visits.csv").write_text("id,age\n1,2\n")
    (tmp_path / "icd.csv").write_text("code\nA\n")
    tables = ["--table", "visits=visits.csv", "--reference", "icd=icd.csv"]
    keys = ["--privacy-unit", "visits=id", "--local-key", "visits=id", "--local-key", "visits=age"]
    assert run(["pod", "init", *tables, *keys, "--allow", MARK]) == 0
    config = load_pod_config(tmp_path / "pod.toml")
    visits = config.tables["main.visits"]
    assert visits.path == str((tmp_path / "visits.csv").resolve())
    assert (visits.privacy_unit, visits.local_keys) == ("id", ("id", "age"))
    assert config.tables["main.icd"].kind == "reference"
    assert load_policy(tmp_path / "policy.toml").people == {"person-1": MARK}
    assert run(["pod", "init", *tables]) == 2  # never overwritten


@pytest.mark.parametrize("preset", ["open", "standard", "strict", "dp"])
def test_whom_a_pod_allows_is_all_that_changes_in_a_preset(preset, tmp_path):
    member(tmp_path, "north", "pod")
    (tmp_path / "t.csv").write_text("a\n1\n")
    for allow, people in (
        ([], {}),
        (["--allow", "*"], "*"),
        (["--allow", MARK], {"person-1": MARK}),
    ):
        assert run(["pod", "init", "--table", "t=t.csv", "--preset", preset, *allow]) == 0
        written = load_policy(tmp_path / "policy.toml")
        assert written == msgspec.structs.replace(load_preset(preset), people=people)
        (tmp_path / "policy.toml").unlink()
        (tmp_path / "pod.toml").unlink()


def test_presets_say_what_they_mean(capsys, tmp_path):
    assert run(["policy", "init", "--preset", "standard"]) == 0
    capsys.readouterr()
    checked = as_json(capsys, "policy", "check")
    assert checked["people"] == "everybody"
    assert checked["text"]


def test_a_relay_for_others_is_made_without_a_federation(capsys, tmp_path):
    made = as_json(capsys, "relay", "init", RELAY)
    assert stat.S_IMODE((tmp_path / "relay" / "relay.key").stat().st_mode) == 0o600
    assert run(["relay", "init", RELAY]) == 2
    capsys.readouterr()
    founded = as_json(
        capsys, "federation", "init", "clinics", "--relay", RELAY, "--relay-key", made["key"]
    )
    assert not (tmp_path / "federation" / "relay").exists()
    assert load_membership(tmp_path / "federation").relay.endpoint == RELAY
    manifest = str(tmp_path / "federation" / "manifest.bin")
    trusted = as_json(capsys, "relay", "trust", manifest, "--federation", founded["fingerprint"])
    assert trusted["version"] == 1
    assert run(["relay", "trust", manifest, "--federation", MARK]) == 3


def test_the_console_script_ends_with_the_codes_of_the_table(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "podsql", "join", "podsql-invite:x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("INVITE: ")
