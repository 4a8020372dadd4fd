"""Real processes: what is ordered at the policy service's file holds at the pods at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import service_pid

from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.errors import Error
from podsql.membership import load_membership
from podsql.pod.control import send
from podsql.policy.audit import lines
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policy.service.reviews import reviews
from podsql.policyd import store_path

COUNT = "SELECT sex, count(*) AS n FROM visits GROUP BY sex ORDER BY sex"
SLOW = "SELECT sum(length(a.sex || b.sex)) FROM visits a JOIN visits b ON a.patient = b.patient"
ROWS = 100_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("obeys")
    pods = {}
    for number, name in enumerate(("north", "south")):
        path = home / f"{name}.parquet"
        people = [f"{number}-{i % 5}" for i in range(ROWS)]
        pq.write_table(pa.table({"patient": people, "sex": ["f", "m"] * (ROWS // 2)}), path)
        pods[name] = {"main.visits": {"path": str(path), "local_keys": ["patient"]}}
    made = Stage(home=home, pods=pods, analysts=("ana", "bob", "eve"), preset="open")
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def orders(stage) -> Iterator[Orders]:
    database = Database(store_path(stage.access))
    yield Orders(database, lambda: time.time_ns() // 1_000_000)
    database.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def status(stage: Stage, pod: str) -> dict:
    return send(stage.home / pod / "pod.toml", "status")


def code_of(con, sql: str) -> str:
    try:
        con.execute(sql, timeout=20).fetchall()
    except Error as fault:
        return fault.code
    return ""


def pod_pid(stage: Stage, name: str) -> int:
    pattern = f"podsql pod serve --config {stage.home}/{name}/pod.toml"
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def events(stage: Stage, pod: str, event: str):
    log = stage.home / pod / "state" / "audit.jsonl"
    return [line.entry for line in lines(log) if line.entry.event == event]


def test_a_freeze_stops_every_pod_outlives_kills_and_ends_with_a_thaw(stage, orders):
    with connect(stage.analyst) as con:
        assert con.execute(COUNT).fetchall() == [("f", ROWS), ("m", ROWS)]
        found: list[str] = []
        running = threading.Thread(target=lambda: found.append(code_of(con, SLOW)))
        running.start()
        until(lambda: status(stage, "north")["running"] and status(stage, "south")["running"])
        ordered = time.time_ns() // 1_000_000
        orders.freeze(CONSOLE, "*", "a leak is suspected")
        running.join(30)
        # Ended by the pod; or by the service, where it was still asking for its decision.
        assert found[0] in ("PAUSED", "DENIED")
        until(lambda: all(status(stage, pod)["frozen"] for pod in ("north", "south")))
        for pod in ("north", "south"):
            (entry,) = events(stage, pod, "frozen")
            assert ordered <= entry.time <= ordered + 10_000
            assert "statements ended" in entry.reason
        os.kill(service_pid(stage), signal.SIGKILL)
        os.kill(pod_pid(stage, "north"), signal.SIGKILL)
        stage.serve_pod("north")
        assert status(stage, "north")["frozen"]
        assert code_of(con, COUNT) in ("PAUSED", "PODS_MISSING")
        stage.serve_policy()
        orders.thaw(CONSOLE, "*")
        until(lambda: not any(status(stage, pod)["frozen"] for pod in ("north", "south")))
        assert con.execute(COUNT).fetchall() == [("f", ROWS), ("m", ROWS)]


def test_a_result_in_review_is_read_at_the_pods_and_leaves_when_released(stage, orders):
    bob = load_membership(stage.membership("bob")).keys.identity_public
    for grant in list(orders._database.read("SELECT grant_id FROM grants WHERE analyst = ?", bob)):
        orders.revoke(CONSOLE, grant["grant_id"])
    given = make_grant(analyst=bob, now=time.time_ns() // 1_000_000, release="rows")
    orders.grant(CONSOLE, given, name="bob", review=True)
    with connect(stage.membership("bob")) as con:
        until(lambda: code_of(con, COUNT) == "IN_REVIEW")
        held = reviews(orders._database, state="waiting")
        assert {one.pod for one in held} == {"north", "south"}
        for one in held:
            config = stage.home / one.pod / "pod.toml"
            (listed,) = json.loads(podsql("pod", "held", "list", "--json", "--config", config))[
                "held"
            ]
            assert (listed["id"], listed["analyst"]) == (one.id, "bob")
            shown = podsql("pod", "held", "show", one.id, "--format", "csv", "--config", config)
            assert shown.splitlines()[1].startswith('"f"')
            os.kill(pod_pid(stage, one.pod), signal.SIGKILL)
            stage.serve_pod(one.pod)
            assert orders.release(CONSOLE, one.id)
        assert con.execute(COUNT).fetchall() == [("f", ROWS), ("m", ROWS)]


def podsql(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "podsql", *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    return done.stdout


def test_off_boarding_ends_what_runs_and_every_later_request(stage, orders):
    eve = load_membership(stage.membership("eve")).keys
    with connect(stage.membership("eve")) as con:
        con.execute(COUNT).fetchall()
        found: list[str] = []
        running = threading.Thread(target=lambda: found.append(code_of(con, SLOW)))
        running.start()
        until(lambda: status(stage, "north")["running"])
        orders.off_board(CONSOLE, eve.identity_public)
        running.join(30)
        assert found == ["DENIED"]
        assert code_of(con, COUNT) in ("DENIED", "UNKNOWN_TABLE")
        for pod in ("north", "south"):
            until(
                lambda pod=pod: [
                    e for e in events(stage, pod, "withdrawn") if e.fingerprint == eve.fingerprint
                ]
            )
