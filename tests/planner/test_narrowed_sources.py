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
