"""``podsql pod budget``: what was spent, a reset with its reason, a lost witness."""

import json

import pytest

from podsql.cli.app import run
from podsql.policy.ledger.cost import cap_of, rho_for, zcdp_cost
from podsql.policy.ledger.store import Ledger

POD = '[tables.t]\npath = "t.csv"\n[policy]\nfile = "policy.toml"\n'
POLICY = """
version = 1
name = "census"
release = "dp"
[dp]
epsilon_per_query = 1
epsilon_budget = 2
epsilon_total = 8
delta = 1e-6
noise = "python"
"""
SCOPES = ("census/analyst=x/purpose=study", "census/everybody")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pod.toml").write_text(POD)
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "state").mkdir()
    ledger = Ledger(tmp_path / "state" / "ledger.sqlite", witness=tmp_path / "ledger.witness")
    for n in range(2):
        ledger.charge(
            bytes([n]) * 32,
            bytes([n]) * 16,
            dict.fromkeys(SCOPES, cap_of(8, 1e-6)),
            zcdp_cost(rho_for(1.0, 1e-6)),
            now=1_770_000_000_000,
        )
    ledger.close()
    return tmp_path


def listed(capsys, *more):
    capsys.readouterr()
    assert run(["pod", "budget", "--json", *more]) == 0
    return {one["scope"]: one for one in json.loads(capsys.readouterr().out)["budgets"]}


def test_budgets_are_told_in_epsilon(folder, capsys):
    found = listed(capsys)
    assert set(found) == set(SCOPES)
    for scope, budget in zip(SCOPES, (2, 8), strict=True):
        assert 1.0 < found[scope]["epsilon"] < 2.0
        assert (found[scope]["budget"], found[scope]["charges"]) == (budget, 2)
    assert run(["pod", "budget"]) == 0
    assert "of 8, 2 releases" in capsys.readouterr().out


def test_a_reset_needs_a_reason_and_leaves_it_in_the_chain(folder, capsys):
    assert run(["pod", "budget", "--reset", SCOPES[0]]) == 2
    assert run(["pod", "budget", "--reset", "nothing", "--reason", "x"]) == 2
    found = listed(capsys, "--reset", SCOPES[0], "--reason", "new consent of 2027")
    assert (found[SCOPES[0]]["epsilon"], found[SCOPES[0]]["charges"]) == (0.0, 0)
    assert found[SCOPES[1]]["charges"] == 2
    ledger = Ledger(folder / "state" / "ledger.sqlite", witness=folder / "ledger.witness")
    assert ledger.charges()[-1].note == "new consent of 2027"
    ledger.close()


def test_a_lost_witness_is_accepted_by_name_only(folder, capsys):
    (folder / "ledger.witness").unlink()
    assert run(["pod", "budget"]) == 2
    assert "no witness" in capsys.readouterr().err
    assert listed(capsys, "--adopt")[SCOPES[0]]["charges"] == 2
    assert listed(capsys)[SCOPES[0]]["charges"] == 2


def test_a_pod_without_a_ledger_says_so(folder, capsys):
    (folder / "state" / "ledger.sqlite").unlink()
    assert run(["pod", "budget"]) == 2
    assert "no ledger yet" in capsys.readouterr().err
