"""Release ``sdc_merged`` through real pods: thresholds on the total, and nobody sees one pod's people."""

import duckdb
import pytest
from masked_world import failing

import podsql

PODS = ("p0", "p1", "p2", "p3", "p4")
MASKS = " WITH (secure_aggregation = true)"
POLICY = """
version = 1
name = "totals"
people = "*"
allow = ["select"]
release = "sdc_merged"
[output]
min_units = 10
[tables."*".columns]
"*" = {roles = ["dimension", "filter", "measure"]}
kind = {roles = ["dimension", "filter"], values = ["often", "rare", "few", "one", "big", "nobody"]}
"""
PATIENTS = """
SELECT p * 1000 + j AS id, p AS pod, (20 + j % 50)::INTEGER AS age, j % 2 = 0 AS flag,
  CASE WHEN j < 3 THEN 'rare' WHEN j = 3 AND p < 4 THEN 'few' WHEN p = 0 AND j < 30 THEN 'one'
       WHEN p = 1 AND j < 30 OR j = 30 AND p IN (2, 3) THEN 'big' ELSE 'often' END AS kind
FROM range(5) a(p), range(200) b(j)
"""


@pytest.fixture(scope="module")
def pooled():
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE patients AS {PATIENTS}")
        yield con


@pytest.fixture(scope="module")
def federation(pooled, tmp_path_factory):
    file = tmp_path_factory.mktemp("policy") / "totals.toml"
    file.write_text(POLICY)
    pods = {
        name: {
            "patients": pooled.sql(
                f"SELECT * EXCLUDE pod FROM patients WHERE pod = {at}"
            ).to_arrow_table()
        }
        for at, name in enumerate(PODS)
    }
    with podsql.local(
        pods=pods, privacy_unit={"patients": "id"}, policy=file, isolation="thread"
    ) as made:
        yield made


@pytest.fixture
def con(federation):
    with federation.connect() as made:
        yield made


BY_KIND = "SELECT kind, count(*) FROM patients GROUP BY kind"


def test_a_rare_group_is_answered_and_one_below_the_minimum_is_not(con, pooled):
    cursor = con.execute(f"{BY_KIND} ORDER BY kind{MASKS}")
    known = pooled.execute(
        f"{BY_KIND} HAVING kind IN ('rare', 'often') ORDER BY kind"
    ).fetchall()
    assert cursor.fetchall() == known
    assert ("rare", 15) in known
    assert cursor.withheld == 1
    assert cursor.release == "exact"
    # Not the total beside them, which less these groups would tell of the others.
    failing(con, "SELECT count(*) FROM patients" + MASKS, "WITHHELD")
    # The same again is the same.
    assert con.execute(f"{BY_KIND} ORDER BY kind{MASKS}").fetchall() == known
