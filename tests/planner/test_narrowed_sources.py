"""Public tables travel as far as the statement needs them, and the answer stays the same."""

import duckdb
import pyarrow as pa
import pytest

import podsql

PARTS = pa.table({"part": [1, 2, 3, 4], "size": [1, 1, 9, None], "stock": [10, 20, 30, 40]})
OFFERS = pa.table(
    {"part": [1, 1, 2, 3, None], "stock": [10, 11, 20, 30, 5], "cost": [5, 4, 3, 2, 1]}
)
TAIL = " AND cost < (SELECT avg(l.cost) + max(v.age) FROM offers l, visits v WHERE l.part = {key})"


@pytest.fixture(scope="module")
def connection():
    pods = {name: {"visits": pa.table({"age": [age]})} for name, age in (("a", 1), ("b", 2))}
    reference = {"parts": PARTS, "offers": OFFERS}
    with podsql.local(pods=pods, reference=reference, isolation="thread") as federation:
        yield federation.connect()


@pytest.fixture(scope="module")
def pooled():
    con = duckdb.connect()
    visits = pa.table({"age": [1, 2]})
    for name, table in (("parts", PARTS), ("offers", OFFERS), ("visits", visits)):
        con.register(name, table)
    yield con
    con.close()


@pytest.mark.parametrize(
    ("joined", "narrowed"),
    [
        ("parts p, offers o WHERE p.part = o.part AND p.size = 1", True),
        ("parts p JOIN offers o ON p.part = o.part AND p.size = 1 WHERE true", True),
        ("parts p, offers o WHERE p.part = o.part AND p.stock = o.stock AND p.size = 1", True),
        ("offers o SEMI JOIN parts p ON p.part = o.part AND p.size = 1 WHERE true", True),
        ("offers o LEFT JOIN parts p ON p.part = o.part AND p.size = 1 WHERE true", False),
        ("offers o ANTI JOIN parts p ON p.part = o.part AND p.size = 1 WHERE true", False),
        ("parts p RIGHT JOIN offers o ON p.part = o.part AND p.size = 1 WHERE true", False),
        ("parts p, offers o WHERE p.part < o.part AND p.size = 1", False),
    ],
)
def test_only_rows_with_a_partner_travel(connection, pooled, joined, narrowed):
    sql = f"SELECT o.part, o.cost FROM {joined}" + TAIL.format(key="o.part")
    cursor = connection.execute(sql)
    assert sorted(cursor.fetchall(), key=repr) == sorted(pooled.sql(sql).fetchall(), key=repr)
    sources = [stage.fragment.source for stage in cursor.plan.stages]
    assert any("SEMI JOIN" in source for source in sources) == narrowed


@pytest.mark.parametrize("kind", ["RIGHT", "FULL"])
@pytest.mark.parametrize("first", ["parts f", "visits f"])
def test_a_comma_binds_less_than_a_join(connection, pooled, first, kind):
    for between in (",", "CROSS JOIN"):
        sql = f"SELECT f.*, p.*, o.cost FROM {first} {between} parts p {kind} JOIN offers o"
        sql += " ON p.part = o.part AND p.size = 1"
        found = sorted(connection.execute(sql).fetchall(), key=repr)
        assert found == sorted(pooled.sql(sql).fetchall(), key=repr), sql


GROUPED = "(SELECT key, count(*) AS n FROM sales GROUP BY key) g"
SALES = {"a": [1, 1, 2, None], "b": [1, 3, 4]}
POLICY = """
version = 1
name = "plain"
text = "Rows leave, and tables meet in inner joins only."
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


@pytest.fixture(scope="module")
def shop():
    con = duckdb.connect()
    con.register("parts", PARTS)
    con.register("offers", OFFERS)
    con.register("sales", pa.table({"key": [one for keys in SALES.values() for one in keys]}))
    yield con
    con.close()


@pytest.mark.parametrize("policy", [None, POLICY], ids=["no policy", "inner joins only"])
def test_only_groups_with_a_partner_travel_where_a_policy_lets_them_meet(tmp_path, shop, policy):
    file = tmp_path / "policy.toml"
    file.write_text(policy or "")
    sql = f"SELECT p.part, g.n FROM parts p LEFT JOIN {GROUPED} ON g.key = p.part WHERE p.size = 1"
    with podsql.local(
        pods={name: {"sales": pa.table({"key": keys})} for name, keys in SALES.items()},
        reference={"parts": PARTS, "offers": OFFERS},
        policy=file if policy else None,
        isolation="thread",
    ) as federation:
        connection = federation.connect()
        cursor = connection.execute(sql)
        assert sorted(cursor.fetchall()) == sorted(shop.sql(sql).fetchall())
        sales = [one for one in cursor.plan.stages if '"sales"' in one.fragment.source]
        assert [one.met for one in sales] == [policy is None]
        assert sum(one.rows for one in cursor.receipt if one.stage == sales[0].name) == (
            3 if policy is None else 6
        )
        sql = (
            "SELECT p.part, g.n, g.c FROM parts p LEFT JOIN "
            "(SELECT part, count(*) AS n, min(cost) AS c FROM offers GROUP BY part) g "
            "ON g.part = p.part AND g.n > 1 WHERE p.size = 1"
        )
        cursor = connection.execute(sql)
        assert sorted(cursor.fetchall()) == sorted(shop.sql(sql).fetchall())
        assert len(cursor.plan.stages) == (1 if policy is None else 2)
        said = connection.execute(f"EXPLAIN POLICY {sql}").fetch_arrow_table()
        assert set(said["decision"].to_pylist()) == {"allow"}
