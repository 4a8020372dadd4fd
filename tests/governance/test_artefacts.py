"""The eighteen artefacts of a pod, checked against what was really done."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa
import pytest
from clinics import CANARIES, DENIED, GROUPS

import podsql
from podsql.cli.app import run
from podsql.driver import connect
from podsql.errors import Error
from podsql.governance.facts import Log
from podsql.governance.markdown import markdown
from podsql.governance.model_release import model_release
from podsql.governance.pack import artefacts
from podsql.pod.account import account_of, installation
from podsql.pod.control import send
from podsql.pod.keeping import check_log, prune_log
from podsql.policy.audit import FILE, lines
from podsql.policy.document import load_policy, policy_hash


@pytest.fixture
def say(done, capsys, monkeypatch):
    """Run ``podsql audit …`` over pod north; ``json=False`` gives the text."""
    monkeypatch.chdir(done.config.parent)
    capsys.readouterr()

    def ask(*arguments: str, as_json: bool = True):
        assert run(["audit", *arguments, *(["--json"] if as_json else [])]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if as_json else out

    return ask


def noted(done):
    """The log of north, once it knows of eve's revocation (it hears of it from the relay)."""
    path = done.config.parent / "state" / FILE
    deadline = time.monotonic() + 30
    while True:
        found = [line.entry for line in lines(path)]
        if any(entry.event == "revoked" for entry in found):
            return found
        assert time.monotonic() < deadline, "the pod did not hear of the revocation"
        send(done.config, "status")


def test_01_project_cards_say_what_was_agreed_and_what_was_asked(say):
    cards = {card["name"]: card for card in say("projects")["cards"]}
    asthma, heart = cards["asthma"], cards["heart"]
    assert (asthma["status"], heart["status"]) == ("open", "expired")
    assert asthma["duo"] == ["HMB", "NCU", "TS"]
    assert "DUO:0000046" in asthma["duo_in_words"]
    assert (asthma["statements"], asthma["answered"]) == (4, 3)  # groups, noise, denied, eve's
    assert (heart["statements"], heart["answered"]) == (1, 1)
    assert asthma["purposes_given"] == ["study"]
    text = say("projects", "asthma", as_json=False)
    assert "Asthma admissions by town" in text
    assert "Hearts" not in text


def test_02_the_list_of_people_warns_of_what_is_over(done, say):
    noted(done)
    people = {one["name"]: one for one in say("people")["people"]}
    assert people["ana"]["may_ask"]
    assert "training is over" in people["ana"]["warnings"]
    assert people["bob"]["why_not"] == "not named by the policy"
    assert "project is over (heart)" in people["bob"]["warnings"]
    assert people["eve"]["why_not"] == "key revoked by the federation"
    assert people["ana"]["fingerprint"].startswith("ps1")


def test_03_the_data_card_names_columns_and_no_other(say):
    found = say("data")
    tables = {one["table"]: one for one in found["tables"]}
    visit, person = tables["main.visit"], tables["main.person"]
    assert [column["name"] for column in visit["columns"]] == ["id", "town", "age"]
    assert (visit["privacy_unit"], visit["release"], visit["opt_out"]) == (
        "id",
        "sdc_local",
        "2 units",
    )
    assert person["release"] == "dp"
    assert person["columns"][1]["bounds"] == [16.0, 80.0]
    assert found["refreshed"] >= visit["source_changed"]
    assert len(found["data_version"]) == 32


def test_04_the_infosec_pack_is_of_this_installation(say, tmp_path):
    found = say(
        "infosec", "--svg", str(tmp_path / "flow.svg"), "--sbom", str(tmp_path / "sbom.json")
    )
    assert {a["area"] for a in found["answers"]} == {
        "network", "installation", "service", "watching", "supply chain", "governance",
    }  # fmt: skip
    signed = next(a for a in found["answers"] if a["asked"].startswith("signed releases"))
    assert signed["state"] == "no"
    outward, inward, *_ = found["flows"]
    assert outward["direction"] == "outbound"
    assert outward["port"].startswith("TCP ")
    assert inward["port"].startswith("none")
    names = {key["name"] for key in found["keys"]}
    assert {"keys.json", "state/secret"} <= names
    assert all(key["days"] in (0, None) for key in found["keys"])
    assert found["sandbox_held"] or found["sandbox_missing"]
    assert (tmp_path / "flow.svg").read_text().startswith("<svg")
    bom = json.loads((tmp_path / "sbom.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part["version"] for part in bom["components"]}
    assert {"duckdb", "pyarrow", "pyzmq", "msgspec"} <= set(parts)
    mine = next(one for one in bom["dependencies"] if one["ref"].startswith("pkg:pypi/podsql@"))
    assert f"pkg:pypi/duckdb@{parts['duckdb']}" in mine["dependsOn"]
    refs = {one["ref"] for one in bom["dependencies"]}
    assert all(set(one["dependsOn"]) <= refs for one in bom["dependencies"])


def test_05_an_output_report_for_each_release(done, say):
    noisy, grouped = [], []
    for one in say("outputs")["outputs"]:
        (noisy if one["release"] == "dp" else grouped).append(one)
    first = next(one for one in grouped if one["statement"].startswith(GROUPS))
    assert first["statistics"] == ["frequencies (counts)"]
    assert (first["rows"], first["groups_withheld"]) == (done.groups, 1)
    assert first["epsilon"] is None
    assert "A figure leaves only if at least 10 privacy units stand behind it." in first["rules"]
    (paid,) = noisy
    assert paid["statistics"] == ["frequencies (counts)", "magnitudes (sums, means)"]
    assert 0.4 < paid["epsilon"] <= 0.5
    assert len(paid["error_bars"]) == 3  # count(*), count(age), sum(age)
    assert min(paid["error_bars"]) > 0
    only = say("outputs", paid["request_id"][:12])["outputs"]
    assert only == noisy
    text = say("outputs", as_json=False)
    assert "groups withheld | 1 |" in text


def test_06_the_dpia_draft_has_seven_steps_and_says_what_is_open(say):
    text = say("dpia", as_json=False)
    assert [line[8] for line in text.splitlines() if line.startswith("## Step ")] == list("1234567")
    assert "dpo@north.example" in text
    assert "TO DO" in text
    found = say("dpia")
    assert "step 1 and 4: lawful basis of project heart" in found["open"]
    assert not any("project asthma" in one for one in found["open"])
    assert found["people"] == ["ana"]
    assert any("min" in one or "at least 10 units" in one["here"] for one in found["risks"])


def test_07_the_annex_is_signed_and_shows_a_change(done, say, tmp_path, capsys):
    found = say("dsa")
    assert found["policy_hash"] == policy_hash(load_policy(done.config.with_name("policy.toml")))
    assert found["parties"][0]["name"] == "North Hospital"
    assert "sdc_merged" in found["merged_clause"]
    signed = tmp_path / "annex.md"
    signed.write_text(say("dsa", "--sign", as_json=False))
    checked = say("dsa", "--check", str(signed))
    assert checked["signed_by"] == found["fingerprint"]
    signed.write_text(signed.read_text().replace("controller", "processor", 1))
    assert run(["audit", "dsa", "--check", str(signed)]) == 3
    assert "SIGNATURE" in capsys.readouterr().err


def test_08_the_decision_log_names_the_rule_and_what_it_means(say):
    found = say("decisions", "--person", "ana")
    denied = [one for one in found["decisions"] if one["decision"] == "denied"]
    assert {one["rule"] for one in denied} == {"FILTER_KEY_LITERAL"}
    assert {one["kind"] for one in denied} == {"query", "explain"}
    assert all(one["statement"].endswith(DENIED) for one in denied)
    assert "key of persons" in denied[0]["meaning"]
    assert found["by_rule"] == {"FILTER_KEY_LITERAL": len(denied)}
    assert found["allowed"] + found["denied"] == found["total"]


def test_09_what_ends_soon_and_who_notices(say):
    ends = {(one["what"], one["name"]): one for one in say("expiring")["ends"]}
    assert ends["training", "ana"]["days_left"] < 0
    assert ends["project", "heart"]["enforced_by"].startswith("nobody")
    manifest = next(one for (what, _), one in ends.items() if what == "manifest")
    assert 0 < manifest["days_left"] <= 60
    assert ("policy", "clinics") not in ends
    far = say("expiring", "--days", "40000")["ends"]
    assert ("policy", "clinics") in {(one["what"], one["name"]) for one in far}


def test_10_revocations_when_ordered_and_when_obeyed(done, say):
    log = noted(done)
    found = {one["who"]: one for one in say("revocations")["revocations"]}
    eve, bob = found["eve"], found["bob"]
    assert (eve["what"], eve["ordered_is"], eve["answers_after"]) == ("key", "exact", 0)
    assert eve["last_answer"] <= eve["ordered"] <= eve["obeyed"]
    assert (bob["what"], bob["why"]) == ("policy", "not named by the policy")
    reload = next(entry for entry in log if entry.event == "data")
    assert bob["obeyed"] == datetime.fromtimestamp(reload.time / 1000, UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    assert bob["answers_after"] == 0


def test_11_who_ran_what_by_person_project_dataset_and_month(say):
    people = {one["key"].split()[0]: one for one in say("activity")["ran"]}
    assert (people["ana"]["statements"], people["ana"]["answered"], people["ana"]["refused"]) == (
        3,
        2,
        1,
    )
    assert people["eve"]["statements"] == people["bob"]["statements"] == 1
    by = {
        way: {one["key"]: one["statements"] for one in say("activity", "--by", way)["ran"]}
        for way in ("project", "dataset", "month")
    }
    assert by["project"] == {"asthma": 4, "heart": 1}
    assert by["dataset"]["main.person"] == 1
    assert by["dataset"]["main.visit"] == 4
    assert sum(by["month"].values()) == 5
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert say("activity", "--since", tomorrow)["ran"] == []
    assert say("activity")["whole"] is True


def test_12_the_budget_in_plain_words(say):
    found = say("budget")
    (scope,) = found["budgets"]
    assert scope["releases"] == 1
    assert 0.4 < scope["epsilon"] <= 0.5
    assert scope["cap"] == 2.0
    assert "at most by" not in found["promise"]
    assert "changes the odds" in found["promise"]
    assert "Exact figures leave beside them" in found["promise"]
    assert "1 release spent epsilon" in say("budget", as_json=False)


def test_13_the_incident_pack_knows_the_freeze_and_the_releases(done, say):
    assert say("incident")["state"].startswith("running since")
    send(done.config, "pause")
    try:
        found = say("incident", "--table", "person")
    finally:
        send(done.config, "resume")
    assert found["state"].startswith("frozen since")
    assert found["people"] == ["ana"]
    assert [one["tables"] for one in found["releases"]] == [["main.person"]]
    assert found["contacts"]["breach"] == "breach@north.example"
    assert {one["person"] for one in say("incident", "--person", "bob")["releases"]} == {"bob"}


def test_14_the_opt_out_statement_counts_and_does_not_name(say):
    found = say("opt-out")
    lists = {one["table"]: one for one in found["tables"]}
    assert (lists["main.visit"]["units"], lists["main.person"]["listed"]) == (2, False)
    assert lists["main.visit"]["applied"] >= lists["main.visit"]["changed"]
    assert any("cannot be called back" in one for one in found["words"])


def test_15_the_retention_table_says_what_was_stated(say):
    found = say("retention")
    assert (found["audit_years"], found["stated"]) == (8, True)
    kept = {one["what"]: one for one in found["kept"]}
    assert kept["audit log"]["how_long"] == "8 years"
    assert kept["releases"]["how_long"] == "until the project ends"


def test_16_the_public_page_has_no_script_no_person_and_no_secret_rule(say):
    text = say("register", as_json=False)
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert "Asthma admissions by town" in text
    assert "4, of which answered 3" in text
    for hidden in ("Dr Ana", ">ana<", "ps1", "largest part", "SELECT"):
        assert hidden not in text
    assert "SELECT avg(age) FROM visit" in say("register", "--code", as_json=False)
    assert say("register")["unnamed"] == 0


def test_17_no_model_was_trained_and_the_form_says_so(say):
    found = say("model")
    assert (found["models"], found["training_allowed"]) == ([], False)
    assert "The policy allows training of no table." in found["summary"]


def test_17_models_are_listed_with_what_left_for_them(done):
    rows = pa.table({"id": range(900), "age": [20 + n * 7 % 60 for n in range(900)]})
    rows = rows.append_column("ill", pa.array([n * 31 % 7 < 3 for n in range(900)]))
    train = "TRAIN MODEL risk USING logistic_regression PREDICT ill FROM (SELECT age, ill FROM person{})"
    with (
        podsql.local(
            {"north": {"person": rows}},
            privacy_unit={"person": "id"},
            policy="standard",
            isolation="thread",
        ) as federation,
        federation.connect() as con,
    ):
        rounds = con.execute(train.format("")).fetchone()[4]
        con.execute("SELECT count(*) FROM person")
        with pytest.raises(Error):
            con.execute(train.format(" WHERE age < 21"))
        entries = tuple(line.entry for line in lines(federation.pods["north"].place / FILE))
    facts = replace(account_of(done.config), log=Log(entries=entries))
    whole, few = model_release(facts, "1").models
    assert whole.statement == train.format("")
    assert (whole.rounds, whole.refused, whole.kinds) == (rounds, 0, ("moments", "binomial"))
    assert (whole.person, whole.tables, whole.epsilon) == ("ana", ("main.person",), 0)
    assert (few.rounds, few.refused, few.bytes) == (0, 1, 0)


def test_18_the_assurance_statement_is_honest_about_what_it_is(say):
    found = say("assurance")
    assert len(found["cases"]) == 35
    assert sum(found["counts"].values()) == 35
    assert found["counts"]["failed"] == 0
    assert any("ran none of them" in words for words in found["words"])


def test_no_row_value_is_in_any_artefact(done, tmp_path, capsys, monkeypatch):
    noted(done)
    monkeypatch.chdir(done.config.parent)
    out = tmp_path / "pack"
    assert run(["audit", "pack", "--out", str(out)]) == 0
    files = sorted(out.iterdir())
    assert len([file for file in files if file.suffix == ".md"]) == 21
    heaps = {file.name: file.read_bytes() for file in files}
    for form in ("jsonl", "cef", "syslog"):
        capsys.readouterr()
        assert run(["audit", "export", "--format", form, "--statements"]) == 0
        heaps[form] = capsys.readouterr().out.encode()
    assert [(n, c) for n, heap in heaps.items() for c in CANARIES if c.encode() in heap] == []
    # They are there to be found: the same values are in the source and left in a group key.
    assert b"canaryname" in (done.stage.home / "north.parquet").read_bytes()
    # Literals stand in statements' texts, and nowhere else.
    facts = account_of(done.config)
    for name, struct, page in artefacts(facts, installation()):
        for heap in (msgspec.json.encode(struct).decode(), markdown(page)):
            assert heap.count("id = 7") == heap.replace("\\", "").count(DENIED), name


def test_the_running_pod_prunes_its_own_log_and_goes_on(done):
    path = done.config.parent.parent / "south" / "state" / FILE
    config = path.parents[1] / "pod.toml"
    before = check_log(path)
    middle = [line.entry.time for line in lines(path)][2]
    with pytest.raises(Error, match="younger than"):
        prune_log(config, before=middle, force=False)
    gone = prune_log(config, before=middle, force=True)
    assert gone["removed"] >= 1
    chain = check_log(path)
    assert chain.removed == gone["removed"]
    assert chain.count >= before.count + 1
    with connect(
        done.stage.membership("ana"), purpose="study", project="asthma", timeout=30
    ) as ana:
        ana.execute("SELECT count(*) FROM south.main.visit WHERE age > 40").fetchall()
    assert check_log(path).count > chain.count
