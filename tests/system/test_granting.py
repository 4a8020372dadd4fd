"""Rights in SQL, between real processes (A19): what is granted holds with the next statement, without
a restart, and what is revoked is refused with the next; the record of the service shows both."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.messages import Failed, decode, encode
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.service_messages import Order, OrderReply, OrderRequest

COUNT = "SELECT count(*) FROM visits"


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("granting")
    pods = {}
    for number, name in enumerate(("north", "south")):
        ids = list(range(100 * number, 100 * number + 100))
        pq.write_table(pa.table({"id": ids, "age": ids}), home / f"{name}.parquet")
        table = {"path": str(home / f"{name}.parquet"), "privacy_unit": "id"}
        pods[name] = {"main.visits": table}
    made = Stage(
        home=home, pods=pods, analysts=("ana", "ben", "cara", "dan"), granted=(), preset="open"
    )
    try:
        made.build()
        policy(made, "officer", "ben", "--role", "approver", "--key", "ben")
        yield made
    finally:
        made.close()


def policy(stage: Stage, *arguments: str):
    """``podsql policy …`` on the service's own machine."""
    done = subprocess.run(
        [
            sys.executable, "-m", "podsql", "policy", *arguments,
            "--federation", str(stage.access), "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def rows(con, sql: str) -> list[dict[str, object]]:
    return con.execute(sql).fetch_arrow_table().to_pylist()


def refused(con, sql: str) -> podsql.Error:
    with pytest.raises(podsql.Error) as caught:
        con.execute(sql).fetchall()
    return caught.value


@pytest.fixture
def ana(stage) -> Iterator[podsql.Connection]:
    with connect(stage.membership("ana"), timeout=20) as made:
        yield made


@pytest.fixture
def ben(stage) -> Iterator[podsql.Connection]:
    with connect(stage.membership("ben"), timeout=20) as made:
        yield made


def test_a19_grant_and_revoke_hold_from_the_next_statement_on(stage, ana, ben):
    assert refused(ana, COUNT).code == "UNKNOWN_TABLE"
    assert {row["what"] for row in rows(ana, "SHOW BUDGET")} == {"nothing offered"}
    (given,) = rows(ben, "GRANT SELECT ON visits TO ana WITH (release = 'rows')")
    assert (given["service"], given["what"], given["state"]) == ("access", "grant", "in force")
    assert ana.execute(COUNT).fetchall() == [(200,)]
    mine, *_ = rows(ana, "SHOW GRANTS FOR ME")  # newest first
    assert (mine["id"], mine["analyst"], mine["tables"]) == (given["id"], "ana", "main.visits")
    assert {row["pod"] for row in rows(ana, "SHOW GRANTS")} == {"north", "south"}
    assert [(row["pod"], row["what"]) for row in rows(ana, "SHOW BUDGET")] == [
        ("north", "no limit"),
        ("south", "no limit"),
    ]

    ended = {row["id"]: row["state"] for row in rows(ben, "REVOKE SELECT ON visits FROM ana")}
    assert ended[given["id"]] == "revoked"
    assert set(ended.values()) == {"revoked"}
    assert refused(ana, COUNT).code in ("DENIED", "UNKNOWN_TABLE")
    assert rows(ana, "SHOW GRANTS") == []
    assert rows(ana, "SHOW GRANTS FOR ME")[0]["state"] == "revoked"

    history = policy(stage, "history")
    acts = [(one["actor"], one["act"], one["object"]) for one in history]
    revoked, granted = (acts.index(("ben", act, given["id"])) for act in ("revoke", "grant"))
    assert revoked < granted  # newest first


def test_a_request_becomes_a_grant_when_a_custodian_approves_it(stage):
    with connect(stage.membership("dan"), purpose="cohort", timeout=20) as dan:
        (asked,) = rows(
            dan,
            "REQUEST ACCESS ON visits WITH (project = 'p1', until = '2999-12-31',"
            " release = 'rows', reason = 'study 7')",
        )
        (seen,) = policy(stage, "requests")
        assert (str(seen["request"]), seen["purpose"], seen["reason"]) == (
            asked["id"],
            "cohort",
            "study 7",
        )
        assert refused(dan, COUNT).code == "UNKNOWN_TABLE"
        policy(stage, "approve", asked["id"])
        assert [row["state"] for row in rows(dan, "SHOW REQUESTS")] == ["approved"]
        (grant,) = rows(dan, "SHOW GRANTS FOR ME")
        assert str(grant["until"]) == "3000-01-01 00:00:00+00:00"
        assert refused(dan, COUNT).code == "UNKNOWN_TABLE"  # for another project
    with connect(stage.membership("dan"), purpose="cohort", project="p1", timeout=20) as dan:
        assert dan.execute(COUNT).fetchall() == [(200,)]
        policy(stage, "off-board", "dan")
        assert refused(dan, COUNT).code in ("DENIED", "UNKNOWN_TABLE")


def test_who_is_no_officer_changes_nothing(stage, ana):
    before = policy(stage, "history")
    for order in (
        "GRANT SELECT ON visits TO ana",
        "REVOKE SELECT ON visits FROM ben",
        "REVOKE GRANT '0123456789ab'",
        "SHOW GRANTS FOR EVERYBODY",
        "SHOW REQUESTS FOR EVERYBODY",
    ):
        fault = refused(ana, order)
        assert (fault.code, isinstance(fault, podsql.PolicyError)) == ("DENIED", True)
    assert policy(stage, "history") == before


def test_a_request_is_withdrawn_by_who_asked_and_by_nobody_else(stage, ana, ben):
    (asked,) = rows(ana, "REQUEST ACCESS ON visits, main.labs")
    assert refused(ben, f"WITHDRAW REQUEST {asked['id']}").code == "ARGUMENT"
    (gone,) = rows(ana, f"WITHDRAW REQUEST {asked['id']}")
    assert (gone["what"], gone["state"]) == ("request", "withdrawn")
    assert refused(ana, f"WITHDRAW REQUEST {asked['id']}").code == "CONFLICT"
    (shown,) = [row for row in rows(ben, "SHOW REQUESTS FOR EVERYBODY") if row["analyst"] == "ana"]
    assert (shown["tables"], shown["state"]) == ("main.visits, main.labs", "withdrawn")


@pytest.mark.parametrize(
    ("sql", "code", "hint"),
    [
        ("GRANT SELECT ON visits TO anna", "UNKNOWN_PEER", "'ana'"),
        ("GRANT SELECT ON visits TO ben", "DENIED", ""),
        ("GRANT SELECT ON visits TO ana WITH (pod = 'nroth')", "UNKNOWN_PEER", "'north'"),
        ("GRANT SELECT ON visits TO ana WITH (service = 'acess')", "UNKNOWN_PEER", "'access'"),
        ("GRANT SELECT ON visits TO ana WITH (until = '2001-01-01')", "OPTION", ""),
        ("REVOKE GRANT 'nonsense'", "ARGUMENT", ""),
        ("REVOKE SELECT ON labs FROM ana", "ARGUMENT", "SHOW GRANTS"),
        ("WITHDRAW REQUEST 999", "ARGUMENT", ""),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(ben, sql, code, hint):
    fault = refused(ben, sql)
    assert fault.code == code
    assert hint in fault.hint


def test_what_is_not_an_order_has_no_plan_and_takes_no_parameters(ben):
    assert refused(ben, "EXPLAIN GRANT SELECT ON visits TO ana").code == "STATEMENT"
    assert refused(ben, "EXPLAIN POLICY REVOKE GRANT 'x'").code == "STATEMENT"
    with pytest.raises(podsql.NotSupportedError):
        ben.explain("REQUEST ACCESS ON visits")
    with pytest.raises(podsql.ProgrammingError) as caught:
        ben.execute("GRANT SELECT ON visits TO ana", ["x"])
    assert caught.value.code == "PARAMETERS"


def test_an_order_that_is_cancelled_before_it_leaves_is_not_given(stage, ben):
    before = policy(stage, "history")
    cursor = ben.cursor()
    cursor.cancel()
    with pytest.raises(podsql.Error) as caught:
        cursor.execute("GRANT SELECT ON visits TO cara")
    assert caught.value.code == "CANCELLED"
    assert policy(stage, "history") == before


def test_the_command_line_gives_orders_too(stage):
    done = subprocess.run(
        [
            sys.executable, "-m", "podsql", "sql", "--federation", str(stage.membership("ben")),
            "--json", "GRANT SELECT ON visits TO cara; REVOKE SELECT ON visits FROM cara",
        ],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    given, ended = (json.loads(line)[0] for line in done.stdout.splitlines())
    assert (given["id"], given["state"], ended["state"]) == (ended["id"], "in force", "revoked")
    assert done.stderr.splitlines() == ["1 rows", "1 rows"]


def test_two_people_are_needed_where_the_service_says_so(stage, ben):
    policy(stage, "setting", "two_person", "on")
    try:
        (waits,) = rows(ben, "GRANT SELECT ON visits TO cara WITH (reason = 'study 9')")
        assert (waits["what"], waits["state"]) == ("request", "approved once")
        with connect(stage.membership("cara"), timeout=20) as cara:
            assert refused(cara, COUNT).code == "UNKNOWN_TABLE"
        done = policy(stage, "approve", waits["id"])
        assert done["grant"]
        (ended,) = rows(ben, f"REVOKE GRANT '{done['grant']}'")
        assert ended["state"] == "revoked"
    finally:
        policy(stage, "setting", "two_person", "off")


def forged(con: podsql.Connection, to, keys: PeerKeys | None = None, **more) -> Order:
    """An order as its author's own side makes it, but for ``more``."""
    own = con.federation.membership.keys if keys is None else keys
    base = {
        "id": os.urandom(16),
        "service": to.identity,
        "actor": own.identity_public,
        "created": time.time_ns() // 1_000_000,
        "act": "grant",
        "analyst": "ana",
        "tables": ("visits",),
    }
    return Order(**{**base, **more})


def sent(con: podsql.Connection, service, order: Order, keys: PeerKeys) -> object:
    body = encode(OrderRequest(order=sign("order", encode(order), keys.identity)))
    return decode(con.federation.endpoint.call_wait(service, body, timeout=10))


def test_forged_borrowed_late_and_repeated_orders_change_nothing(stage, ana, ben):
    manifest = ana.federation.membership.store.current
    (service,) = (card for card in manifest.members() if card.role == "service")
    own, officer = ana.federation.membership.keys, ben.federation.membership.keys
    given = forged(ben, service)
    assert isinstance(sent(ben, service, given, officer), OrderReply)
    before = policy(stage, "history")
    late = given.created - 120_000
    for con, order, keys, code in (
        (ben, given, officer, "REPLAY"),
        (ana, given, officer, "SIGNATURE"),  # the officer's order in another's session
        (ana, forged(ben, service), own, "SIGNATURE"),  # in the officer's name
        (ana, forged(ana, service), own, "DENIED"),
        (ana, forged(ana, service, PeerKeys.generate()), own, "SIGNATURE"),
        (ben, forged(ben, service, service=own.identity_public), officer, "SIGNATURE"),
        (ben, forged(ben, service, created=late), officer, "CLOCK"),
    ):
        reply = sent(con, service, order, keys)
        assert isinstance(reply, Failed)
        assert reply.code == code
    assert policy(stage, "history") == before
    rows(ben, "REVOKE SELECT ON visits FROM ana")


def test_a_restore_gives_back_nothing_and_the_service_goes_on(stage, ben, tmp_path):
    (kept,) = rows(ben, "GRANT SELECT ON visits TO ana WITH (release = 'rows', purpose = 'a')")
    (gone,) = rows(ben, "GRANT SELECT ON visits TO ana WITH (release = 'rows', purpose = 'b')")
    backup = tmp_path / "backup.sqlite"
    policy(stage, "backup", str(backup))
    rows(ben, f"REVOKE GRANT '{gone['id']}'")
    ran = subprocess.run(
        [sys.executable, "-m", "podsql", "policy", "restore", str(backup),
         "--federation", str(stage.access)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.stderr.startswith("CONFLICT")
    (process,) = (one for one in stage._processes if "policy" in one.args and one.poll() is None)
    process.terminate()
    process.wait(20)
    done = policy(stage, "restore", str(backup))
    assert done["ended"] == 0
    stage.serve_policy()
    with connect(stage.membership("ana"), purpose="a", timeout=30) as con:
        assert con.execute(COUNT).fetchall() == [(200,)]
    with connect(stage.membership("ana"), purpose="b", timeout=30) as con:
        assert refused(con, COUNT).code in ("DENIED", "UNKNOWN_TABLE")
        states = {row["id"]: row["state"] for row in rows(con, "SHOW GRANTS FOR ME")}
    assert policy(stage, "history", "--verify")["epoch"] == done["epoch"]
    assert (states[kept["id"]], states[gone["id"]]) == ("in force", "revoked")
