"""One set of pods for what holds the same people, by whatever name it is summed."""

import pytest

from podsql.engine.sums.quorum import quorum
from podsql.errors import Error
from podsql.planner.fragment import Feature, Field, ModelStep
from podsql.pod.cohorts import Cohort
from podsql.pod.config import parse_pod_config
from podsql.pod.origins import origins
from podsql.pod.releasing import Asker, Releasing
from podsql.policy.document import load_preset
from podsql.policy.gate import Gate
from podsql.policy.ledger.store import Ledger
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

CONFIG = """
[tables.visits]
path = "visits.parquet"
[tables."other.again"]
path = "./visits.parquet"
[tables.codes]
path = "codes.csv"
[views.adults]
sql = "SELECT * FROM visits WHERE age >= 18"
[views.first]
sql = "WITH c AS (SELECT * FROM main.adults) SELECT * FROM c JOIN Codes USING (code)"
[views.few]
sql = "SELECT * FROM (SELECT code FROM codes)"
[views.none]
sql = "SELECT 1 AS one"
[views.odd]
sql = "SELECT FROM FROM WHERE ("
"""


def test_tables_and_views_are_traced_to_their_files():
    visits, codes = ("visits.parquet",), ("codes.csv",)
    both = ("codes.csv", "visits.parquet")
    assert origins(parse_pod_config(CONFIG.encode())) == {
        "main.visits": visits,
        "other.again": visits,
        "main.codes": codes,
        "main.adults": visits,
        "main.first": both,
        "main.few": codes,
        "main.none": both,
        "main.odd": both,
    }


def test_a_view_is_summed_with_the_pods_that_its_table_was_summed_with(tmp_path):
    files = origins(parse_pod_config(CONFIG.encode()))
    tables = {
        name: PodTable(
            name=name,
            columns=(Field("id", "BIGINT"), Field("x", "DOUBLE"), Field("code", "BIGINT")),
            privacy_unit="id",
            origins=files[name],
        )
        for name in files
    }
    gate = Gate(pod="north", tables=tables, policy=load_preset("standard"))
    ana = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
    asker = Asker(person=ana, purpose="", project="")
    releasing = Releasing(Ledger(tmp_path / "ledger.sqlite"), b"s" * 32)

    def fix(table, *pods):
        step = ModelStep(
            family="products", source=f"FROM {table}", features=(Feature("f", "x"),), masked=True
        )
        verdict = gate.check(step, person=ana, purpose="", project="", now=1_770_000_000_000)
        cohort = Cohort(pods, quorum(len(pods), 1))
        releasing.claim(verdict, gate.policy, asker, "v1", cohort).bring()

    fix("visits", "east", "north", "west")
    for table in ("visits", "other.again", "adults", "first", "odd"):
        with pytest.raises(Error) as caught:
            fix(table, "east", "north", "south", "west")
        assert caught.value.code == "DENIED"
    fix("few", "east", "north", "south", "west")
    fix("adults", "east", "north", "west")
    releasing.close()
