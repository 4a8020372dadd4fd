"""A round of a network at the gate: a right of its own, the rules of the columns' sums, bounds on numbers."""

import dataclasses

import duckdb
import msgspec
import numpy as np
import pytest

from podsql.planner.fragment import Feature, Field, TorchStep
from podsql.planner.training.local_steps import MODULE, read_work, weights_of
from podsql.policy.denial import Denial
from podsql.policy.document import load_preset, parse_policy
from podsql.policy.gate import Gate
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
ANA = Person(name="ana", identity=b"a" * 32, fingerprint="ps1aaaaaaaaaaaaaaaa", role="analyst")
POLICY = """
version = 1
name = "city"
people = "*"
allow = [{allow}]
networks = {{min_units = 150, weights = 100}}
[output]
{output}
[tables.person.columns]
id = {{ roles = ["entity_key"] }}
x = {{ roles = ["measure"] }}
smokes = {{ roles = ["measure"] }}
ill = {{ roles = ["measure"] }}
secret = {{ roles = ["dimension"] }}
"""
ALLOW = '"select", "train", "networks"'
ROWS = """SELECT (i % {people})::INTEGER AS id, (i * 37 % 101) / 10.0 AS x, i * 13 % 4 = 0 AS smokes,
    (i * 31 % 7 < 3)::INTEGER AS ill, i % 9 AS secret FROM range(600) r(i)"""


def gate(output="", allow=ALLOW, policy=None):
    shape = [("id", "INTEGER"), ("x", "DOUBLE"), ("smokes", "BOOLEAN")]
    shape += [("ill", "INTEGER"), ("secret", "BIGINT")]
    table = PodTable(
        name="main.person",
        columns=tuple(Field(name, kind) for name, kind in shape),
        privacy_unit="id",
        rows=600,
    )
    document = policy or parse_policy(POLICY.format(allow=allow, output=output).encode())
    return Gate(pod="north", tables={"main.person": table}, policy=document, salt="00")


def step(**changes):
    features = (Feature("c0", "x"), Feature("c1", "smokes", True))
    found = TorchStep(
        module=MODULE,
        source="FROM person",
        state=b"",
        features=features,
        targets=(Feature("c2", "ill"),),
        centre=(5.0, 0.25),
        scale=(3.0, 0.4),
        hidden=(4,),
        loss="logistic",
    )
    found = msgspec.structs.replace(found, **changes)
    if "state" in changes:
        return found
    weights = np.linspace(-1, 1, weights_of(found)).astype("<f4")
    return msgspec.structs.replace(found, state=weights.tobytes())


def judged(fragment, at=None):
    return (at or gate()).check(fragment, person=ANA, purpose="p", project="q", now=NOW)


def denied(fragment, at=None):
    with pytest.raises(Denial) as caught:
        judged(fragment, at)
    return caught.value.reason


def checked(verdict, people=300):
    con = duckdb.connect()
    con.execute(f"CREATE TABLE person AS {ROWS.format(people=people)}")
    [row] = con.sql(verdict.sql).to_arrow_table().to_pylist()
    return row, con


def test_the_right_is_one_of_its_own():
    assert judged(step()).family == "network"
    for allow in ('"select"', '"select", "train"', '"select", "networks"', '"networks", "predict"'):
        assert denied(step(), gate(allow=allow)) == "DENIED_TABLE"
    for preset in ("standard", "strict", "dp"):
        assert denied(step(), gate(policy=load_preset(preset))) == "DENIED_TABLE"
    bare = judged(step(), gate(policy=load_preset("open")))
    assert (bare.guard, bare.min_units) == (False, 0)
    row, con = checked(bare)
    assert row == {"n": 600, "dropped": 0}
    con.execute("UPDATE person SET x = NULL WHERE id < 10")
    assert con.sql(bare.sql).fetchall() == [(580, 20)]


def test_a_round_is_checked_by_the_sums_of_its_columns_and_by_who_is_behind_it():
    verdict = judged(step())
    assert (verdict.guard, verdict.min_units, verdict.figures) == (True, 150, 4 * 3 + 5)
    row, con = checked(verdict)
    assert (row["n"], row["dropped"], row["_ok"]) == (600, 0, True)
    work = read_work(verdict.work)
    found = con.execute(work.sql).fetchall()
    assert len(found) == 600
    assert found == sorted(found)
    assert (work.step.source, work.step.features[0].sql) == ("", "")
    # as many rows of fewer people are not enough, nor is a condition that few meet
    assert checked(verdict, people=149)[0]["_ok"] is False
    assert checked(verdict, people=150)[0]["_ok"] is True
    few = step(features=(Feature("c0", "x"), Feature("c1", "smokes AND ill = 1", True)))
    assert denied(few) == "FILTER_ROLE"
    con.execute("UPDATE person SET smokes = id < 3")
    [row] = con.sql(verdict.sql).to_arrow_table().to_pylist()
    assert row["_ok"] is False


def test_rules_that_no_update_can_keep_deny_it():
    assert denied(step(), gate("overlap_guard = 10")) == "ROUNDS"
    assert denied(step(), gate("round_base = 5")) == "ROUNDED"
    capped = judged(step(), gate("caps = {per_day = 100, total = 1000}"))
    assert capped.needs_ledger
    noisy = POLICY.format(allow=ALLOW, output="").replace(
        'name = "city"', 'name = "city"\nrelease = "dp"'
    )
    assert denied(step(), gate(policy=parse_policy(noisy.encode()))) == "CONFLICTING_RELEASE"


def test_columns_are_held_to_their_roles():
    for sql, reason in [
        ("id", "FILTER_KEY_LITERAL"),
        ("secret", "AGG_NOT_ALLOWED"),
        ("name", "DENIED_COLUMN"),
        ("sum(x)", "ROW_LEVEL"),
    ]:
        changed = step(features=(Feature("c0", sql), Feature("c1", "smokes", True)))
        assert denied(changed) is not None, (sql, reason)
    # what must be 0 or 1 is a column, not a comparison in disguise
    assert denied(step(targets=(Feature("c2", "x - 3"),))) == "PREDICATE_IN_AGG"
    assert denied(step(source="FROM person; DROP TABLE person")) is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"module": "pickle/1"}, "FRAGMENT_KIND"),
        ({"hidden": (40,)}, "LIMIT"),
        ({"state": b""}, "MODEL_STATE"),
        ({"state": np.full(17, np.inf, "<f4").tobytes()}, "MODEL_STATE"),
        ({"loss": "softmax"}, "PREDICATE_IN_AGG"),
        ({"loss": "hinge"}, "MODEL_STATE"),
        ({"rate": float("nan")}, "MODEL_STATE"),
        ({"epochs": 10**7}, "MODEL_STATE"),
        ({"scale": (1.0, 0.0)}, "MODEL_STATE"),
        ({"centre": (), "scale": ()}, "MODEL_STATE"),
        ({"hidden": (-3,)}, "MODEL_STATE"),
        ({"features": ()}, "LIMIT"),
    ],
)
def test_numbers_out_of_their_bounds_are_denied(changes, reason):
    if "features" in changes or "hidden" in changes:
        changes = {"state": bytes(4 * 17), **changes}
    assert denied(step(**changes)) == reason


def test_a_seed_and_a_round_make_another_order_at_each_pod():
    first = read_work(judged(step(seed=1, number=2)).work).seed
    seeds = {first}
    for changes in ({"seed": 2, "number": 2}, {"seed": 1, "number": 3}):
        seeds.add(read_work(judged(step(**changes)).work).seed)
    at = gate()
    at.pod = "south"
    seeds.add(read_work(judged(step(seed=1, number=2), at).work).seed)
    assert len(seeds) == 4
    assert read_work(judged(step(seed=1, number=2)).work).seed == first


def test_rounds_of_one_design_are_one_design():
    one, two = judged(step()), judged(step(seed=9, number=7, rate=0.5, hidden=(3,)))
    assert one.model is not None
    assert two.model is not None
    assert one.model.mark == two.model.mark
    assert dataclasses.replace(one, sql="").network.rounds == 1000
