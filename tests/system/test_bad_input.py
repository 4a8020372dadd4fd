"""Whatever goes wrong ends in the error of the design, inside its deadline; the pods live on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace as structs_replace

import podsql
from podsql.analyst.statement import Statement
from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.membership import load_membership
from podsql.messages import Failed, QueryRequest, RequestHead, decode, decode_as, encode
from podsql.relay.signing import sign

SQL = "SELECT sum(x) FROM t"
ANSWER = [(2 * sum(range(1000)),)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("bad")
    pods = {}
    for name in ("north", "south"):
        pq.write_table(pa.table({"x": list(range(1000))}), home / f"{name}.parquet")
        pods[name] = {"main.t": {"path": str(home / f"{name}.parquet")}}
    made = Stage(
        home=home,
        pods=pods,
        analysts=("ana", "eve"),
        preset="open",
        service=False,
        limits={"memory_mb": 512, "seconds": 5.0},
    )
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def con(stage) -> Iterator[podsql.Connection]:
    with connect(stage.analyst, timeout=15) as made:
        yield made


def pod_pid(stage: Stage, name: str) -> int:
    pattern = f"podsql pod serve --config {stage.home}/{name}/pod.toml"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def fault_of(call) -> podsql.Error:
    with pytest.raises(podsql.Error) as caught:
        call()
    return caught.value


def captured(con: podsql.Connection) -> tuple[object, QueryRequest, RequestHead]:
    """A request of this analyst as it would travel in its session with a pod."""
    statement = Statement(federation=con.federation, sql=SQL)
    plan, bound = statement.bound()
    (exchange, *_) = [
        statement._exchange(name, plan.stages[0], plan, bound, b"", None)
        for name in plan.stages[0].pods
    ]
    return exchange, exchange.card, exchange.head


def test_a_query_that_wants_fifty_gigabytes_ends_and_the_pod_answers_the_next(con):
    huge = "SELECT sum(length(a.x::VARCHAR || b.x::VARCHAR || c.x::VARCHAR)) FROM t a, t b, t c WHERE a._pod = 'north' AND b._pod = 'north' AND c._pod = 'north' GROUP BY a.x, b.x, c.x"
    fault = fault_of(lambda: con.execute(huge))
    assert fault.code in ("OUT_OF_MEMORY", "TIMEOUT", "NOT_LOCAL", "NOT_SUPPORTED")
    rows = "SELECT a.x, b.x, c.x FROM t a JOIN t b ON a._pod = b._pod JOIN t c ON b._pod = c._pod ORDER BY a.x + b.x * c.x"
    fault = fault_of(lambda: con.execute(rows, timeout=60))
    assert fault.code in (
        "OUT_OF_MEMORY",
        "TIMEOUT",
        "NOT_LOCAL",
        "NOT_SUPPORTED",
        "RESULT_TOO_BIG",
    )
    assert con.execute(SQL).fetchall() == ANSWER


@pytest.mark.parametrize("hours", [-1, 1])
def test_attack_44_a_clock_off_by_an_hour_is_named(con, hours):
    _, card, head = captured(con)
    shift = hours * 3600 * 1000
    keys = con.federation.membership.keys

    def body(handshake: bytes) -> bytes:
        moved = structs_replace(
            head, handshake=handshake, created=head.created + shift, deadline=head.deadline + shift
        )
        return encode(QueryRequest(head=sign("request", encode(moved), keys.identity), payload=b""))

    reply = decode(con.federation.endpoint.call_wait(card, body, timeout=10))
    assert isinstance(reply, Failed)
    assert (reply.code, "clock" in reply.hint) == ("CLOCK", True)


def test_attack_39_a_request_signed_by_another_key_is_refused(con, stage):
    _, card, head = captured(con)
    eve = load_membership(stage.membership("eve")).keys

    def body(handshake: bytes) -> bytes:
        signed = sign("request", encode(structs_replace(head, handshake=handshake)), eve.identity)
        return encode(QueryRequest(head=signed, payload=b""))

    reply = decode(con.federation.endpoint.call_wait(card, body, timeout=10))
    assert isinstance(reply, Failed)
    assert reply.code == "SIGNATURE"


def test_attack_29_a_request_of_another_session_is_a_replay(con):
    _, card, head = captured(con)
    keys = con.federation.membership.keys
    stale = encode(
        QueryRequest(
            head=sign("request", encode(structs_replace(head, handshake=bytes(32))), keys.identity),
            payload=b"",
        )
    )
    reply = decode(con.federation.endpoint.call_wait(card, stale, timeout=10))
    assert isinstance(reply, Failed)
    assert reply.code == "REPLAY"
    assert decode_as(RequestHead, encode(head)) == head


def test_attack_48_an_id_that_ran_before_a_restart_never_runs_again(con, stage):
    cursor = con.execute(SQL)
    assert cursor.fetchall() == ANSWER
    statement = cursor.statement_id
    assert statement is not None
    os.kill(pod_pid(stage, "north"), signal.SIGKILL)
    stage.serve_pod("north")
    fault = fault_of(lambda: con.attach(statement, SQL))
    assert fault.code == "EXPIRED_RESULT"
    assert con.execute(SQL).fetchall() == ANSWER
    log = (stage.home / "north" / "state" / "audit.jsonl").read_text()
    assert log.count('"decision":"allow"') >= 2


def test_a_pod_killed_is_named_inside_the_deadline_and_may_be_left_out(con, stage):
    assert con.execute(SQL).fetchall() == ANSWER
    os.kill(pod_pid(stage, "south"), signal.SIGKILL)
    began = time.monotonic()
    fault = fault_of(lambda: con.execute(SQL, timeout=4))
    assert time.monotonic() - began < 10
    assert isinstance(fault, podsql.OperationalError)
    assert "south" in str(fault)
    cursor = con.execute(f"{SQL} WITH (allow_partial = 1)", timeout=4)
    assert cursor.fetchall() == [(sum(range(1000)),)]
    assert (cursor.pods, cursor.missing) == (("north",), ("south",))
    stage.serve_pod("south")
    assert con.execute(SQL).fetchall() == ANSWER


def test_attack_8_a_revoked_analyst_is_turned_away(stage):
    with connect(stage.membership("eve")) as eve:
        assert eve.execute(SQL).fetchall() == ANSWER
        done = subprocess.run(
            [
                Path(sys.executable).with_name("podsql"),
                "federation", "revoke", "eve", "--dir", stage.home / "convener",
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        fault = fault_of(lambda: eve.execute("SELECT max(x) FROM t", timeout=6))
        assert fault.code in (
            "REVOKED",
            "NOT_ADMITTED",
            "RELAY_UNREACHABLE",
            "PODS_MISSING",
            "TIMEOUT",
        )
    fault = fault_of(lambda: connect(stage.membership("eve")))
    assert fault.code in ("NOT_ADMITTED", "REVOKED")


def test_a_paused_pod_says_so_also_after_a_restart_and_goes_on_when_resumed(con, stage):
    from podsql.pod.control import send

    config = stage.home / "north" / "pod.toml"
    assert send(config, "pause")["paused"] is True
    fault = fault_of(lambda: con.execute("SELECT min(x) FROM t"))
    assert fault.code == "PAUSED"
    os.kill(pod_pid(stage, "north"), signal.SIGKILL)
    stage.serve_pod("north")
    assert send(config, "status")["paused"] is True
    assert fault_of(lambda: con.execute("SELECT max(x) FROM t")).code == "PAUSED"
    assert send(config, "resume")["paused"] is False
    assert con.execute("SELECT min(x) FROM t").fetchall() == [(0,)]


def test_a_refresh_swaps_the_data_and_the_receipt_names_the_new_version(con, stage):
    from podsql.pod.control import send

    before = {r.pod: r.data_version for r in _run(con)}
    pq.write_table(pa.table({"x": [*range(1000), 1]}), stage.home / "north.parquet")
    version = send(stage.home / "north" / "pod.toml", "reload", timeout=60)["data_version"]
    cursor = con.execute(SQL)
    assert cursor.fetchall() == [(ANSWER[0][0] + 1,)]
    after = {r.pod: r.data_version for r in cursor.receipt}
    assert after["north"] == version != before["north"]
    assert after["south"] == before["south"]
    pq.write_table(pa.table({"x": list(range(1000))}), stage.home / "north.parquet")
    send(stage.home / "north" / "pod.toml", "reload", timeout=60)
    assert con.execute(SQL).fetchall() == ANSWER


def _run(con: podsql.Connection):
    cursor = con.execute(SQL)
    cursor.fetchall()
    return cursor.receipt


def test_cancel_from_another_thread_ends_the_statement(con):
    import threading

    cursor = con.cursor()
    slow = "SELECT count(*) FROM t a JOIN t b ON a._pod = b._pod JOIN t c ON b._pod = c._pod JOIN t d ON c._pod = d._pod WHERE a.x * b.x + c.x * d.x = 7"
    outcome: list[podsql.Error] = []

    def ask() -> None:
        try:
            cursor.execute(slow, timeout=15)
        except podsql.Error as fault:
            outcome.append(fault)

    thread = threading.Thread(target=ask)
    thread.start()
    deadline = time.monotonic() + 10
    while cursor.plan is None and thread.is_alive() and time.monotonic() < deadline:
        thread.join(0.01)
    cursor.cancel()
    thread.join(20)
    assert not thread.is_alive()
    assert outcome
    assert outcome[0].code in ("CANCELLED", "NOT_LOCAL", "NOT_SUPPORTED")
    assert con.execute(SQL).fetchall() == ANSWER
