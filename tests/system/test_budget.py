"""A whole federation under differential privacy: scenario A11, replay, restart, restored ledgers."""

import shutil
from contextlib import contextmanager

import duckdb
import pytest

import podsql
from podsql.cli.sql import with_bars
from podsql.errors import Error
from podsql.policy.audit import lines as lines_of
from podsql.policy.ledger.store import Ledger

POLICY = """
version = 1
name = "census"
people = "*"
purposes = ["study", "other"]
release = "dp"
[dp]
epsilon_per_query = 1.0
epsilon_budget = 2.0
delta = 1e-5
[tables.person.columns]
id = {roles = ["entity_key"]}
occupation = {roles = ["dimension", "filter"], values = ["clerk", "nurse", "cook"]}
age = {roles = ["measure", "filter"], bounds = [16, 80]}
"""
A11 = "SELECT occupation, count(*) AS n, avg(age) AS age FROM person GROUP BY occupation ORDER BY 1"
ASKED = " WITH (privacy = 'dp', epsilon = 1, delta = 1e-5)"


@contextmanager
def serving(tmp_path, policy, rows):
    """Two pods of the persons that ``rows`` (a SELECT) makes, under ``policy``."""
    (tmp_path / "policy.toml").write_text(policy)
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE person AS {rows}")
        pods = {
            f"pod{n}": {"person": con.sql(f"FROM person WHERE id % 2 = {n}").to_arrow_table()}
            for n in (0, 1)
        }
    with podsql.local(
        pods,
        local_keys={"person": ["id"]},
        privacy_unit={"person": "id"},
        policy=tmp_path / "policy.toml",
        isolation="thread",
        analysts=("ana", "bob"),
    ) as found:
        yield found


@pytest.fixture
def federation(tmp_path):
    rows = (
        "SELECT i AS id, ['clerk', 'nurse', 'cook'][1 + i % 3] AS occupation,"
        " (20 + i % 50)::INTEGER AS age FROM range(6000) r(i)"
    )
    with serving(tmp_path, POLICY, rows) as found:
        yield found


def test_a11_a_noisy_answer_its_bars_its_spend_and_the_end_of_the_budget(federation):
    con = federation.connect("ana", purpose="study")
    cursor = con.execute(A11 + ASKED)
    rows = cursor.fetchall()
    assert cursor.release == "noised"
    assert [row[0] for row in rows] == ["clerk", "cook", "nurse"]
    for (_, n, age), width, years in zip(
        rows, cursor.error_bars["n"], cursor.error_bars["age"], strict=True
    ):
        assert abs(n - 2000) < 5 * width
        assert abs(age - 44.5) < 5 * years
    shown = with_bars(con.execute(A11 + ASKED)).read_all()
    assert shown.column_names == ["occupation", "n", "± n", "age", "± age"]
    # The same statement again, also by another analyst of the purpose: the same answer, for nothing.
    charges = [len(pod._releasing._ledger.charges()) for pod in federation.pods.values()]
    assert charges == [1, 1]
    bob = federation.connect("bob", purpose="study")
    assert con.execute(A11 + ASKED).fetchall() == rows
    assert bob.execute(A11 + ASKED).fetchall() == rows
    assert [len(pod._releasing._ledger.charges()) for pod in federation.pods.values()] == charges
    used_up = [f"SELECT count(*) FROM person WHERE age > {age}" + ASKED for age in range(20, 30)]
    with pytest.raises(Error) as caught:
        [con.execute(one) for one in used_up]
    assert caught.value.code == "BUDGET"
    # What was answered before is still answered; another purpose has a budget of its own.
    assert con.execute(A11 + ASKED).fetchall() == rows
    bob.purpose = "other"
    assert bob.execute(A11 + ASKED).fetchall() != rows


def test_fresh_noise_is_charged(federation):
    con = federation.connect("ana", purpose="study")
    small = "SELECT count(*) FROM person WITH (privacy = 'dp', epsilon = 0.1, fresh = true)"
    answers = {con.execute(small).fetchall()[0][0] for _ in range(6)}
    assert len(answers) > 1
    assert all(len(pod._releasing._ledger.charges()) == 6 for pod in federation.pods.values())


def test_the_budget_outlives_the_pod_and_a_restored_ledger_stops_it(federation):
    con = federation.connect("ana", purpose="study")
    con.execute(A11 + ASKED)
    pod = federation.pods["pod0"]
    path, witness = pod.place / "ledger.sqlite", pod.place.witness(pod.config)
    backup = path.with_name("yesterday")
    pod._releasing._ledger._db.execute(f"VACUUM INTO '{backup}'")
    before = pod._releasing._ledger.scopes()
    con.execute("SELECT count(*) FROM person WHERE age > 30 WITH (privacy = 'dp', epsilon = 0.2)")
    pod.stop()
    kept = Ledger(path, witness=witness)
    assert len(kept.charges()) == 2
    assert kept.scopes() != before
    kept.close()
    for file in path.parent.glob("ledger.sqlite*"):
        file.unlink()
    shutil.copy(backup, path)
    with pytest.raises(Error, match="older than its witness"):
        Ledger(path, witness=witness)


def test_explain_policy_tells_price_and_rest_and_takes_nothing(federation):
    con = federation.connect("ana", purpose="study")
    rows = con.execute(f"EXPLAIN POLICY {A11}{ASKED}").fetch_arrow_table().to_pylist()
    assert [row["pod"] for row in rows] == ["pod0", "pod1"]
    for row in rows:
        assert (row["decision"], row["rule"], row["answer"]) == ("allow", None, "noised")
        assert 0.9 < row["epsilon"] <= 1.0
        assert row["epsilon_left"] == 2.0
        assert row["fits"] >= 2  # sums of Gaussian costs grow slower than their epsilons
        assert len(row["noise"]) == 3  # count(*), count(age), sum(age)
    pods = federation.pods.values()
    assert [pod._releasing._ledger.charges() for pod in pods] == [[], []]
    assert [pod.desk.answered for pod in pods] == [0, 0]
    answer = con.execute(A11 + ASKED)
    said = rows[0]["noise"]
    assert answer.error_bars["n"][0] == pytest.approx(1.96 * (2 * said[0] ** 2) ** 0.5, rel=1e-3)
    (again, _) = con.execute(f"EXPLAIN POLICY {A11}{ASKED}").fetch_arrow_table().to_pylist()
    assert again["epsilon"] == 0.0  # it was paid for
    assert again["epsilon_left"] == pytest.approx(2.0 - rows[0]["epsilon"], abs=1e-6)
    denied = con.execute("EXPLAIN POLICY SELECT count(*) FROM person WHERE id = 7" + ASKED)
    assert {(row[2], row[3]) for row in denied.fetchall()} == {("deny", "FILTER_KEY_LITERAL")}
    lines = [e.entry for e in lines_of(next(iter(pods)).place / "audit.jsonl")]
    assert [(e.decision, e.reason) for e in lines if e.event == "explain"] == [
        ("allow", ""),
        ("allow", ""),
        ("deny", "FILTER_KEY_LITERAL"),
    ]


def test_a_group_that_a_pod_may_have_dropped_goes_whole(tmp_path):
    """Undeclared groups: one that is large at one pod and small at the other is not half an answer."""
    policy = POLICY.replace(', values = ["clerk", "nurse", "cook"]', "")
    rows = (
        "SELECT i AS id, CASE WHEN i % 2 = 0 AND i < 4000 THEN 'nurse'"
        " WHEN i < 3 THEN 'nurse' ELSE 'clerk' END AS occupation, 30 AS age FROM range(8000) r(i)"
    )
    with serving(tmp_path, policy, rows) as found:
        cursor = found.connect(purpose="study").execute(
            "SELECT occupation, count(*) FROM person GROUP BY occupation ORDER BY 2 LIMIT 5"
        )
        assert [row[0] for row in cursor.fetchall()] == ["clerk"]
        assert cursor.withheld == 1
