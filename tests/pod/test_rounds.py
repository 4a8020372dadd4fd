"""Designs of models that left before: for whom, and over what, they are not judged again."""

import pytest

from podsql.planner.fragment import Feature, Field, ModelStep
from podsql.pod.releasing import DESIGNS, Asker, Releasing
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.ledger.store import Ledger
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

ANA = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
BOB = Person(name="bob", identity=b"b" * 32, fingerprint="ps1" + "b" * 56)
TABLE = PodTable(
    name="main.t",
    columns=(Field("id", "INTEGER"), Field("x", "INTEGER"), Field("z", "INTEGER")),
    privacy_unit="id",
)
DOCUMENT = """
version = 1
name = "t"
people = "*"
{more}
allow = ["select", "train"]
[output]
min_units = {least}
[output.caps]
per_day = 20
total = 20
[tables."*".columns."*"]
roles = ["join_key", "dimension", "filter", "measure"]
"""


@pytest.fixture
def releasing(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", witness=tmp_path / "witness")
    made = Releasing(ledger, b"s" * 32)
    yield made
    made.close()


def policy(least=10, more=""):
    return parse_policy(DOCUMENT.format(least=least, more=more).encode())


def step(feature="x", family="products", state=()):
    return ModelStep(family=family, source="FROM t", features=(Feature("a", feature),), state=state)


def verdict(rules, fragment, person=ANA):
    gate = Gate(pod="p", tables={"main.t": TABLE}, policy=rules, salt="5a")
    return gate.check(fragment, person=person, purpose="", project="one", now=1_770_000_000_000)


def asker(person=ANA, project="one"):
    return Asker(person=person, purpose="", project=project)


def is_light(releasing, rules, fragment, who, version="v1"):
    found = verdict(rules, fragment, who.person)
    light = releasing.lightened(found, rules, who, version)
    assert light.sql == (found.again if light is not found else found.sql)
    return light is not found


def test_a_design_is_light_for_the_same_project_policy_and_data_alone(releasing):
    rules = policy(more='projects = ["one", "two"]')
    releasing.design_left(verdict(rules, step()), rules, asker(), "v1")
    assert is_light(releasing, rules, step(), asker())
    assert is_light(releasing, rules, step(family="kmeans", state=(1.0,)), asker())
    assert is_light(releasing, rules, step(), asker(BOB))
    assert not is_light(releasing, rules, step(), asker(project="two"))
    assert not is_light(releasing, rules, step(), asker(), version="v2")
    assert not is_light(releasing, rules, step("z"), asker())
    assert not is_light(releasing, policy(20, 'projects = ["one", "two"]'), step(), asker())


def test_where_no_project_is_listed_a_design_is_one_persons(releasing):
    rules = policy()
    releasing.design_left(verdict(rules, step()), rules, asker(), "v1")
    assert is_light(releasing, rules, step(), asker(project="any other"))
    assert not is_light(releasing, rules, step(), asker(BOB))


def test_designs_are_forgotten_in_order(releasing):
    rules = policy()
    found = verdict(rules, step())
    releasing.design_left(found, rules, asker(), "v0")
    assert is_light(releasing, rules, step(), asker(), "v0")
    for number in range(DESIGNS):
        releasing.design_left(found, rules, asker(), f"v{number + 1}")
    assert not is_light(releasing, rules, step(), asker(), "v0")


def test_later_rounds_count_against_the_caps(releasing):
    rules = policy()
    found = verdict(rules, step())
    releasing.design_left(found, rules, asker(), "v1")
    light = releasing.lightened(found, rules, asker(), "v1")
    assert light.needs_ledger
    assert light.cells == 0
