"""NOT IN over a public table is an anti join at the pods, whatever is NULL and whatever is empty."""

import duckdb
import pyarrow as pa
import pytest

import podsql

VISITS = {"a": ["x", "y", None, "q", "q"], "b": ["z", "x", None, "w"]}
CODES = pa.table(
    {
        "code": ["x", "y", "x", None, None, "z"],
        "kind": ["plain", "plain", "holed", "holed", "null", None],
        "number": [1, 2, 3, 4, 5, 6],
    }
)
POLICY = """
version = 1
name = "plain"
text = "Groups leave, and tables meet in inner joins only."
people = "*"
release = "rows"
[joins]
types = ["inner"]
[output]
min_units = 1
[tables."*"]
rows = ["*"]
public = true
[tables."*".columns."*"]
roles = ["join_key", "dimension", "filter", "measure"]
"""
LISTED = "(SELECT c.code FROM codes c WHERE c.kind = '{kind}')"
COUNT = "SELECT count(*), count(code) FROM visits WHERE code NOT IN {listed}"
KINDS = ("plain", "holed", "null", "no such")


def federation(policy=None):
    pods = {name: {"visits": table(codes)} for name, codes in VISITS.items()}
    reference = {"codes": CODES}
    return podsql.local(pods=pods, reference=reference, policy=policy, isolation="thread")


def table(codes):
    return pa.table({"code": codes, "number": range(len(codes))})


@pytest.fixture(scope="module")
def connection():
    with federation() as made:
        yield made.connect()


@pytest.fixture(scope="module")
def pooled():
    con = duckdb.connect()
    con.register("visits", pa.concat_tables([table(one) for one in VISITS.values()]))
    con.register("codes", CODES)
    yield con
    con.close()


def asked(connection, pooled, sql):
    cursor = connection.execute(sql)
    found = sorted(cursor.fetchall(), key=repr)
    assert found == sorted(pooled.sql(sql).fetchall(), key=repr), sql
    return cursor.plan


def joins(plan):
    return any("ANTI JOIN" in stage.fragment.source for stage in plan.stages)


def test_not_in_is_an_anti_join_at_the_pods(connection, pooled):
    for kind in KINDS:
        listed = LISTED.format(kind=kind)
        plan = asked(connection, pooled, COUNT.format(listed=listed))
        assert joins(plan), kind
        assert plan.disclosure == "additive", kind
        for sql in (
            f"SELECT count(*) FROM visits WHERE number > 0 AND NOT (code IN {listed})",
            f"SELECT kind, count(DISTINCT number) FROM codes WHERE code NOT IN {listed} GROUP BY 1",
            f"SELECT code, number FROM codes WHERE code NOT IN {listed} ORDER BY number LIMIT 3",
            f"SELECT count(*) FROM visits v LEFT JOIN codes d ON v.code = d.code AND d.kind = 'plain'"
            f" WHERE d.code NOT IN {listed}",
        ):
            assert joins(asked(connection, pooled, sql)), sql


def test_what_is_not_shown_to_be_an_anti_join_stays_as_it_is(connection, pooled):
    for sql in (
        "SELECT count(*) FROM codes WHERE code NOT IN (SELECT code FROM visits)",
        "SELECT count(*) FROM visits WHERE number NOT IN (SELECT number / 2 FROM codes)",
        "SELECT count(*) FROM visits WHERE code || 'x' NOT IN (SELECT code FROM codes)",
        "SELECT count(*) FROM visits WHERE code NOT IN (SELECT min(code) FROM codes)",
        "SELECT count(*) FROM visits WHERE code NOT IN (SELECT code FROM codes LIMIT 0)",
        "SELECT count(*) FROM visits v WHERE code NOT IN"
        " (SELECT code FROM codes c WHERE c.number = v.number AND code IS NOT NULL)",
        "SELECT count(*) FROM visits WHERE code NOT IN (SELECT code FROM codes) OR number = 1",
    ):
        assert not joins(asked(connection, pooled, sql)), sql


def test_where_a_policy_keeps_tables_apart_the_analyst_joins(tmp_path, pooled):
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    with federation(file) as made:
        connection = made.connect()
        for kind in KINDS:
            plan = asked(connection, pooled, COUNT.format(listed=LISTED.format(kind=kind)))
            assert not joins(plan), kind
