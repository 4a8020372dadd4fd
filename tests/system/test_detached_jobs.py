"""Detached jobs over real processes: the analyst goes away, the modeller is killed, the model is the same.

One federation: three pods that ask a policy service, a modeller that works for ana alone, and ben, whom
the policy service grants nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.analyst.behalf import Behalf
from podsql.analyst.federation import Federation
from podsql.analyst.statement import Statement
from podsql.analyst.training.fitting import Known, prepare
from podsql.analyst.training.rounds import Rounds
from podsql.analyst.training.shelf import Shelf
from podsql.cli.app import run
from podsql.demo.stage import Stage
from podsql.engine.merge import Merger
from podsql.job_messages import Delegation, JobOrder
from podsql.membership import load_membership
from podsql.messages import decode_as, encode
from podsql.planner.statements import classify
from podsql.policy.audit import lines, verify
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policyd import store_path
from podsql.relay.signing import sign

ROWS = 800
PODS = ("north", "south", "west")
TRAIN = "TRAIN MODEL {} USING {} FROM (SELECT age, dose FROM visits WHERE age > {})"
LONG = "kmeans (clusters = 6, tolerance = 0)"
QUICK = "pca"
DETACHED = TRAIN + " WITH (detached = true)"
MASKED = TRAIN + " WITH (detached = true, secure_aggregation = true)"
PATIENT = TRAIN + " WITH (detached = true, round_timeout = 5)"
WAIT = 200.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    home = tmp_path_factory.mktemp("detached")
    draw = np.random.default_rng(5)
    pods = {}
    for place, name in enumerate(PODS):
        table = pa.table(
            {
                "id": np.arange(ROWS) + ROWS * place,
                "age": draw.uniform(20, 80, ROWS),
                "dose": draw.uniform(0, 1, ROWS),
            }
        )
        path = home / f"{name}.parquet"
        pq.write_table(table, path)
        pods[name] = {"main.visits": {"path": str(path), "privacy_unit": "id"}}
    made = Stage(
        home=home,
        pods=pods,
        preset="open",
        limits={"workers": 1, "threads": 1},
        analysts=("ana", "ben"),
        granted=("ana",),
        modellers=("mo",),
    )
    try:
        made.build()
        assert run(["modeller", "init", "--home", str(home / "mo"), "--analyst", "ana"]) == 0
        made.serve_modeller("mo")
        yield made
    finally:
        made.close()


def connected(stage):
    return podsql.connect(stage.analyst, purpose="care", project="beds")


@pytest.fixture
def con(stage):
    with connected(stage) as made:
        yield made


def ordered(stage, text):
    """The job that a process of its own orders, which then ends."""
    done = subprocess.run(
        [
            sys.executable, "-m", "podsql", "sql", text, "--json",
            "--federation", str(stage.analyst), "--purpose", "care", "--project", "beds",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["state"], row["modeller"]) == ("waiting", "mo")
    return row["job"]


def state_of(con, job):
    """Of one job: state, rounds, error."""
    (found,) = [row for row in con.execute("SHOW JOBS").fetchall() if row[0] == job]
    return found[3], found[4], found[8]


def until_over(con, job):
    """The state in which the job ends, and what was wrong."""
    deadline = time.monotonic() + WAIT
    while (found := state_of(con, job))[0] in ("waiting", "running"):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found[0], found[2]


def at_modeller(stage, job):
    """The job's record, as the modeller has written it."""
    (path,) = (stage.home / "mo" / "work").glob(f"*/{job}/jobs/{job}.json")
    return json.loads(path.read_bytes())


def tell(stage, number, command):
    """Send a signal to the processes of a command."""
    found = subprocess.run(
        ["pgrep", "-f", f"podsql {command.format(stage.home)}$"],
        capture_output=True,
        text=True,
        check=True,
    )
    for pid in map(int, found.stdout.split()):
        os.kill(pid, number)


def kill_modeller(stage):
    tell(stage, signal.SIGKILL, "modeller serve --home {}/mo")


@contextmanager
def without_west(stage, con):
    """Until the block ends a pod is silent: what is ordered by offers that were made before waits."""
    con.execute("SHOW TABLES")
    west = "pod serve --config {}/west/pod.toml"
    tell(stage, signal.SIGSTOP, west)
    try:
        yield
    finally:
        tell(stage, signal.SIGCONT, west)


def killed_in_the_middle(stage, order, name):
    """A job whose modeller was killed between two rounds; a job that was too quick is left alone."""
    for attempt in range(8):
        model = f"{name}{attempt}"
        job = order(model)
        while not (record := at_modeller(stage, job))["rounds"]:
            assert record["state"] != "failed", record
            time.sleep(0.02)
        kill_modeller(stage)
        record = at_modeller(stage, job)
        if record["state"] != "finished":
            return job, model, record["rounds"]
        stage.serve_modeller("mo")
    raise AssertionError("every job was finished before its modeller was killed")


def numbers(stage, model):
    """What the file of ``model`` says of the fit, as it is written."""
    text = (stage.analyst.parent / "models" / f"{model}.json").read_bytes()
    return bytes(msgspec.json.decode(text, type=dict[str, msgspec.Raw])["fitted"])


def audited(stage, pod):
    path = stage.home / pod / "state" / "audit.jsonl"
    verify(path)
    return [line.entry for line in lines(path) if line.entry.event == "query"]


@contextmanager
def in_place_of(stage, document):
    """What somebody with the modeller's keys may ask under ``document``."""
    membership = load_membership(stage.membership("mo"))
    order = decode_as(Delegation, document.body)
    federation = Federation(membership, behalf=Behalf(document, order))
    federation.open()
    try:
        yield federation
    finally:
        federation.close()


def first_round(federation, order, sql, *, said):
    """Ask the first round of ``sql`` under an order, as one of the statement ``said``."""
    statement = Statement(
        federation=federation,
        sql=sql,
        purpose=order.purpose,
        project=order.project,
        statement_id=order.job,
        timeout=30.0,
    )
    statement.renew()
    bound = federation.bind(order.purpose, order.project, deadline=time.monotonic() + 30)
    if bound.missing:
        raise bound.missing[min(bound.missing)]
    prepared = prepare(classify(sql), statement, Shelf(None), Known(bound=bound))
    statement.sql = said
    rounds = Rounds(statement, Merger(), bound, prepared.design, seconds=30.0)
    return rounds.sums(prepared.fit.next_round())


def code_of(act):
    with pytest.raises(podsql.Error) as caught:
        act()
    return caught.value.code


def test_a_job_outlives_its_analyst_and_a_killed_modeller_to_the_same_bits(stage):
    job, model, rounds = killed_in_the_middle(
        stage, lambda model: ordered(stage, PATIENT.format(model, LONG, 20.5)), "away"
    )
    assert rounds >= 1
    with connected(stage) as con:
        state, _, said = state_of(con, job)
        assert state in ("waiting", "running")
        assert "'mo' is away" in said
        assert code_of(lambda: con.execute(f"CANCEL JOB '{job}'")) in ("POD_LOST", "TIMEOUT")
        tell(stage, signal.SIGKILL, "pod serve --config {}/south/pod.toml")
        stage.serve_modeller("mo")
        while not (said := at_modeller(stage, job)["error"]):
            time.sleep(0.05)
        assert "'south'" in said
        assert state_of(con, job)[0] in ("waiting", "running")
        stage.serve_pod("south")
        assert until_over(con, job) == ("finished", None)
        log = [row[1] for row in con.execute(f"SHOW JOB '{job}'").fetchall()]
        assert log.count("resumed") >= 2
        assert (log[0], log[-1]) == ("started", "finished")
        assert code_of(lambda: con.execute(f"RESUME JOB '{job}'")) == "MODEL_STATE"
        con.execute(TRAIN.format("direct", LONG, 20.5))
    assert numbers(stage, model) == numbers(stage, "direct")
    for pod in PODS:
        entries = audited(stage, pod)
        of_job = [entry for entry in entries if entry.statement_id == job]
        assert {(entry.analyst, entry.asked_by) for entry in of_job} == {("ana", "mo")}
        assert {entry.decision for entry in of_job} == {"allow"}
        assert ("ana", "") in {(entry.analyst, entry.asked_by) for entry in entries}


def test_jobs_are_resumed_cancelled_and_listed_by_their_analyst_alone(stage, con):
    job = con.execute(MASKED.format("second", QUICK, 21.5)).fetchone()[0]
    while con.execute(f"RESUME JOB '{job}'").description[2][0] != "n":
        time.sleep(0.2)
    con.execute("DESCRIBE MODEL second")
    notes = {entry.reason for entry in audited(stage, "west") if entry.statement_id == job}
    assert notes
    assert all(note.startswith("masked for a sum of 3 pods") for note in notes)
    with podsql.connect(stage.membership("ben")) as ben:
        assert (
            code_of(lambda: ben.execute(DETACHED.format("third", QUICK, 20.5))) == "UNKNOWN_TABLE"
        )
        assert ben.execute("SHOW JOBS").fetchall() == []
        assert code_of(lambda: ben.execute(f"SHOW JOB '{job}'")) == "UNKNOWN_JOB"
    kept = next((stage.home / "mo" / "work").glob(f"*/{job}/order.bin"))
    order = decode_as(JobOrder, kept.read_bytes())
    with podsql.connect(stage.membership("ben")) as ben:
        mo = ben.federation.membership.store.current.by_name("mo")
        reply = ben.federation.endpoint.call_wait(mo, encode(order), timeout=30.0)
    assert b"DENIED" in reply
    assert b"refused analyst ben: DENIED" in (stage.home / "log.txt").read_bytes()
    with without_west(stage, con):
        cancelled = con.execute(DETACHED.format("never", QUICK, 22.5)).fetchone()[0]
        con.execute(f"CANCEL JOB '{cancelled}'")
    assert state_of(con, cancelled)[0] == at_modeller(stage, cancelled)["state"] == "cancelled"


def test_pods_refuse_what_the_analyst_did_not_order_or_may_not_ask(stage, con):
    sql = DETACHED.format("fourth", QUICK, 23.5)
    with without_west(stage, con):
        job = con.execute(sql).fetchone()[0]
        kill_modeller(stage)
    kept = next((stage.home / "mo" / "work").glob(f"*/{job}/order.bin"))
    document = decode_as(JobOrder, kept.read_bytes()).delegation
    order = decode_as(Delegation, document.body)
    ana, ben, mo = (load_membership(stage.membership(n)).keys for n in ("ana", "ben", "mo"))
    now = time.time_ns() // 1_000_000

    def given(by=ana, **change):
        return sign("delegation", encode(msgspec.structs.replace(order, **change)), by.identity)

    edited = msgspec.structs.replace(
        document, body=encode(msgspec.structs.replace(order, tables=("main.visits", "x")))
    )
    with in_place_of(stage, document) as federation:
        assert first_round(federation, order, sql, said=sql)["n"] > 1000
        fewer = sql.replace("23.5", "23.75")
        wider = sql.replace("age, dose", "age, dose, age * dose AS both")
        for pair in ((fewer, sql), (wider, sql), (sql, fewer)):
            assert (
                code_of(lambda p=pair: first_round(federation, order, p[0], said=p[1]))
                == "DELEGATION"
            )
    for odd, code in (
        (edited, "SIGNATURE"),
        (given(mo), "SIGNATURE"),
        (given(created=now - 9_000, expires=now - 1), "DELEGATION"),
        (given(modeller=ben.identity_public), "SIGNATURE"),
        (given(pods=(ana.identity_public,)), "NO_PODS"),
        (given(purpose="other"), "DELEGATION"),
        # Ben may order what he likes: he is judged as himself.
        (given(ben, analyst=ben.identity_public), "UNKNOWN_TABLE"),
    ):
        with in_place_of(stage, odd) as federation:
            assert code_of(lambda f=federation: first_round(f, order, sql, said=sql)) == code
    denied = [entry for entry in audited(stage, "north") if entry.time >= now]
    assert {entry.asked_by for entry in denied} == {"mo"}
    assert {entry.reason for entry in denied} == {"", "DELEGATION", "SIGNATURE"}
    with right_taken(stage):
        stage.serve_modeller("mo")
        state, said = until_over(con, job)
    assert state == "failed"
    assert said.startswith(("UNKNOWN_TABLE", "DENIED"))


@contextmanager
def right_taken(stage):
    """Until the block ends, the policy service grants ana nothing."""
    database = Database(store_path(stage.access))
    orders = Orders(database, lambda: time.time_ns() // 1_000_000)
    taken = orders.revoke(CONSOLE, stage.grants["main.visits"]).grant
    try:
        yield
    finally:
        grant = make_grant(
            analyst=taken.analyst, now=taken.since, tables=taken.tables, release="rows"
        )
        stage.grants["main.visits"] = orders.grant(CONSOLE, grant, name="ana").grant_id
        database.close()
