"""Artefacts over facts made by hand: grants, ends, damaged logs, missing descriptions."""

import dataclasses
from typing import get_args

import pytest

from podsql.governance import (
    budget,
    decisions,
    expiring,
    flow,
    incident,
    people,
    reasons,
    register,
    retention,
    revocations,
)
from podsql.governance.declared import Declared, parse_declared
from podsql.governance.facts import Facts, Log, Member, Table
from podsql.governance.html import html
from podsql.governance.markdown import markdown
from podsql.governance.pages import Code, Grid, Heading, Items, Page, Pairs, Text
from podsql.governance.statbarn import statbarns
from podsql.policy.audit import Entry
from podsql.policy.denial import Reason
from podsql.policy.document import load_preset, parse_policy, policy_hash
from podsql.policy.service.granting import Granted
from podsql.relay.keys import PeerKeys
from podsql.service_messages import Grant

NOW = 1_770_000_000_000  # 2026-02-02
DAY = 86_400_000
ANA = PeerKeys.generate()
EVIL = "x|y` <script>alert(1)</script>\n# head [a](http://b) *"


def facts(**changed) -> Facts:
    policy = changed.pop("policy", load_preset("standard"))
    table = Table(
        name="main.visits", kind="federated", source="visits.csv", mode="snapshot", privacy_unit="id",
        local_keys=(), types={}, refreshed=NOW, opt_out=None,
    )  # fmt: skip
    whole = Facts(
        now=NOW, pod="north", policy=policy, policy_hash=policy_hash(policy), services=0,
        tables=(table,), members=(Member(name="ana", role="analyst", fingerprint=ANA.fingerprint, created=NOW, revoked=False),),
        network=None, keys=(), declared=Declared(), log=Log(entries=()), payments={}, budgets=(),
    )  # fmt: skip
    return dataclasses.replace(whole, **changed)


def query(time, **fields) -> Entry:
    told = {
        "decision": "allow",
        "analyst": "ana",
        "fingerprint": ANA.fingerprint,
        "tables": ("main.visits",),
    }
    return Entry(time=time, event="query", **{**told, **fields})


def granted(until, revoked=None) -> Granted:
    grant = Grant(
        grant_id="g1", analyst=ANA.identity_public, pod="*", tables=("main.visits",), purpose="*",
        project="*", release="sdc_local", since=0, until=until,
    )  # fmt: skip
    return Granted(grant=grant, name="ana", created=0, revoked=revoked)


def test_a_grant_that_ends_soon_is_a_warning_and_one_without_an_end_is_none():
    soon = facts(grants=(granted(NOW + 3 * DAY),))
    (end,) = expiring.expiring(soon).ends
    assert (end.what, end.days_left, end.enforced_by) == ("grant", 3, "the policy service")
    assert "grant ends in 3 days" in people.who_may(soon).people[0].warnings
    assert expiring.expiring(facts(grants=(granted(253_402_300_799_000),))).ends == ()


def test_a_revoked_grant_is_obeyed_at_the_first_refusal():
    log = Log(
        entries=(
            query(NOW - 5000),
            query(NOW - 1000, decision="deny", reason="STALE_OFFER"),
            query(NOW - 500, decision="deny", reason="NOT_GRANTED"),
        )
    )
    (one,) = revocations.revocations(
        facts(log=log, grants=(granted(NOW + DAY, revoked=NOW - 2000),))
    ).revocations
    assert (one.what, one.ordered_is, one.answers_after) == ("grant", "exact", 0)
    assert one.first_refusal.endswith("(STALE_OFFER)")
    assert one.obeyed == one.first_refusal.split()[0]


def test_an_answer_after_a_revocation_is_counted():
    log = Log(entries=(query(NOW - 1000),))
    (one,) = revocations.revocations(
        facts(log=log, grants=(granted(NOW, revoked=NOW - 2000),))
    ).revocations
    assert (one.answers_after, one.obeyed) == (1, "")


def test_a_project_ends_with_its_last_day():
    declared = parse_declared(b"[projects.a]\nends = 2026-02-02\n[projects.b]\nends = 2026-02-01\n")
    ends = {one.name: one.days_left for one in expiring.expiring(facts(declared=declared)).ends}
    assert ends["a"] >= 0
    assert ends["b"] < 0
    assert not declared.projects["a"].expired(NOW)
    assert declared.projects["b"].expired(NOW)


def test_a_policy_that_ends_first_enforces_a_projects_end():
    policy = parse_policy(b'version = 1\nname = "p"\npeople = "*"\n[valid]\nuntil = 2026-02-05\n')
    declared = parse_declared(b"[projects.a]\nends = 2026-02-06\n")
    ends = {
        one.what: one.enforced_by
        for one in expiring.expiring(facts(policy=policy, declared=declared)).ends
    }
    assert ends["project"].startswith("the pod")


def test_a_damaged_log_is_said_to_be_damaged_everywhere():
    broken = facts(log=Log(entries=(query(NOW),), fault="the audit log was changed at line 2"))
    assert "NOT WHOLE" in markdown(incident.page(incident.incident_pack(broken)))


def test_a_freeze_ends_with_a_restart():
    frozen = (Entry(time=NOW, event="start"), Entry(time=NOW + 1, event="pause"))
    assert incident.state_of(facts(log=Log(entries=frozen))).startswith("frozen")
    again = (*frozen, Entry(time=NOW + 2, event="start"))
    assert incident.state_of(facts(log=Log(entries=again))).startswith("running")
    assert incident.state_of(facts()) == "never started"


def test_without_noise_no_promise_is_made():
    assert "makes no promise" in budget.budget_statement(facts()).promise


def test_what_is_not_stated_is_said_not_to_be():
    text = markdown(retention.page(retention.retention(facts())))
    assert "7 years (the default" in text
    assert "not stated" in text


def test_every_rule_of_the_gate_has_words():
    assert set(reasons.GATE) == set(get_args(Reason))
    assert reasons.in_words("SOMETHING_NEW") == "see the pod's own log"


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("SELECT count(*), sum(x) FROM t", ("frequencies (counts)", "magnitudes (sums, means)")),
        ("SELECT max(x), median(x) FROM t", ("extremes (smallest, largest)", "position (quantiles)")),
        ("SELECT stddev_pop(x), corr(x, y) FROM t", ("relation (correlation, regression)", "shape (spread)")),
        ("SELECT sum(x) FROM t WITH (privacy = 'dp', epsilon = 1)", ("magnitudes (sums, means)",)),
        ("SELECT x FROM t", ("rows",)),
        ("SELECT frobnicate(x) FROM t", ("unknown",)),
        ("SELEC nonsense", ("unknown",)),
        ("SUMMARIZE t", ("unknown",)),
    ],
)  # fmt: skip
def test_kinds_of_statistics_are_read_from_the_text(sql, kinds):
    assert statbarns(sql) == kinds


def test_text_of_others_cannot_become_markup():
    page = Page(
        EVIL,
        (
            Heading(EVIL),
            Text(EVIL),
            Items((EVIL,)),
            Pairs({EVIL: EVIL}),
            Grid((EVIL,), ((EVIL,),)),
            Code(EVIL + "````"),
        ),
    )
    text = markdown(page)
    outside = text[: text.rindex("`````", 0, text.rindex("`````"))]
    assert "<script" not in outside
    assert len([line for line in outside.splitlines() if line.startswith("#")]) == 2
    document = html(page)
    assert "<script" not in document
    assert "alert(1)" in document


def test_a_purpose_cannot_become_markup_on_the_public_page_or_in_the_log():
    declared = Declared()
    log = Log(entries=(query(NOW, purpose=EVIL, project=EVIL, statement=EVIL),))
    shown = facts(log=log, declared=declared)
    assert "<script" not in html(register.page(register.register(shown, code=True)))
    assert "\n# head" not in markdown(decisions.page(decisions.decision_log(shown))).split("```")[0]


def test_the_picture_holds_no_script_and_escapes_names():
    drawn = flow.flow_svg(facts(pod='<script>"'))
    assert "<script" not in drawn
    assert drawn.count("<svg") == drawn.count("</svg>") == 1
