"""A modeller that lies to analysts: it names no file of theirs, plants no model and takes no model's place.

And one that asks pods for more than was ordered: in the clear, or when the analyst's rights have ended.
"""

import threading
import time
from contextlib import closing

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

import podsql
from podsql.analyst.behalf import Behalf
from podsql.analyst.federation import Federation
from podsql.analyst.statement import Statement
from podsql.analyst.training.jobs import Jobs
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.recorded import Job
from podsql.analyst.training.rounds import Rounds
from podsql.engine.merge import Merger
from podsql.engine.training.fitting import Round
from podsql.job_messages import Delegation, JobAsk, JobOrder, JobReply
from podsql.local_federation import LocalFederation
from podsql.messages import decode, decode_as, encode
from podsql.planner.masking import Masking
from podsql.planner.training.designing import plan_design
from podsql.relay.signing import sign
from podsql.relay.sockets.endpoint import Endpoint
from podsql.sum_messages import SumSurvivors

TRAIN = "TRAIN MODEL {} USING linear_regression PREDICT y FROM (SELECT x, y FROM visits)"


class WithModeller(LocalFederation):
    """The test answers for ``mo``."""

    def _roles(self):
        return {**super()._roles(), "mo": "modeller"}


class Hostile:
    """What it says of its jobs, and which model it hands over."""

    def __init__(self):
        self.taken = []
        self.records = self.orders = ()
        self.model = b""

    def serve(self, request):
        message = decode(request.body)
        reply = JobReply(records=self.records, orders=self.orders)
        if isinstance(message, JobOrder):
            self.taken.append(message)
            reply = JobReply()
        elif isinstance(message, JobAsk) and message.act == "model":
            reply = replace(reply, model=self.model)
        request.reply(encode(reply))


@pytest.fixture(scope="module")
def federation():
    x = [float(i % 7) for i in range(60)]
    table = pa.table({"id": range(60), "x": x, "y": [2 * one + i % 2 for i, one in enumerate(x)]})
    made = WithModeller(
        pods={name: {"visits": table} for name in ("north", "south", "west")},
        reference={},
        local_keys={},
        privacy_unit={"visits": "id"},
        policy="open",
        isolation="thread",
        analysts=("ana",),
    )
    made.start()
    with closing(made):
        yield made


@pytest.fixture(scope="module")
def mo(federation):
    me, hostile = federation._members["mo"], Hostile()
    endpoint = Endpoint(
        keys=me.keys,
        relay=me.relay,
        store=me.store,
        egress=me.egress,
        serve=hostile.serve,
        name="mo",
    )
    endpoint.start()
    hostile.endpoint = endpoint
    yield hostile
    endpoint.close()


def ids(con):
    return sorted(row[0] for row in con.execute("SHOW JOBS").fetchall())


def test_what_a_modeller_says_of_jobs_that_nobody_ordered_is_not_written_down(federation, mo):
    mo.records = mo.orders = ()
    with federation.connect() as con:
        con.execute(TRAIN.format("mine"))
        own = ids(con)
        [job] = con.bench.jobs.all()
        told = Delegation(
            job=b"k" * 16,
            analyst=federation._members["ana"].keys.identity_public,
            modeller=federation._members["mo"].keys.identity_public,
            statement=b"",
            families=(),
            designs=(),
            tables=(),
            purpose="",
            project="",
            pods=(),
            created=0,
            expires=0,
        )
        by_mo = sign("delegation", encode(told), federation._members["mo"].keys.identity)
        mo.model = msgspec.json.encode(replace(con.bench.shelf.get("mine"), name="planted"))
        for text in ("../models/mine", "/tmp/planted", "k", (b"k" * 16).hex()):
            said = replace(job, id=text, model="planted", state="finished", ended=1, columns=())
            mo.records = (msgspec.json.encode(said),)
            for orders in ((), (by_mo,), (replace(by_mo, signer=told.analyst),)):
                mo.orders = orders
                assert ids(con) == own
        assert con.bench.shelf.names() == ("mine",)


def test_a_modeller_hands_over_the_model_that_was_ordered_and_no_other(federation, mo):
    mo.records = mo.orders = ()
    with federation.connect() as con:
        con.execute(TRAIN.format("mine"))
        con.execute(TRAIN.format("theirs") + " WITH (detached = true)")
        order = mo.taken[-1]
        record = msgspec.json.decode(order.record, type=Job)
        mine = con.bench.shelf.get("mine")
        done = replace(record, state="finished", ended=1, statement="", columns=(), parameters=())
        true = replace(mine, name="theirs")
        for model, lie in (
            ("mine", replace(mine, trained=1)),
            ("theirs", replace(mine, trained=1)),
            ("theirs", replace(true, features=mine.targets, targets=mine.features)),
            ("theirs", replace(true, targets=())),
            ("theirs", replace(true, federation="ps1" + "a" * 56)),
        ):
            mo.records = (msgspec.json.encode(replace(done, model=model)),)
            mo.model = msgspec.json.encode(lie)
            with pytest.raises(podsql.Error) as caught:
                con.execute("SHOW JOBS")
            assert caught.value.code == "BAD_RESULT"
            assert con.bench.shelf.names() == ("mine",)
            assert con.bench.shelf.get("mine") == mine
        mo.model = msgspec.json.encode(true)
        con.execute("SHOW JOBS")
        assert con.bench.shelf.get("theirs") == true
    told = decode_as(Delegation, order.delegation.body)
    with federation.connect() as elsewhere:  # where the analyst has no record of the job
        assert ids(elsewhere) == []
        mo.orders = (order.delegation,)
        assert ids(elsewhere) == [told.job.hex()]
        assert elsewhere.bench.shelf.get("theirs") == true


def test_an_order_under_masks_is_not_asked_in_the_clear_nor_opened_without_its_analyst(
    federation, mo
):
    mo.records = mo.orders = ()
    text = TRAIN.format("m") + " WITH (detached = true, secure_aggregation = true)"
    with federation.connect() as con:
        con.execute(text)
    document = mo.taken[-1].delegation
    order = decode_as(Delegation, document.body)
    behalf = Federation(
        federation._members["mo"], endpoint=mo.endpoint, behalf=Behalf(document, order)
    )
    statement = Statement(federation=behalf, sql=text, statement_id=order.job, timeout=30.0)
    bound = behalf.bind("", "", deadline=time.monotonic() + 30)
    design = plan_design("SELECT x, y FROM visits", ["y"], bound.training)
    moments = Round(family="moments")
    with pytest.raises(podsql.Error) as caught:
        Rounds(statement, Merger(), bound, design, seconds=30.0).sums(moments)
    assert caught.value.code == "DELEGATION"
    statement.renew()
    masked = MaskedRounds(statement, bound, design, Masking(colluders=1), seconds=30.0)
    assert masked.sums(moments)["n"] == 180
    call, ended = mo.endpoint.call, []

    def ending(to, body, **named):
        if isinstance(body, bytes) and isinstance(decode(body), SumSurvivors) and not ended:
            for pod in federation.pods.values():
                done = threading.Event()
                pod.endpoint.post(lambda: (pod.desk.end(order.analyst), done.set()))  # noqa: B023
                assert done.wait(30)
            ended.append(True)
        return call(to, body, **named)

    mo.endpoint.call = ending
    try:
        with pytest.raises(podsql.Error) as caught:
            masked.sums(moments)
    finally:
        del mo.endpoint.call
    assert ended
    assert caught.value.code == "SUM_RESTART"


@pytest.mark.parametrize("text", ["", "../models/mine", "/tmp/job", "a" * 31, "A" * 32, "a" * 33])
def test_the_id_of_a_job_is_no_path(tmp_path, text):
    place = tmp_path / "jobs"
    job = Job(
        id=text,
        model="m",
        family="pca",
        statement="",
        parameters=(),
        timeout=1.0,
        purpose="",
        project="",
        federation="",
        state="waiting",
        pods=(),
        columns=(),
        start=(),
        started=0,
    )
    with pytest.raises(podsql.Error) as caught:
        Jobs(place).add(job, lambda: None)
    assert caught.value.code == "UNKNOWN_JOB"
    assert list(tmp_path.rglob("*")) == []
