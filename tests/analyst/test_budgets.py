"""``SHOW BUDGET``: what the pods say is left, to whom, and that looking spends nothing."""

import pyarrow as pa
import pytest

import podsql
from podsql.errors import error
from podsql.messages import BudgetReply, BudgetRequest, Failed, decode, encode

TABLE = pa.table({"id": list(range(300)), "g": ["a", "b", "c"] * 100, "x": [1.0, 2.0, 3.0] * 100})
DP = """
version = 1
name = "census"
people = "*"
purposes = ["study", "other"]
release = "dp"
[dp]
epsilon_per_query = 1.0
epsilon_budget = 2.0
epsilon_total = 9.0
period = "year"
delta = 1e-5
[limits]
queries_per_day = 50
[tables.t.columns]
id = {roles = ["entity_key"]}
g = {roles = ["dimension", "filter"], values = ["a", "b", "c"]}
x = {roles = ["measure", "filter"], bounds = [0, 5]}
"""
CAPPED = """
version = 1
name = "capped"
people = {ana = "*"}
projects = ["p1", "p2"]
allow = ["select", "intersect"]
[output]
min_units = 5
[output.caps]
per_day = 100
total = 1000
[tables.t.columns]
"*" = {}
"""


def serving(policy, **more):
    return podsql.local(
        {"north": {"t": TABLE}, "south": {"t": TABLE}},
        local_keys={"t": ["id"]},
        privacy_unit={"t": "id"},
        policy=policy,
        isolation="thread",
        analysts=("ana", "bob"),
        **more,
    )


def shown(con):
    found = con.execute("SHOW BUDGET").fetch_arrow_table().to_pylist()
    return {(row["pod"], row["what"], row["per"], row["period"]): row for row in found}


def test_epsilon_is_told_per_budget_and_looking_spends_none(tmp_path):
    (tmp_path / "policy.toml").write_text(DP)
    with serving(tmp_path / "policy.toml") as federation:
        ana = federation.connect("ana", purpose="study")
        before = shown(ana)
        assert shown(ana) == before
        own, everybody, statements = (
            ("north", "epsilon", "analyst, purpose", "year"),
            ("north", "epsilon", "everybody", "year"),
            ("north", "statements", "analyst", "day"),
        )
        assert list(before) == [
            key for pod in ("north", "south") for key in ((pod, *own[1:]), (pod, *everybody[1:]), (pod, *statements[1:]))
        ]  # fmt: skip
        assert (before[own]["total"], before[own]["spent"], before[own]["left"]) == (2.0, 0.0, 2.0)
        assert (before[own]["delta"], before[own]["policy"]) == (1e-5, "census")
        ana.execute(
            "SELECT g, count(*) FROM t GROUP BY g WITH (privacy = 'dp', epsilon = 0.5, delta = 1e-6)"
        ).fetchall()
        after = shown(ana)
        spent = after[own]["spent"]
        assert 0 < spent < 1
        assert after[own]["left"] == pytest.approx(2.0 - spent)
        assert after[everybody]["spent"] == spent
        assert (after[statements]["spent"], after[statements]["left"]) == (1.0, 49.0)
        # Another purpose, and another analyst, have budgets of their own; the total is shared.
        for other in (
            federation.connect("ana", purpose="other"),
            federation.connect("bob", purpose="study"),
        ):
            theirs = shown(other)
            assert theirs[own]["spent"] == 0.0
            assert theirs[everybody]["spent"] == spent
        assert shown(federation.connect("bob", purpose="study"))[statements]["spent"] == 0.0


def test_figures_and_keys_are_told_and_only_to_whom_something_is_offered(tmp_path):
    (tmp_path / "policy.toml").write_text(CAPPED.replace('{ana = "*"}', '"*"'))
    with serving(tmp_path / "policy.toml") as federation:
        ana = federation.connect("ana", project="p1")
        ana.execute("SELECT g, count(*) FROM t GROUP BY g").fetchall()
        found = shown(ana)
        today = found["north", "figures", "project", "day"]
        assert (today["total"], today["spent"], today["left"]) == (100.0, 3.0, 97.0)
        assert found["north", "figures", "project", "ever"]["left"] == 997.0
        assert found["north", "keys", "project", "day"]["left"] == 20_000.0
        assert shown(federation.connect("ana", project="p2"))[
            "north", "figures", "project", "day"
        ]["spent"] == 0.0  # fmt: skip
        nothing = shown(federation.connect("ana", project="p3"))
        assert [key[:2] for key in nothing] == [
            ("north", "nothing offered"),
            ("south", "nothing offered"),
        ]


def test_a_pod_without_limits_says_so():
    with serving("standard") as federation, federation.connect() as con:
        assert list(shown(con)) == [
            (pod, "no limit", None, None) for pod in ("north", "south")
        ]  # fmt: skip


def test_who_holds_no_offer_is_told_nothing():
    with serving("open") as federation, federation.connect() as con:
        ask = encode(BudgetRequest(purpose="", project="", offer="made up"))
        for card in con.federation.pods():
            reply = decode(con.federation.endpoint.call_wait(card, ask, timeout=10))
            assert isinstance(reply, Failed)
            assert reply.code == "STALE_OFFER"
        with pytest.raises(podsql.Error) as caught:
            con.execute("SHOW BUDGET WITH (epsilon = 1)")
        assert caught.value.code == "OPTION"


@pytest.mark.parametrize(
    "sql",
    [
        "GRANT SELECT ON t TO bob",
        "REVOKE SELECT ON t FROM bob",
        "REQUEST ACCESS ON t",
        "WITHDRAW REQUEST 1",
        "SHOW REQUESTS",
        "SHOW GRANTS FOR ME",
    ],
)
def test_a_federation_without_a_policy_service_says_who_decides_there(federation, sql):
    with federation.connect() as con, pytest.raises(podsql.NotSupportedError) as caught:
        con.execute(sql)
    assert caught.value.code == "NOT_SUPPORTED"
    assert "policy file" in caught.value.hint


@pytest.fixture(scope="module")
def federation():
    with serving("open") as made:
        yield made


def test_a_reply_is_no_message_that_a_pod_serves():
    with serving("open") as federation, federation.connect() as con:
        body = encode(BudgetReply(policy="", allowances=()))
        (card, *_) = con.federation.pods()
        assert decode(con.federation.endpoint.call_wait(card, body, timeout=10)) == Failed(
            code="BAD_MESSAGE", message=error("BAD_MESSAGE", "a pod takes no such message").message
        )
