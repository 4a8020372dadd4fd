"""A series of noisy rounds at the ledger: one charge, each round once, whatever fails in between."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from podsql.errors import Error
from podsql.planner.fragment import Feature, Field, NoisyStep
from podsql.pod.releasing import Asker, Releasing, as_ipc
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.ledger.store import Ledger
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
POLICY = b"""
version = 1
name = "city"
people = "*"
allow = ["train"]
release = "dp"
[dp]
epsilon_per_query = 1.0
epsilon_budget = 1.2
delta = 1e-5
noise = "python"
[tables.person.columns]
id = { roles = ["entity_key"] }
x = { roles = ["measure"], bounds = [0, 1] }
y = { roles = ["measure"], bounds = [0, 1] }
"""
ANA = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
ASKER = Asker(person=ANA, purpose="x", project="p")


@pytest.fixture(scope="module")
def gate():
    columns = tuple(Field(name, "DOUBLE") for name in ("id", "x", "y"))
    table = PodTable(name="main.person", columns=columns, privacy_unit="id")
    return Gate(pod="north", tables={"main.person": table}, policy=parse_policy(POLICY), salt="5a")


@pytest.fixture
def releasing(tmp_path):
    found = Releasing(Ledger(tmp_path / "ledger.sqlite", witness=tmp_path / "seen"), b"s" * 32)
    yield found
    found.close()


def round_of(gate, number=0, state=(), series=b""):
    step = NoisyStep(
        family="binomial",
        source="FROM person",
        features=(Feature("f0", "x"),),
        targets=(Feature("f1", "y"),),
        rounds=3,
        number=number,
        state=state,
        series=series,
    )
    return gate.check(step, person=ANA, purpose="x", project="p", now=NOW)


def pay(releasing, gate, verdict, request, data="v1"):
    return releasing.charge(verdict, gate.policy, ASKER, data, request.to_bytes(16, "big"), NOW)


def leave(releasing, gate, verdict, request=9):
    """What leaves of a round whose integers are these."""
    names = [*(field.name for field in verdict.fields), "n"]
    raw = as_ipc(pa.table({name: pa.array([7 << 30], pa.int64()) for name in names}))
    mark = request.to_bytes(16, "big")
    return releasing.noise(raw, verdict, gate.policy, ASKER, "v1", mark)


def charges(releasing):
    return len(releasing._ledger.charges())


def test_a_series_is_paid_once_and_each_of_its_rounds_leaves_once(releasing, gate):
    first = round_of(gate)
    assert pay(releasing, gate, first, 1) is None
    # The pod ends here, or the round fails: asked again, it runs again and is not paid for again.
    assert pay(releasing, gate, first, 2) is None
    left = leave(releasing, gate, first)
    assert leave(releasing, gate, first) == left  # the second of two that ran at once
    assert pay(releasing, gate, first, 3) == left
    later = round_of(gate, 1, (0.0, 0.0))
    assert pay(releasing, gate, later, 4) is None
    score = leave(releasing, gate, later)
    assert pay(releasing, gate, later, 5) == score != left
    other = round_of(gate, 1, (0.0, 0.5))
    for again in (
        lambda: pay(releasing, gate, other, 6),
        lambda: leave(releasing, gate, other),
    ):
        with pytest.raises(Error) as caught:
            again()
        assert caught.value.code == "CONFLICT"
    assert charges(releasing) == 1
    # Another series, or the same over other data, has a price of its own, which is not left.
    for verdict, data in ((round_of(gate, series=b"t" * 16), "v1"), (first, "v2")):
        with pytest.raises(Error) as caught:
            pay(releasing, gate, verdict, 7, data)
        assert caught.value.code == "BUDGET"
    assert (
        pay(releasing, gate, round_of(gate, 2, (1.0, 1.0)), 8) is None
    )  # but this one was paid for
    assert charges(releasing) == 1


def test_of_rounds_that_are_asked_at_once_one_pays_and_one_leaves(releasing, gate):
    first = round_of(gate)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda n: pay(releasing, gate, first, n), range(8))) == {None}
        left = set(pool.map(lambda _: leave(releasing, gate, first).arrow, range(8)))
    assert len(left) == 1
    assert charges(releasing) == 1


def test_what_a_series_costs_is_told_before_and_nothing_after(releasing, gate):
    first = round_of(gate)
    told = releasing.prospect(first, gate.policy, ASKER, "v1", NOW)
    assert told.epsilon == pytest.approx(1.0, abs=1e-3)
    assert told.fits == 1
    pay(releasing, gate, first, 1)
    told = releasing.prospect(round_of(gate, 2, (1.0, 1.0)), gate.policy, ASKER, "v1", NOW)
    assert told.epsilon == 0.0
    assert told.epsilon_left == pytest.approx(0.2, abs=1e-3)
