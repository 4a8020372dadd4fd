"""The last step of a statement ends at its deadline, or when that statement is cancelled."""

import threading
import time

import pytest

from podsql.engine.merge import Merger
from podsql.errors import Error
from podsql.planner.fragment import Field
from podsql.planner.plan import Plan

ENDLESS = Plan(
    statement="",
    stages=(),
    final="SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE a.i * b.j % 7 = 3",
    columns=(Field("n", "BIGINT"),),
    tables=(),
)
SHORT = Plan(
    statement="",
    stages=(),
    final="SELECT count(*) FROM range(20000000) a(i) WHERE a.i % 7 = 3",
    columns=(Field("n", "BIGINT"),),
    tables=(),
)


@pytest.fixture
def merger():
    made = Merger()
    yield made
    made.close()


def stopping(merger, ticket, done):
    """A thread that goes on telling ``merger`` to end the run of ``ticket``."""

    def tell():
        while not done.wait(0.005):
            merger.stop(ticket)

    thread = threading.Thread(target=tell)
    thread.start()
    return thread


def test_a_run_ends_at_its_deadline(merger):
    with pytest.raises(Error) as fault:
        merger.run(ENDLESS, {}, deadline=time.monotonic() + 0.05)
    assert fault.value.code == "TIMEOUT"


def test_a_run_ends_when_its_own_statement_is_cancelled(merger):
    own, done = object(), threading.Event()
    thread = stopping(merger, own, done)
    try:
        with pytest.raises(Error) as fault:
            merger.run(ENDLESS, {}, ticket=own)
    finally:
        done.set()
        thread.join()
    assert fault.value.code == "CANCELLED"


def test_an_earlier_statement_that_is_cancelled_late_ends_no_later_one(merger):
    earlier, later, done = object(), object(), threading.Event()
    merger.run(SHORT, {}, ticket=earlier)
    thread = stopping(merger, earlier, done)
    try:
        answer = merger.run(SHORT, {}, ticket=later)
    finally:
        done.set()
        thread.join()
    assert answer.to_pydict() == {"n": [2857143]}
