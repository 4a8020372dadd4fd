"""A pod and its policy services: reports, receipts, freezes, revocations, services that go back."""

import threading
import time

import pytest
from served import ANSWER, CAROL, COUNT, code_of, served, until
from typer.testing import CliRunner

from podsql.cli.app import app
from podsql.errors import Error
from podsql.message import Signed
from podsql.messages import decode, encode
from podsql.pod.receipts import read_receipt
from podsql.policy.audit import verify
from podsql.policy.service.pods import pods
from podsql.relay.signing import sign
from podsql.service_messages import PodStanding, Revocations


@pytest.fixture
def federation():
    with served() as made:
        yield made


def reported(federation):
    return {one.name: one.report for one in pods(federation.tenants["access"]._store.database)}


def test_a_pod_says_what_it_is_and_keeps_the_receipt_of_its_log(federation, tmp_path):
    until(lambda: reported(federation))
    report = reported(federation)["north"]
    pod = federation.pods["north"]
    (card,) = report.tables
    assert (card.name, card.kind, card.privacy_unit) == ("main.visits", "federated", "patient")
    assert [column[:2] for column in card.columns] == [
        ("patient", "BIGINT"),
        ("sex", "VARCHAR"),
        ("age", "BIGINT"),
    ]
    assert report.data_version == pod.desk.holding.data_version
    assert report.policy_words
    assert not report.paused
    path = pod.place / "receipts" / f"{federation.mark('access')}.receipt"
    until(path.exists)
    receipt = read_receipt(path)
    assert receipt.pod == federation.key("north")
    log = pod.place / "audit.jsonl"
    assert verify(log, head=receipt.head) >= receipt.count
    words = ["audit", "verify", str(log), "--receipt", str(path)]
    assert CliRunner().invoke(app, words).exit_code == 0
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: receipt.count - 1]))
    words[2] = str(cut)
    assert CliRunner().invoke(app, words).exit_code != 0


def test_a_pause_and_a_refresh_are_reported_at_once(federation):
    until(lambda: reported(federation))
    pod = federation.pods["north"]
    pod.pause(True)
    until(lambda: reported(federation)["north"].paused)
    pod.pause(False)
    until(lambda: not reported(federation)["north"].paused)
    before = reported(federation)["north"].audit_count
    pod.refresh()
    until(lambda: reported(federation)["north"].audit_count > before)


def test_a_freeze_stops_a_pod_at_once_and_a_thaw_lets_it_go_on(federation):
    federation.allow()
    with federation.connect() as con:
        assert con.execute(COUNT).fetchall() == ANSWER
        with federation.orders() as orders:
            orders.freeze(CAROL, "*", "a leak is suspected")
        pod = federation.pods["north"]
        until(lambda: pod.services.beliefs.frozen)
        assert code_of(con, COUNT) == "PAUSED"
        until(lambda: reported(federation)["north"].paused)
        (line,) = federation.events("frozen")
        assert f"access {federation.mark('access')}, epoch 2" in line.entry.reason
        with federation.orders() as orders:
            orders.thaw(CAROL, "*")
        until(lambda: not pod.services.beliefs.frozen)
        assert con.execute(COUNT).fetchall() == ANSWER
        assert federation.events("thawed")


def test_a_service_never_resumes_what_the_custodian_paused(federation):
    federation.allow()
    pod = federation.pods["north"]
    pod.pause(True)
    with federation.orders() as orders:
        orders.freeze(CAROL, "north", "drill")
        until(lambda: pod.services.beliefs.frozen)
        orders.thaw(CAROL, "north")
        until(lambda: not pod.services.beliefs.frozen)
    with federation.connect() as con:
        assert code_of(con, COUNT) == "PAUSED"
        pod.pause(False)
        assert con.execute(COUNT).fetchall() == ANSWER


def test_a_frozen_pod_stays_frozen_without_its_service_and_after_a_restart(federation):
    federation.allow()
    with federation.orders() as orders:
        orders.freeze(CAROL, "*", "drill")
    pod = federation.pods["north"]
    until(lambda: pod.services.beliefs.frozen)
    federation.stop_service()
    pod.stop()
    again = type(pod)(pod.config, pod.place, pod.membership)
    again.start()
    try:
        assert again.services.beliefs.frozen
        with federation.connect() as con, pytest.raises(Error):
            con.execute(COUNT)
    finally:
        again.stop()


SLOW = "SELECT sum(length(a.sex || b.sex)) FROM visits a JOIN visits b ON a.patient = b.patient"
"""One request, over 4e9 pairs."""


def ending(con, sql):
    """Runs a statement in a thread; how it ends is put into the list it gives."""
    found = []
    thread = threading.Thread(target=lambda: found.append(code_of(con, sql)))
    thread.start()
    return thread, found


def at_work(pod):
    """Whether the engine has a statement: one that is still being decided ends otherwise."""
    return any(one.job is not None and not one.over for one in pod.desk._held.all())


def test_off_boarding_ends_what_runs_and_what_comes(slow):
    with slow.connect() as con, slow.connect("bob") as bob:
        assert bob.execute(COUNT).fetchall()
        thread, found = ending(con, SLOW)
        until(lambda: at_work(slow.pods["north"]))
        with slow.orders() as orders:
            assert orders.off_board(CAROL, slow.key("ana")) == 1
        thread.join(20)
        assert found == ["DENIED"]
        assert code_of(con, COUNT) in ("DENIED", "UNKNOWN_TABLE")
        assert bob.execute(COUNT).fetchall()
        (person,) = [one for one in slow.events("withdrawn") if "person" in one.entry.reason]
        assert person.entry.fingerprint == slow.mark("ana")
        assert "1 statements ended" in person.entry.reason


def test_a_revoked_grant_ends_what_it_was_behind(slow):
    with slow.connect() as con, slow.connect("bob") as bob:
        assert bob.execute(COUNT).fetchall()
        thread, found = ending(con, SLOW)
        until(lambda: at_work(slow.pods["north"]))
        with slow.orders() as orders:
            orders.revoke(CAROL, slow.grant)
        thread.join(20)
        assert found == ["DENIED"]
        assert code_of(con, COUNT) in ("DENIED", "UNKNOWN_TABLE")
        assert bob.execute(COUNT).fetchall()
        (line,) = slow.events("withdrawn")
        assert f"grant {slow.grant}, 1 statements ended" in line.entry.reason


def test_a_freeze_ends_everything_that_runs(slow):
    with slow.connect() as con:
        con.execute(COUNT)
        thread, found = ending(con, SLOW)
        until(lambda: at_work(slow.pods["north"]))
        with slow.orders() as orders:
            orders.freeze(CAROL, "*", "drill")
        thread.join(20)
        assert found == ["PAUSED"]


@pytest.fixture
def slow():
    import pyarrow as pa

    count = 200_000
    people = [i % 10 for i in range(count)]
    many = {"north": pa.table({"patient": people, "sex": ["f", "m"] * (count // 2)})}
    with served(pods=many) as made:
        made.grant = made.allow()
        made.allow("bob")
        yield made


def test_a_freeze_is_obeyed_where_it_cannot_be_written_down(federation):
    federation.allow()
    pod = federation.pods["north"]
    until(lambda: pod.services.beliefs.of(federation.key("access")).epoch == 1)
    path = pod.place / "services.json"
    until(path.exists)  # written a moment after it is believed
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    document = make_list(federation, "access")
    assert push(federation, "access", document) == "DISK_FULL"
    assert pod.services.beliefs.frozen
    (path / "in the way").rmdir()
    path.rmdir()
    assert push(federation, "access", document) == ""
    assert b'"frozen":true' in path.read_bytes()


# -- services that are not to be believed -------------------------------------------------------


def test_attack_45_a_service_that_was_set_back_is_refused_until_the_custodian_accepts_it(
    federation, tmp_path
):
    federation.allow()
    pod = federation.pods["north"]
    copy = tmp_path / "old.sqlite"
    with federation.orders() as orders:
        orders._database.backup(copy)
        orders.freeze(CAROL, "south", "somewhere else")
    until(lambda: pod.services.beliefs.of(federation.key("access")).epoch == 2)
    federation.set_back(copy)
    with federation.connect() as con:
        assert code_of(con, COUNT) == "POLICY_UNAVAILABLE"
        assert federation.events("query")[-1].entry.reason == "service went back"
        pod._tell()
        until(lambda: federation.events("service"))
        assert "went back: access from epoch 2 to 1" in federation.events("service")[0].entry.reason
        done = threading.Event()
        pod.endpoint.post(lambda: (pod.obeying.forget(federation.mark("access")), done.set()))
        assert done.wait(10)
        assert con.execute(COUNT).fetchall() == ANSWER
        assert federation.events("service")[-1].entry.reason == "forgotten by the custodian"


def push(federation, sender: str, document: Signed) -> str:
    """What the pod answers to a standing that ``sender`` sends it."""
    card = federation._members["ana"].store.current.by_name("north")
    endpoint = federation.tenants[sender]._endpoint
    body = encode(PodStanding(revocations=document))
    reply = decode(endpoint.call_wait(card, body, timeout=10))
    return getattr(reply, "code", "")


def make_list(federation, signer: str, kind: str = "revocations", **more) -> Signed:
    now = time.time_ns() // 1_000_000
    base = {
        "epoch": 9, "issued": now, "next_update": now + 60_000, "frozen": True, "grants": (),
        "people": (),
    }  # fmt: skip
    body = encode(Revocations(**{**base, **more}))
    return sign(kind, body, federation._members[signer].keys.identity)


def test_attack_45_only_a_pinned_service_stops_a_pod_and_only_with_its_own_signature():
    with served(services=("access", "other")) as federation:
        pod = federation.pods["north"]
        for signer, kind in (("other", "revocations"), ("ana", "revocations"), ("access", "head")):
            document = make_list(federation, signer, kind)
            assert push(federation, "access", document) == "SIGNATURE"
        assert not pod.services.beliefs.frozen
        assert push(federation, "access", make_list(federation, "access")) == ""
        assert pod.services.beliefs.frozen
        back = make_list(federation, "access", epoch=8, frozen=False)
        assert push(federation, "access", back) == "POLICY_UNAVAILABLE"
        assert pod.services.beliefs.frozen


def test_a_service_that_the_pod_does_not_pin_is_not_heard():
    with served(services=("access", "stranger"), pinned=("access",)) as federation:
        assert push(federation, "stranger", make_list(federation, "stranger")) == "ROLE"
        assert not federation.pods["north"].services.beliefs.frozen
