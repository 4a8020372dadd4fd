"""What a modeller keeps of its analysts' orders: no more than it must, and no path of theirs."""

import msgspec
import pytest
from msgspec.structs import replace

import podsql.modeller.orders as kept
from podsql.analyst.training.recorded import Job
from podsql.errors import Error
from podsql.job_messages import Delegation, JobOrder, statement_hash
from podsql.messages import encode
from podsql.relay.keys import PeerKeys, fingerprint
from podsql.relay.signing import sign

ANA, BEN = PeerKeys.generate(), PeerKeys.generate()
SQL = "TRAIN MODEL m USING pca FROM (SELECT x FROM t)"
NOW = 1_800_000_000_000
JOB = Job(
    id="",
    model="m",
    family="pca",
    statement=SQL,
    parameters=(),
    timeout=60.0,
    purpose="",
    project="",
    federation="f",
    state="running",
    pods=(),
    columns=("x",),
    start=(),
    started=NOW,
)


def given(orders, number, by=ANA, said=None, **change):
    """An order of job ``number``, its record changed to ``said``."""
    told = Delegation(
        **{
            "job": number.to_bytes(16, "big"),
            "analyst": by.identity_public,
            "modeller": b"m" * 32,
            "statement": statement_hash(SQL),
            "families": (),
            "designs": (),
            "tables": (),
            "purpose": "",
            "project": "",
            "pods": (),
            "created": NOW,
            "expires": NOW + 1,
            **change,
        }
    )
    record = replace(JOB, **{"id": told.job.hex(), **(said or {})})
    document = sign("delegation", encode(told), by.identity)
    order = JobOrder(delegation=document, record=msgspec.json.encode(record))
    return orders.add(order, told, "f", NOW)


def test_a_record_is_what_was_signed_and_of_a_bounded_size(tmp_path):
    orders = kept.Orders(tmp_path)
    for change, said, code in (
        ({}, {"id": "../../escaped"}, "DELEGATION"),
        ({"job": b"../../escaped"}, {}, "DELEGATION"),
        ({"job": b""}, {}, "DELEGATION"),
        ({}, {"statement": SQL.replace("pca", "kmeans")}, "DELEGATION"),
        ({}, {"purpose": "other"}, "DELEGATION"),
        ({}, {"federation": "another"}, "DELEGATION"),
        ({}, {"columns": ("x" * kept.ORDER_BYTES,)}, "BAD_MESSAGE"),
        ({"tables": ("t" * kept.ORDER_BYTES,)}, {}, "BAD_MESSAGE"),
        (
            {"statement": statement_hash("DROP MODEL m")},
            {"statement": "DROP MODEL m"},
            "STATEMENT",
        ),
    ):
        with pytest.raises(Error) as caught:
            given(orders, 1, said=said, **change)
        assert caught.value.code == code
    assert list(tmp_path.rglob("*")) == []
    work = given(orders, 1, said={"state": "finished", "error": "x", "rounds": 9, "modeller": "y"})
    assert (work.job.state, work.job.rounds, work.job.error) == ("waiting", 0, "")
    assert work.folder == tmp_path / "work" / fingerprint(ANA.identity_public) / work.id


def test_who_orders_and_cancels_again_and_again_fills_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 3)
    orders = kept.Orders(tmp_path)
    theirs = given(orders, 1, by=BEN)
    running = given(orders, 2)
    for number in range(3, 9):
        work = given(orders, number)
        work.bench.jobs.cancel(work.id, NOW)
        orders.sweep(30.0, NOW)
    left = [int(work.id, 16) for work in orders.all()]
    assert left == [int(theirs.id, 16), int(running.id, 16), 6, 7, 8]
    assert len(list((tmp_path / "work").glob("*/*"))) == len(left)
