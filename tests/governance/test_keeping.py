"""A pod's own files without a running pod: head, verify, prune, export, and facts before it joined."""

import json
import time

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.cli.app import run
from podsql.convener.desk import peer_file
from podsql.membership import MeSection, RelaySection, key_text, membership_text
from podsql.pod.account import account_of
from podsql.pod.datasets import Place, drop_old_snapshots
from podsql.pod.keeping import check_log
from podsql.pod.past_policies import keep_policy, past_policies
from podsql.policy.audit import FILE, Audit, Entry, lines
from podsql.policy.document import load_preset, policy_hash
from podsql.policy.pruning import YEAR_MS
from podsql.relay.keys import PeerKeys, save_keys

NOW = time.time_ns() // 1_000_000
AGES = (9.0, 8.0, 7.2, 6.8, 2.0, 0.5)
"""Years."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A pod that has joined and is stopped, with a log of nine years."""
    for name in ("PODSQL_FEDERATION", "PODSQL_PASSPHRASE", "PODSQL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    keys = PeerKeys.generate()
    save_keys(tmp_path / "keys.json", keys)
    relay = RelaySection(endpoint="tls://relay.example:443", key=key_text(bytes(32)))
    file = peer_file("clinics", keys.fingerprint, relay, peer="x")
    file = msgspec.structs.replace(file, me=MeSection(name="north", role="pod"))
    (tmp_path / "federation.toml").write_text(membership_text(file))
    pq.write_table(pa.table({"id": [1]}), tmp_path / "v.parquet")
    (tmp_path / "pod.toml").write_text('[tables.visits]\npath = "v.parquet"\nprivacy_unit = "id"\n')
    (tmp_path / "state").mkdir()
    audit = Audit(tmp_path / "state" / FILE, now=NOW)
    for age in AGES:
        audit.append(Entry(time=int(NOW - age * YEAR_MS), event="query", decision="allow"))
    audit.close()
    return tmp_path


def ask(capsys, *arguments):
    code = run(["audit", *arguments])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_a_stopped_pods_log_is_pruned_to_its_retention(home, capsys):
    head = ask(capsys, "head")[1].strip()
    assert json.loads(ask(capsys, "verify", "--head", head, "--json")[1])["entries"] == 6
    done = json.loads(ask(capsys, "prune", "--json")[1])
    assert done["removed"] == 3
    assert [line.number for line in lines(home / "state" / FILE)] == [3, 4, 5, 6]
    found = json.loads(ask(capsys, "verify", "--head", head, "--json")[1])
    assert (found["entries"], found["pruned"]) == (4, 3)
    (home / "governance.toml").write_text("[retention]\naudit_years = 3\n")
    assert json.loads(ask(capsys, "prune", "--json")[1])["removed"] == 1
    assert check_log(home / "state" / FILE).removed == 4


def test_young_lines_leave_by_force_only(home, capsys):
    code, _, told = ask(capsys, "prune", "--before", "2099-01-01")
    assert code == 2
    assert "younger than 1 year" in told
    assert len(list(lines(home / "state" / FILE))) == 6
    assert ask(capsys, "prune", "--before", "2099-01-01", "--force")[0] == 0
    assert [line.entry.event for line in lines(home / "state" / FILE)] == ["prune"]


def test_a_log_that_a_pod_holds_open_is_not_pruned_from_outside(home, capsys):
    held = Audit(home / "state" / FILE, now=NOW)
    code, _, told = ask(capsys, "prune")
    held.close()
    assert code != 0
    assert "another process writes" in told


def test_an_auditor_checks_a_copy_by_the_pods_fingerprint(home, capsys, tmp_path):
    ask(capsys, "prune")
    mine, other = json.loads((home / "keys.json").read_text()), PeerKeys.generate().fingerprint
    assert mine
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((home / "state" / FILE).read_bytes())
    assert ask(capsys, "verify", str(copy))[0] == 0
    code, _, told = ask(capsys, "verify", str(copy), "--signer", other)
    assert code != 0
    assert "not signed by the pod" in told


def test_exports_choose_by_time_and_go_to_a_file(home, capsys):
    since = time.strftime("%Y-%m-%d", time.gmtime(NOW / 1000 - 3 * 365 * 86400))
    assert ask(capsys, "export", "--since", since, "--output", "out.jsonl")[0] == 0
    assert len((home / "out.jsonl").read_text().splitlines()) == 2
    code, out, _ = ask(capsys, "export", "--until", since, "--format", "syslog")
    assert code == 0
    assert len(out.splitlines()) == 4


def test_facts_are_there_before_the_pod_joined_or_served(home):
    (home / "federation.toml").unlink()
    (home / "state" / FILE).unlink()
    facts = account_of(home / "pod.toml")
    assert (facts.network, facts.members, facts.log.count, facts.budgets) == (None, (), 0, ())
    assert facts.keys == ()
    assert [table.name for table in facts.tables] == ["main.visits"]


def test_every_artefact_is_made_before_the_pod_joined_or_served(home, capsys):
    (home / "federation.toml").unlink()
    (home / "state" / FILE).unlink()
    assert ask(capsys, "pack", "--out", "pack")[0] == 0
    assert "not joined" in (home / "pack" / "04-infosec.md").read_text()
    assert ask(capsys, "pack", "--out", "pack")[0] != 0


def test_a_damaged_log_is_told_and_not_refused(home):
    path = home / "state" / FILE
    path.write_bytes(path.read_bytes().replace(b'"rows":0', b'"rows":1', 1))
    facts = account_of(home / "pod.toml")
    assert "changed at line 1" in facts.log.fault
    assert facts.log.count == 6


def test_policies_that_were_served_are_kept_by_their_digest(tmp_path):
    place = Place(home=tmp_path, state=tmp_path / "state")
    for name in ("strict", "standard", "strict"):
        keep_policy(place, load_preset(name))
    found = past_policies(place)
    assert {policy.name for policy in found.values()} == {"strict", "standard"}
    for name in ("strict", "standard"):
        assert found[policy_hash(load_preset(name))] == load_preset(name)
    (damaged, *_) = sorted((tmp_path / "state" / "policies").iterdir())
    damaged.write_bytes(damaged.read_bytes().replace(b"false", b"true", 1))
    assert len(past_policies(place)) == 1


def test_a_replaced_snapshot_is_removed(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": [1, 2]}), path)
    with podsql.local({"north": {"t": path}}, isolation="thread") as federation:
        pod = federation.pods["north"]
        assert pod.desk is not None
        first = pod.desk.holding.database
        pq.write_table(pa.table({"id": [1]}), path)
        pod.refresh()
        second = pod.desk.holding.database
        assert first.exists()  # a statement may still run on it
        pod._drop(first)
        pod._drop(second)  # one content, one file: what is served stays
        assert not first.exists()
        assert federation.connect().execute("SELECT count(*) FROM t").fetchall() == [(1,)]


def test_a_start_removes_what_an_earlier_one_left(tmp_path):
    folder = tmp_path / "snapshots"
    (folder / ".building-x").mkdir(parents=True)
    (folder / ".building-x" / "rows").write_text("rows")
    for name in ("old.duckdb", "old.duckdb.wal", "new.duckdb"):
        (folder / name).write_text("")
    drop_old_snapshots(Place(home=tmp_path, state=tmp_path), folder / "new.duckdb")
    assert [file.name for file in folder.iterdir()] == ["new.duckdb"]
