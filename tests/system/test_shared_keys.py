"""Persons that several pods know are counted once, by pods that show each other no key."""

import threading
from contextlib import contextmanager
from functools import partial

import duckdb
import pyarrow as pa
import pytest

import podsql
from podsql.engine.psi import points, ring
from podsql.engine.psi.handing import Sender
from podsql.engine.psi.points import POINT_BYTES
from podsql.errors import Error
from podsql.messages import PsiClaim, PsiFetch, decode, encode
from podsql.pod import one_count
from podsql.policy.audit import lines as lines_of
from podsql.relay.signing import sign

POLICY = """
version = 1
name = "shared"
people = "*"
[joins]
kinds = ["co_located", "reference", "psi_count"]
[output]
min_units = {least}
{more}
[tables.visit.columns]
person = {{roles = ["entity_key", "join_key"]}}
name = {{roles = ["join_key"]}}
age = {{roles = ["measure", "filter"]}}
[tables.contact.columns]
name = {{roles = ["entity_key", "join_key"]}}
age = {{roles = ["filter"]}}
[tables.birth.columns]
day = {{roles = ["entity_key", "join_key"]}}
"""


def visits(persons, *, kind="BIGINT", twice=True):
    """Visits of numbered persons: the person is the privacy unit."""
    rows = f"SELECT unnest({list(persons)})::{kind} AS person"
    with duckdb.connect() as con:
        return con.sql(
            f"SELECT person, 'Zo\u00eb ' || person AS name, person % 90 AS age"
            f" FROM ({rows}), range({1 + twice})"
        ).to_arrow_table()


def contacts(persons):
    with duckdb.connect() as con:
        return con.sql(
            f"SELECT 'Zo\u00eb ' || n AS name, n % 90 AS age FROM (SELECT unnest({list(persons)}) AS n)"
        ).to_arrow_table()


def births(persons):
    with duckdb.connect() as con:
        return con.sql(
            f"SELECT DATE '2000-01-01' + unnest({list(persons)})::INTEGER AS day"
        ).to_arrow_table()


PERSONS = {"north": range(0, 100), "south": range(50, 200), "west": range(150, 260)}
PODS = {
    pod: {
        "visit": visits(found, kind="INTEGER" if pod == "north" else "BIGINT", twice=pod != "west"),
        "contact": contacts(found),
        "birth": births(found),
    }
    for pod, found in PERSONS.items()
}


@contextmanager
def serving(tmp_path, *, least=10, more="", pods=PODS, kinds=None):
    text = POLICY.format(least=least, more=more)
    if kinds is not None:
        text = text.replace('["co_located", "reference", "psi_count"]', kinds)
    (tmp_path / "policy.toml").write_text(text)
    with podsql.local(
        pods, privacy_unit={"visit": "person"}, policy=tmp_path / "policy.toml", isolation="thread"
    ) as found:
        yield found


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("shared")) as found:
        yield found


@pytest.fixture(scope="module")
def pooled():
    with duckdb.connect() as con:
        for name in ("visit", "contact", "birth"):
            for pod, tables in PODS.items():
                con.register(f"{pod}_{name}", tables[name])
            parts = " UNION ALL ".join(f"FROM {pod}_{name}" for pod in PODS)
            con.execute(f"CREATE TABLE {name} AS {parts}")
        yield con


def refusal(con, sql):
    with pytest.raises(Error) as caught:
        con.execute(sql)
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(DISTINCT person) AS n FROM visit",
        "SELECT count(DISTINCT person) FROM visit WHERE age < 30",
        "SELECT count(DISTINCT name) AS n, count(DISTINCT name) / 2 AS half FROM contact",
        "SELECT count(DISTINCT day) FROM birth HAVING count(DISTINCT day) > 1",
    ],
)
def test_shared_persons_are_counted_once(sql, federation, pooled):
    cursor = federation.connect().execute(sql)
    assert cursor.fetchall() == pooled.execute(sql).fetchall()
    assert cursor.release == "exact"
    assert cursor.pods == ("north", "south", "west")
    # The number leaves one pod, and no row another.
    assert sorted(receipt.rows for receipt in cursor.receipt) == [0, 0, 1]


def test_persons_of_two_named_pods(federation):
    con = federation.connect()
    join = "FROM north.main.visit a JOIN south.main.visit b"
    assert con.execute(f"SELECT count(DISTINCT a.person) {join} USING (person)").fetchall() == [
        (50,)
    ]
    names = "FROM north.main.contact a JOIN south.main.contact b ON a.name = b.name"
    found = con.execute(f"SELECT count(DISTINCT b.name) {names} WHERE a.age < 80").fetchall()
    assert found == [(40,)]
    assert "north" in con.explain(f"SELECT count(DISTINCT a.person) {join} USING (person)")
    for wanted in ("count(*)", "sum(a.age)", "count(DISTINCT a.person) + count(*)"):
        fault = refusal(con, f"SELECT {wanted} {join} ON a.person = b.person")
        assert (fault.code, "count(DISTINCT" in fault.hint) == ("NOT_LOCAL", True)
    fault = refusal(
        con, f"SELECT count(DISTINCT a.person) {join} ON a.person = b.person AND a.age = b.age"
    )
    assert fault.code == "NOT_LOCAL"


def test_the_audit_says_what_met_and_no_key(federation):
    federation.connect().execute(
        "SELECT count(DISTINCT person) FROM visit WHERE age < 85"
    ).fetchall()
    for name, pod in federation.pods.items():
        entry = [line.entry for line in lines_of(pod.place / "audit.jsonl")][-1]
        own = {"north": 95, "south": 140, "west": 105}
        assert (entry.decision, entry.brought) == ("allow", own[name])
        # Each multiplies the keys of both others; the last pod's own come back to it.
        assert entry.met == sum(own.values()) - own[name]


@pytest.mark.parametrize("kinds", ['["co_located", "reference"]', "[]"])
def test_without_the_grant_nothing_is_counted_across_pods(kinds, tmp_path):
    with serving(tmp_path, kinds=kinds) as federation:
        con = federation.connect()
        fault = refusal(con, "SELECT count(DISTINCT person) FROM visit")
        assert (fault.code, "psi_count" in fault.hint) == ("NOT_EXACT", True)
        # A join of two named pods has no pod to run in either.
        fault = refusal(
            con,
            "SELECT count(DISTINCT a.person) FROM north.main.visit a, south.main.visit b WHERE a.person = b.person",
        )
        assert fault.code == "NOT_LOCAL"


def test_a_small_group_at_any_pod_withholds_the_count(federation):
    con = federation.connect()
    # Five persons in the north are of ages below 5, ten or more in the south.
    fault = refusal(con, "SELECT count(DISTINCT person) FROM visit WHERE age < 5")
    assert fault.code == "WITHHELD"
    assert fault.pod is None


def test_a_small_overlap_is_withheld(tmp_path):
    pods = {"north": {"visit": visits(range(0, 60))}, "south": {"visit": visits(range(55, 120))}}
    with serving(tmp_path, pods=pods) as federation:
        con = federation.connect()
        join = "FROM north.main.visit a JOIN south.main.visit b ON a.person = b.person"
        assert refusal(con, f"SELECT count(DISTINCT a.person) {join}").code == "WITHHELD"
        # With the counts of either pod, the count of all would tell it.
        assert refusal(con, "SELECT count(DISTINCT person) FROM visit").code == "WITHHELD"
        reasons = {
            line.entry.reason
            for pod in federation.pods.values()
            for line in lines_of(pod.place / "audit.jsonl")
        }
        assert "FEW_KEYS" in reasons


def test_counts_are_rounded_and_counted_as_figures(tmp_path):
    more = "round_base = 10\ncaps = {per_day = 2, total = 2}\n"
    with serving(tmp_path, more=more) as federation:
        con = federation.connect()
        cursor = con.execute("SELECT count(DISTINCT person) FROM visit WHERE age <> 7")
        # 257 persons, to the next ten.
        assert (cursor.fetchall(), cursor.release) == ([(260,)], "rounded")
        con.execute("SELECT count(DISTINCT person) FROM visit").fetchall()
        assert refusal(con, "SELECT count(DISTINCT person) FROM visit").code == "QUOTA"


def test_two_counts_may_not_differ_by_few_persons_of_a_pod(tmp_path):
    with serving(tmp_path, more="overlap_guard = 10\n") as federation:
        con = federation.connect()
        con.execute("SELECT count(DISTINCT person) FROM visit").fetchall()
        fault = refusal(con, "SELECT count(DISTINCT person) FROM visit WHERE age <> 7")
        assert fault.code == "WITHHELD"


def test_what_is_counted_across_pods_is_the_privacy_unit(federation):
    # Ten names that meet might be one person's.
    con = federation.connect()
    assert refusal(con, "SELECT count(DISTINCT name) FROM visit").code == "DENIED"
    (north, *_) = con.execute("EXPLAIN POLICY SELECT count(DISTINCT name) FROM visit").fetchall()
    assert "ENTITY_COUNT" in north


def test_text_that_one_database_would_tell_apart_is_not_counted_as_one(tmp_path):
    pods = {
        pod: {"contact": pa.table({"name": [f"{name} {n}" for n in range(20)], "age": range(20)})}
        for pod, name in (("north", "Zoe\u0308"), ("south", "Zo\u00eb"))
    }
    with serving(tmp_path, pods=pods) as found:
        con = found.connect()
        assert refusal(con, "SELECT count(DISTINCT name) FROM contact").code == "WITHHELD"
        reasons = [
            line.entry.reason for line in lines_of(found.pods["north"].place / "audit.jsonl")
        ]
        assert "NOT_EXACT" in reasons


CHEATS = {
    "no point": ("hide", points.hide, lambda found: bytes([1]) + bytes(31) + found[POINT_BYTES:]),
    "a point of small order": ("hide", points.hide, lambda found: bytes(32) + found[POINT_BYTES:]),
    "a key left out on the way": ("in_order", ring.in_order, lambda found: found[POINT_BYTES:]),
}


@pytest.mark.parametrize(("name", "honest", "cheat"), CHEATS.values(), ids=CHEATS.keys())
def test_a_cheating_peer_ends_the_statement(name, honest, cheat, federation, monkeypatch):
    monkeypatch.setattr(one_count, name, lambda *given: cheat(honest(*given)))
    con = federation.connect()
    fault = refusal(con, "SELECT count(DISTINCT person) FROM visit")
    assert fault.code == "BAD_MESSAGE"
    monkeypatch.undo()
    assert con.execute("SELECT count(DISTINCT person) FROM visit").fetchall() == [(260,)]


def test_a_count_that_takes_too_long_ends_at_its_deadline(federation, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(
        one_count, "in_order", lambda parts: go_on.wait(60) and ring.in_order(parts)
    )
    con = federation.connect()
    with pytest.raises(Error) as caught:
        con.execute("SELECT count(DISTINCT person) FROM visit", timeout=1.5)
    assert caught.value.code == "TIMEOUT"
    go_on.set()
    monkeypatch.undo()
    assert con.execute("SELECT count(DISTINCT person) FROM visit").fetchall() == [(260,)]


def test_a_pod_that_takes_no_statements_ends_the_count_at_once(federation):
    con = federation.connect()
    federation.pods["south"].pause(True)
    try:
        fault = refusal(con, "SELECT count(DISTINCT person) FROM visit")
    finally:
        federation.pods["south"].pause(False)
    assert (fault.code, fault.pod) == ("PAUSED", "south")


def test_an_analyst_cannot_hand_on_keys_in_the_name_of_a_pod(federation):
    session = federation.connect().federation
    keys = session.membership.keys
    north, south, _ = session.pods()
    claim = PsiClaim(bytes(32), south.name, 1, 0, True, 1, False)
    sender = Sender(seed=keys.identity, session=bytes(32), to=north.identity)
    forged = partial(
        sender.hand, sign("psi-claim", encode(claim), keys.identity), south.name, 0, bytes(32)
    )
    reply = decode(session.endpoint.call_wait(north, forged, timeout=5))
    assert reply.code == "SIGNATURE"
    reply = decode(session.endpoint.call_wait(north, encode(PsiFetch(bytes(32), 0)), timeout=5))
    assert reply.code == "EXPIRED_RESULT"
