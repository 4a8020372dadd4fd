"""Results that a second person must release: held at the pod, out as they were held, or never."""

import json
import os
import stat
import threading

import pyarrow as pa
import pytest
from served import ANSWER, CAROL, COUNT, Served, code_of, served, until
from typer.testing import CliRunner

from podsql.cli.app import app
from podsql.errors import Error
from podsql.membership import toml_text
from podsql.pod.control import SOCKET, Control
from podsql.pod.daemon import Pod, _command
from podsql.policy.held import read_review, require_release
from podsql.policy.service.reviews import reviews
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign
from podsql.service_messages import Review, ReviewReply, ReviewRequest

ROWS = "SELECT patient, age FROM visits ORDER BY patient"


@pytest.fixture
def federation():
    with served() as made:
        made.allow(review=True)
        yield made


def waiting(federation: Served, service: str = "access"):
    return reviews(federation.tenants[service]._store.database, state="waiting")


def release(federation: Served, ident: str, service: str = "access") -> None:
    with federation.orders(service) as orders:
        assert orders.release(CAROL, ident)


def held(federation: Served, pod: str = "north"):
    return federation.pods[pod].desk.reviewing._holds.all()


def queries(federation: Served):
    return [
        (line.entry.decision, line.entry.reason, line.entry.result_hash)
        for line in federation.events("query")
    ]


def test_a_result_is_held_until_somebody_releases_it_and_leaves_as_it_was_held(federation):
    with federation.connect() as con:
        assert code_of(con, COUNT) == "IN_REVIEW"
        (one,) = waiting(federation)
        (hold,) = held(federation)
        assert (one.id, one.result_hash, one.rows) == (hold.id, hold.result_hash, 2)
        assert (one.pod, one.tables, one.columns) == ("north", ("main.visits",), 2)
        assert code_of(con, COUNT) == "IN_REVIEW"
        assert len(waiting(federation)) == len(held(federation)) == 1
        release(federation, one.id)
        cursor = con.execute(COUNT)
        assert cursor.fetchall() == ANSWER
        assert queries(federation)[-1] == (
            "allow", "released by carol at access", hold.result_hash.hex(),
        )  # fmt: skip
        # It is the same result for as long as it is kept, and nothing runs again.
        assert con.execute(COUNT).fetchall() == ANSWER
        assert [line.entry.event for line in federation.events("held")] == ["held"]
        # Another statement, purpose or person has a result of its own.
        assert code_of(con, "SELECT count(*) FROM visits") == "IN_REVIEW"
        con.purpose = "another"
        assert code_of(con, COUNT) == "IN_REVIEW"


def test_a_refused_result_is_denied(federation):
    with federation.connect() as con:
        assert code_of(con, COUNT) == "IN_REVIEW"
        with federation.orders() as orders:
            orders.withhold(CAROL, waiting(federation)[0].id)
        for _ in range(2):
            assert code_of(con, COUNT) == "DENIED"
        assert queries(federation)[-1][:2] == ("deny", "REVIEW")


def test_files_of_a_held_result_are_sealed_private_and_survive_a_restart(federation):
    with federation.connect() as con:
        assert code_of(con, "SELECT DISTINCT sex || '-canary' AS c FROM visits") == "IN_REVIEW"
        pod = federation.pods["north"]
        folder = pod.place / "spool" / "held"
        files = list(folder.iterdir())
        assert sorted(path.suffix for path in files) == [".hold", ".sealed"]
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert b"f-canary" not in path.read_bytes()
        (folder / "torn.draft").write_bytes(b"half")
        (folder / "torn.sealed").write_bytes(b"half")
        pod.stop()
        again = Pod(pod.config, pod.place, pod.membership)
        again.start()
        try:
            assert len(list(folder.iterdir())) == 2
            release(federation, waiting(federation)[0].id)
            rows = con.execute("SELECT DISTINCT sex || '-canary' AS c FROM visits").fetchall()
            assert sorted(rows) == [("f-canary",), ("m-canary",)]
        finally:
            again.stop()


def test_a_large_result_is_held_and_streams_out_whole():
    count = 400_000
    many = {"north": pa.table({"patient": range(count), "sex": ["f", "m"] * (count // 2)})}
    with served(pods=many) as federation, federation.connect() as con:
        federation.allow(review=True)
        sql = "SELECT patient, sex FROM visits"
        assert code_of(con, sql) == "IN_REVIEW"
        (hold,) = held(federation)
        assert hold.size > 4 << 20
        release(federation, hold.id)
        cursor = con.execute(sql)
        table = cursor.fetch_arrow_table()
        assert table.num_rows == count
        assert pa.compute.sum(table["patient"]).as_py() == count * (count - 1) // 2
        assert queries(federation)[-1][2] == hold.result_hash.hex()


def test_every_service_that_asks_for_a_review_must_release():
    with served(services=("access", "board")) as federation, federation.connect() as con:
        for service in ("access", "board"):
            federation.allow(service=service, review=True)
        assert code_of(con, COUNT) == "IN_REVIEW"
        ident = waiting(federation)[0].id
        release(federation, ident, "access")
        assert code_of(con, COUNT) == "IN_REVIEW"
        release(federation, ident, "board")
        assert con.execute(COUNT).fetchall() == ANSWER
        assert queries(federation)[-1][1] == "released by carol at access, carol at board"


def test_pods_hold_their_parts_of_one_statement_at_the_same_time():
    table = pa.table({"patient": [1, 2, 3], "sex": ["f", "m", "f"], "age": [1, 2, 3]})
    other = pa.table({"patient": [4, 5, 6], "sex": ["m", "m", "f"], "age": [1, 2, 3]})
    with served(pods={"north": table, "south": other}) as federation, federation.connect() as con:
        federation.allow(review=True)
        for sql in (COUNT, ROWS):
            assert code_of(con, sql) == "IN_REVIEW"
            assert {one.pod for one in waiting(federation)} == {"north", "south"}
            for one in waiting(federation):
                release(federation, one.id)
            assert con.execute(sql).fetchall()


def test_what_a_held_result_costs_is_paid_once(tmp_path):
    from podsql.policy.document import preset_bytes

    text = preset_bytes("standard").decode()
    policy = tmp_path / "policy.toml"
    policy.write_text(text + "\n[limits]\nqueries_per_day = 3\n")
    with served(policy=policy) as federation, federation.connect() as con:
        federation.allow(review=True)
        for _ in range(8):
            assert code_of(con, COUNT) == "IN_REVIEW"
        release(federation, waiting(federation)[0].id)
        for _ in range(8):
            assert con.execute(COUNT).fetchall() == ANSWER
        ledger = federation.pods["north"]._releasing._ledger
        used = ledger._db.execute("SELECT used FROM quota WHERE day > 0").fetchall()
        assert used == [(1,)]


def test_a_grant_that_needs_no_review_is_answered_at_once_and_a_dead_service_releases_nothing():
    with served() as federation, federation.connect() as con:
        federation.allow(review=True)
        assert code_of(con, COUNT) == "IN_REVIEW"
        release(federation, waiting(federation)[0].id)
        federation.stop_service()
        assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
        federation.start_service()
        federation.allow()
        assert con.execute(COUNT).fetchall() == ANSWER
        assert queries(federation)[-1][:2] == ("allow", "")


def test_the_custodian_reads_and_drops_what_is_held(federation, tmp_path):
    pod = federation.pods["north"]
    config = tmp_path / "pod.toml"
    sections = {
        "pod": {"state": str(pod.place.state)},
        'tables."main.visits"': {"path": "unused"},
    }
    config.write_text(toml_text(sections))
    control = Control(
        pod.place / SOCKET,
        watch=pod.endpoint.watch_fd,
        unwatch=pod.endpoint.unwatch_fd,
        run=lambda command, answer: _command(pod, command, answer),
    )
    pod.endpoint.post(control.open)

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["pod", *words, "--config", str(config)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    assert run("held", "list") == "nothing is held\n"
    with federation.connect() as con:
        assert code_of(con, COUNT) == "IN_REVIEW"
    (one,) = json.loads(run("held", "list", "--json"))["held"]
    assert (one["analyst"], one["rows"], one["statement"]) == ("ana", 2, COUNT)
    assert one["id"] in run("held", "list")
    assert json.loads(run("held", "show", one["id"], "--format", "json").splitlines()[0])
    assert "20" in run("held", "show", one["id"])
    with pytest.raises(Error, match="no held result"):
        run("held", "show", "nothing")
    run("held", "drop", one["id"])
    assert held(federation) == []
    assert federation.events("dropped")[0].entry.reason == "by the custodian"
    (known,) = json.loads(run("services", "--json"))["services"]
    assert known["fingerprint"] == federation.mark("access")
    assert known["in_manifest"]
    assert known["epoch"] == 1
    assert federation.mark("access") in run("services")
    (anew,) = json.loads(run("services", "--forget", federation.mark("access"), "--json"))[
        "services"
    ]
    assert anew["epoch"] == 0
    until(lambda: pod.services.beliefs.of(federation.key("access")).epoch == 1)
    closed = threading.Event()
    pod.endpoint.post(lambda: (control.close(), closed.set()))
    assert closed.wait(10)


SHARED = """
version = 1
name = "shared"
people = "*"
[joins]
kinds = ["psi_count"]
[tables.visits.columns]
patient = {roles = ["entity_key", "join_key"]}
"""


def test_a_count_across_pods_is_not_answered_under_review(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text(SHARED)
    table = pa.table({"patient": list(range(40))})
    with (
        served(pods={"north": table, "south": table}, policy=policy, keys=()) as federation,
        federation.connect() as con,
    ):
        sql = "SELECT count(DISTINCT patient) FROM visits"
        federation.allow()
        assert con.execute(sql).fetchall() == [(40,)]
        with federation.orders() as orders:
            for granted in orders._database.read("SELECT grant_id FROM grants"):
                orders.revoke(CAROL, granted["grant_id"])
        federation.allow(review=True)
        until(lambda: federation.events("withdrawn") and federation.events("withdrawn", "south"))
        assert code_of(con, sql) == "DENIED"
        reasons = {
            line.entry.reason
            for pod in ("north", "south")
            for line in federation.events("query", pod)
        }
        assert "REVIEW" in reasons


def test_what_nobody_releases_expires(federation):
    with federation.connect() as con:
        assert code_of(con, COUNT) == "IN_REVIEW"
    holds = federation.pods["north"].desk.reviewing._holds
    (hold,) = holds.all()
    assert holds.expires(hold) == hold.created + 7 * 24 * 3600 * 1000
    assert holds.find(hold.key, holds.expires(hold)) is None
    assert holds.sweep(holds.expires(hold) - 1) == []
    assert holds.sweep(holds.expires(hold)) == [hold]
    assert holds.all() == []


def test_held_results_have_a_bound(tmp_path):
    from podsql.pod.holds import Holds

    holds = Holds(tmp_path / "held", b"s" * 32, limit_bytes=3 << 20, days=1)
    holds.begin()
    draft = holds.draft("a")
    draft.add(os.urandom(2 << 20))
    with pytest.raises(Error, match="RESULT_TOO_BIG"):
        draft.add(os.urandom(2 << 20))
    draft.close()
    assert list((tmp_path / "held").iterdir()) == []


# -- what a service says of a held result --------------------------------------------------------

SERVICE, POD, EVE = (PeerKeys.generate() for _ in range(3))
NOW = 1_770_000_000_000
ASKED = ReviewRequest(
    id="a1", analyst=b"a" * 32, purpose="", project="", tables=("main.t",), release="rows", rows=1,
    withheld=0, size=10, columns=1, query_hash=b"q" * 32, result_hash=b"r" * 32, nonce=b"n" * 16,
)  # fmt: skip


def reviewed(signer: PeerKeys = SERVICE, kind: str = "review", **more) -> bytes:
    from podsql.messages import encode

    base = {
        "id": "a1", "pod": POD.identity_public, "result_hash": b"r" * 32, "nonce": b"n" * 16,
        "state": "released", "by": "carol", "expires": NOW + 1000,
    }  # fmt: skip
    return encode(
        ReviewReply(review=sign(kind, encode(Review(**{**base, **more})), signer.identity))
    )


def read(body: bytes) -> Review:
    return read_review(
        body, service=SERVICE.identity_public, pod=POD.identity_public, asked=ASKED, now=NOW
    )


@pytest.mark.parametrize(
    "change",
    [
        {"signer": EVE},
        {"kind": "decision"},
        {"id": "a2"},
        {"pod": EVE.identity_public},
        {"result_hash": b"x" * 32},
        {"nonce": b"x" * 16},
        {"expires": NOW - 61_000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_attack_47_a_release_serves_one_result_one_pod_and_one_nonce(change):
    assert read(reviewed()).state == "released"
    with pytest.raises(Error):
        read(reviewed(**change))


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("released", "released"), ""),
        (("released", "waiting"), "IN_REVIEW"),
        (("waiting", "refused"), "DENIED"),
        (("released", "refused"), "DENIED"),
    ],
)
def test_every_word_counts_and_a_refusal_counts_most(states, code):
    found = {bytes([n]): read(reviewed(state=state)) for n, state in enumerate(states)}
    if not code:
        assert require_release(found) == ("carol", "carol")
        return
    with pytest.raises(Error) as caught:
        require_release(found)
    assert caught.value.code == code
