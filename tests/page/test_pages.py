"""Every page by itself: it opens, escapes what others wrote, and does what its forms say."""

import csv
import io
import json
import re

import pytest
from worlds import ANA_KEY, BEN, BEN_KEY, DAY, NOW, fill, pages

from podsql.policy.document import parse_policy, policy_hash
from podsql.policy.service import officers, people, reviews, settings
from podsql.policy.service.granting import all_grants
from podsql.policy.service.officers import CONSOLE

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{7*7}}\u202egnp.exe"""


def test_every_page_opens_for_every_role(clinics, browsers):
    fill(clinics)
    for name, role in (("anna", "admin"), ("bert", "approver"), ("vera", "viewer")):
        browser = browsers(name, role)
        for path in pages(clinics):
            wanted = (
                403
                if path in {"grants/new": "viewer", "projects/new": "viewer approver"}
                and role
                in {"grants/new": "viewer", "projects/new": "viewer approver"}[path].split()
                else 200
            )
            assert browser.get(path).status_code == wanted, (role, path, browser.last.text)


def test_pages_of_an_empty_store_open(clinics, browsers):
    anna = browsers("anna")
    for path in (
        "",
        "requests",
        "grants",
        "grants/new",
        "people",
        "projects",
        "pods",
        "budgets",
        "results",
        "decisions",
        "history",
        "policies",
        "settings",
        "freeze",
        "account",
    ):
        assert anna.get(path).status_code == 200, path


def test_hostile_names_are_text(clinics, browsers):
    fill(clinics, name=HOSTILE[:60].replace("\u202e", ""), reason=HOSTILE, table="main.<b>x</b>")
    clinics.report("north", policy_words=(HOSTILE,), policy=HOSTILE)
    clinics.orders.freeze(CONSOLE, "north", HOSTILE)
    anna = browsers("anna")
    for path in pages(clinics):
        text = anna.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "<b>x</b>" not in text, path
        assert "\u202e" not in text, path
        assert not re.search(r"\son\w+=\"", text), path
        assert not re.search(r"\sstyle=", text), path
    assert "\\u202egnp" in anna.get("requests/1").text


def test_no_page_of_a_missing_thing_opens(clinics, browsers):
    anna = browsers("anna")
    for path in (
        "requests/9",
        "grants/none",
        f"people/{ANA_KEY[:-4]}aaaa",
        "people/x",
        "projects/of/x",
        "pods/x",
        "results/x",
        "officers/x",
    ):
        answer = anna.get(path)
        assert answer.status_code == 400, path
        assert "This was not done" in answer.text
    assert anna.get("nothing/here").status_code == 404
    assert anna.get(f"people/{ANA_KEY}").status_code == 200, "a member is known before any grant"


def test_a_person_is_described_and_off_boarded(clinics, browsers):
    clinics.grant(BEN, "ben")
    clinics.ask(BEN, "ben")
    anna = browsers("anna")
    anna.get(f"people/{BEN_KEY}")
    assert "#f-trained" in anna.post(f"people/{BEN_KEY}", trained="yesterday").text
    anna.post(
        f"people/{BEN_KEY}", organisation="Uni", contact="b@uni.example", trained="2026-01-01"
    )
    assert "training expired" in anna.get("people").text
    anna.get(f"people/{BEN_KEY}")
    assert "1 grants ended" in anna.post(f"people/{BEN_KEY}/off-board").text
    assert people.people(clinics.database)[0].ended == NOW
    assert not all_grants(clinics.database)[0].in_force(NOW)
    assert "Off-board ben" not in anna.get(f"people/{BEN_KEY}").text


def test_a_project_is_registered_changed_and_closed(clinics, browsers):
    anna = browsers("anna")
    anna.get("projects/new")
    wrong = anna.post(
        "projects/new", name="a*", title="", purpose="cohort", lawful_basis="x", ends=""
    )
    for field in ("name", "title", "ends"):
        assert f'href="#f-{field}"' in wrong.text
    fields = {
        "title": "Sepsis",
        "purpose": "cohort",
        "lawful_basis": "GDPR 9(2)(j)",
        "ends": "2027-12-31",
    }
    anna.post("projects/new", name="sepsis", **fields)
    anna.get("projects/new")
    assert anna.post("projects/new", name="sepsis", **fields).status_code == 400
    anna.get("projects/of/sepsis")
    anna.post("projects/of/sepsis", **{**fields, "title": "Sepsis II"})
    assert "Sepsis II" in anna.get("projects").text
    anna.get("projects/of/sepsis")
    assert "was closed" in anna.post("projects/of/sepsis/close").text
    assert people.projects(clinics.database)[0].closed == NOW


def test_a_held_result_is_released_by_its_hash(clinics, browsers):
    fill(clinics)
    anna = browsers("anna")
    anna.get("results/result-1")
    assert anna.post("results/result-1/release", hash="00" * 32).status_code == 409
    anna.get("results/result-1")
    assert "was released" in anna.post("results/result-1/release", hash=(b"r" * 32).hex()).text
    assert reviews.one_review(clinics.database, "result-1").state == "released"


def test_two_people_release_and_one_refuses(clinics, browsers):
    fill(clinics)
    clinics.orders.switch(CONSOLE, "two_person", True)
    anna, bert = browsers("anna"), browsers("bert", "approver")
    anna.get("results/result-1")
    assert "Another person" in anna.post("results/result-1/release", hash=(b"r" * 32).hex()).text
    assert ">Release<" not in anna.get("results/result-1").text
    bert.get("results/result-1")
    assert "#f-note" in bert.post("results/result-1/refuse").text
    bert.post("results/result-1/refuse", note="too small")
    assert reviews.one_review(clinics.database, "result-1").state == "refused"


def test_decisions_are_found_and_exported(clinics, browsers):
    fill(clinics, reason="=cmd()")
    anna = browsers("anna")
    assert anna.get("decisions?answer=denied").text.count(">denied</span>") == 1
    assert "No decision matches" in anna.get("decisions?q=nobody").text
    assert "No decision matches" in anna.get("decisions?until=2020-01-01").text
    rows = json.loads(anna.get("decisions/export?format=json").text)
    assert [row["allowed"] for row in rows] == [False, True]
    assert rows[0]["analyst"] == "ana"
    sheet = list(csv.DictReader(io.StringIO(anna.get("decisions/export?format=csv").text)))
    assert sheet[0]["reason"] == "'=cmd()", "a spreadsheet must not run it"
    assert "attachment" in anna.last.headers["content-disposition"]


def test_history_is_verified_and_exported(clinics, browsers):
    fill(clinics)
    anna = browsers("anna")
    anna.get("history")
    assert re.search(r"All \d+ acts are as they were written", anna.post("history").text)
    assert json.loads(anna.get("history/export?format=json").text)[-1]["number"] == 1
    with clinics.database.write() as db:
        db.execute("UPDATE history SET detail = 'nothing' WHERE number = 2")
    anna.get("history")
    answer = anna.post("history")
    assert answer.status_code == 409
    assert "changed at act 2" in answer.text


POLICY = """
version = 1
name = "clinic"
people = "*"
[tables."main.visits".columns]
visit_id = { roles = ["join_key"] }
patient_id = { roles = ["entity_key"] }
sex = { roles = ["dimension", "filter"] }
age = { roles = ["measure", "filter"] }
"""


def test_the_editor_checks_explains_and_tries(clinics, browsers):
    fill(clinics)
    anna = browsers("anna")
    anna.get("policies")
    shown = anna.post(
        "policies", text=POLICY, sql="SELECT sex, avg(age) FROM visits GROUP BY sex", pod="north"
    ).text
    assert policy_hash(parse_policy(POLICY.encode())) in shown
    assert "Anybody whom the federation lists may ask." in shown
    assert ">allowed</span>" in shown
    assert "VARCHAR" in shown
    anna.get("policies")
    denied = anna.post(
        "policies", text=POLICY, sql="SELECT patient_id FROM visits", pod="north"
    ).text
    assert ">denied</span>" in denied
    anna.get("policies")
    wrong = anna.post("policies", text=POLICY + "[output]\nminunits = 3").text
    assert "unknown field" in wrong
    assert "Hash" not in wrong
    anna.get("policies")
    assert "Dry run" in anna.post("policies", text=POLICY, sql="SELEC", pod="north").text


def test_the_editor_gives_a_file_and_its_hash(clinics, browsers):
    anna = browsers("anna")
    anna.get("policies")
    answer = anna.post("policies/download", text=POLICY)
    assert answer.headers["content-type"].startswith("application/toml")
    assert answer.headers["x-policy-hash"] == policy_hash(parse_policy(POLICY.encode()))
    assert parse_policy(answer.content)
    anna.get("policies")
    assert "text/html" in anna.post("policies/download", text="version = 2").headers["content-type"]


def test_officers_are_made_changed_and_ended(clinics, browsers):
    anna = browsers("anna")
    anna.get("settings")
    made = anna.post("settings/officers", name="bert", role="approver").text
    link = re.search(r"/f/clinics/link/([\w-]+)", made)[1]
    bert = browsers()
    assert bert.take_link(link).status_code == 200
    anna.get("settings")
    assert (
        "is or was here already" in anna.post("settings/officers", name="bert", role="viewer").text
    )
    anna.get("officers/bert")
    assert "#f-key" in anna.post("officers/bert", role="viewer", key="ps1x", oidc="").text
    anna.post("officers/bert", role="viewer", key=BEN_KEY, oidc="https://idp.example 7")
    found = officers.by_name(clinics.database, "bert")
    assert (found.role, found.identity, found.oidc) == (
        "viewer",
        BEN.identity_public,
        "https://idp.example 7",
    )
    assert bert.get("grants/new").status_code == 403
    anna.get("officers/bert")
    anna.post("officers/bert/end")
    assert bert.get("grants").url.path.endswith("/sign-in")
    anna.get("officers/anna")
    assert anna.post("officers/anna/end").status_code == 409, "one administrator stays"


def test_switches_turn(clinics, browsers):
    anna = browsers("anna")
    anna.get("settings")
    anna.post("settings/switch", name="two_person", on="yes")
    assert settings.switched(clinics.database, "two_person")
    anna.get("settings")
    assert anna.post("settings/switch", name="nothing", on="yes").status_code == 400


def test_pods_freeze_and_thaw(clinics, browsers):
    fill(clinics)
    bert = browsers("bert", "approver")
    bert.get("freeze")
    assert "#f-reason" in bert.post("freeze", pod="north", reason=" ").text
    bert.post("freeze", pod="north", reason="a lost laptop")
    assert settings.frozen(clinics.database) == {"north": "a lost laptop"}
    assert "Frozen:" in bert.get("").text
    bert.get("freeze")
    assert bert.post("freeze/thaw", pod="north").status_code == 403
    anna = browsers("anna")
    anna.get("freeze")
    anna.post("freeze/thaw", pod="north")
    assert not settings.frozen(clinics.database)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_theme_is_kept(browsers, theme):
    anna = browsers("anna")
    anna.get("account")
    assert (
        f'data-theme="{theme}"' in anna.post("theme", theme=theme, back="/f/clinics/account").text
    )
    anna.get("account")
    assert (
        anna.post("theme", theme="x", back="//evil.example/", follow=False).headers["location"]
        == "/f/clinics/"
    )


def test_a_training_that_ends_soon_is_warned_of(clinics, browsers):
    clinics.grant(BEN, "ben")
    clinics.orders.describe(
        CONSOLE,
        BEN.identity_public,
        name="ben",
        organisation="",
        contact="",
        trained_until=NOW + 5 * DAY,
    )
    anna = browsers("anna")
    assert "Training of ben" in anna.get("").text
    assert "training expires soon" in anna.get("people").text
