"""What a statement under masks counts against the caps: nothing of a pod's own groups shows in what is left."""

import pyarrow as pa
import pytest

from podsql.planner.fragment import Aggregate, Column, Field
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
[output]
caps = { per_day = 100, total = 200 }
[tables.person.columns]
id = { roles = ["entity_key"] }
town = { roles = ["dimension", "filter"], values = ["a", "b", "c"] }
"""
ANA = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
ASKER = Asker(person=ANA, purpose="x", project="p")


@pytest.fixture(scope="module")
def gate():
    columns = (Field("id", "BIGINT"), Field("town", "VARCHAR"))
    table = PodTable(name="main.person", columns=columns, privacy_unit="id")
    return Gate(pod="north", tables={"main.person": table}, policy=parse_policy(POLICY))


@pytest.fixture
def releasing(tmp_path):
    found = Releasing(Ledger(tmp_path / "ledger.sqlite"), b"s" * 32)
    yield found
    found.close()


@pytest.mark.parametrize("towns", [[], ["a"], ["a", "b", None], ["a", "b", "c", "d", "e", "f"]])
@pytest.mark.parametrize("shown", [True, False])
def test_the_caps_count_all_groups_of_the_lists_whatever_a_pod_has(gate, releasing, towns, shown):
    asked = Aggregate(
        source="FROM person WHERE town <> 'z'",
        keys=(Column("town", "town", "VARCHAR", "key"),),
        aggregates=(Column("n", "count(*)", "BIGINT", "additive"),),
        masked=True,
    )
    verdict = gate.check(asked, person=ANA, purpose="x", project="p", now=NOW)
    rows = pa.table(
        {
            "town": pa.array(towns, pa.string()),
            "n": pa.array([50] * len(towns), pa.int64()),
            "_ok": pa.array([shown] * len(towns), pa.bool_()),
        }
    )
    released = releasing.guard(as_ipc(rows), verdict, gate.policy, ASKER, NOW)
    assert released.withheld == (0 if shown else len(towns))
    assert releasing.counted(gate.policy, ASKER, NOW)["figures"] == (4, 4)
