"""Groups of public tables are compared with a total of their own rows without a second question."""

import decimal

import duckdb
import pyarrow as pa
import pytest

import podsql

_CENTS = pa.decimal128(10, 2)
STOCK = pa.table(
    {
        "part": [1, 1, 2, 2, 3, None, None, 4],
        "shelf": [1, 2, 1, None, 1, 1, 2, 3],
        "n": pa.array([10, 20, None, 5, 1, 7, 1, None], pa.int32()),
        "cost": pa.array([decimal.Decimal(one) / 4 for one in (5, 9, 1, 0, 3, 8, 2, 4)], _CENTS),
        "weight": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
    }
)
ROWS = "FROM stock s, shelves h WHERE s.shelf = h.shelf AND h.shelf < 3"


@pytest.fixture(scope="module")
def connection():
    pods = {name: {"visits": STOCK.slice(at, 4)} for name, at in (("a", 0), ("b", 4))}
    reference = {"stock": STOCK, "shelves": pa.table({"shelf": [1, 2, 3]})}
    with podsql.local(pods=pods, reference=reference, isolation="thread") as federation:
        yield federation.connect()


@pytest.fixture(scope="module")
def pooled():
    con = duckdb.connect()
    con.register("stock", STOCK)
    con.register("visits", STOCK)
    con.register("shelves", pa.table({"shelf": [1, 2, 3]}))
    yield con
    con.close()


def having(condition, *, rows=ROWS, items="part, sum(n) AS total", group="part"):
    return f"SELECT {items} {rows} GROUP BY {group} HAVING {condition}"


ONCE = {
    "a share of the sum": having(f"sum(n) > (SELECT sum(n) * 0.2 {ROWS})"),
    "of decimals": having(f"sum(cost * n) * 4 >= (SELECT sum(cost * n) {ROWS})"),
    "more than one figure": having(f"sum(n) > (SELECT sum(n) / count(*) + min(n) {ROWS})"),
    "a count of values": having(f"count(*) * 2 <= (SELECT count(n) {ROWS})"),
    "under a filter": having(f"sum(n) > (SELECT sum(n) FILTER (WHERE s.shelf = 2) {ROWS})"),
    "a filter that none passes": having(f"sum(n) > (SELECT sum(n) FILTER (WHERE n > 99) {ROWS})"),
    "beside another condition": having(f"count(*) > 1 AND max(n) < (SELECT max(n) {ROWS})"),
    "two totals": having(f"max(n) < (SELECT max(n) {ROWS}) OR min(n) > (SELECT sum(n) {ROWS})"),
    "a column that is hidden by an alias": having(
        f"sum(s.n) > (SELECT sum(n) * 0.2 {ROWS})", items="part, sum(n) AS n"
    ),
    "no rows": having(
        "count(*) >= (SELECT count(*) FROM stock WHERE n > 99)", rows="FROM stock WHERE n > 99"
    ),
    "ordered and cut": having(f"sum(n) < (SELECT sum(n) {ROWS}) ORDER BY total DESC LIMIT 2"),
}
TWICE = {
    "another WHERE": having(f"sum(n) > (SELECT sum(n) * 0.2 {ROWS} AND n > 5)"),
    "another FROM": having("sum(n) > (SELECT sum(n) * 0.2 FROM stock)"),
    "doubles": having(f"sum(weight) > (SELECT sum(weight) * 0.2 {ROWS})"),
    "an average": having(f"sum(n) > (SELECT avg(n) {ROWS})"),
    "different values": having(f"count(*) < (SELECT count(DISTINCT n) {ROWS})"),
    "a rollup": having(f"sum(n) > (SELECT sum(n) * 0.2 {ROWS})", group="ROLLUP (part)"),
    "sets": having(f"sum(n) > (SELECT sum(n) * 0.2 {ROWS})", group="GROUPING SETS ((part), ())"),
    "a window": having(
        f"sum(n) > (SELECT sum(n) * 0.2 {ROWS})", items="part, count(*) OVER () AS kept"
    ),
    "an alias": having(f"total > (SELECT sum(n) * 0.2 {ROWS})"),
    "groups of its own": having(
        "sum(n) >= (SELECT max(n) FROM stock GROUP BY ALL)", rows="FROM stock"
    ),
    "rows of pods": having("sum(n) > (SELECT sum(n) * 0.2 FROM visits)", rows="FROM visits"),
}


@pytest.mark.parametrize(("statements", "stages"), [(ONCE, 1), (TWICE, 2)], ids=["once", "twice"])
def test_a_total_of_the_same_rows_is_made_of_the_groups(connection, pooled, statements, stages):
    for name, sql in statements.items():
        cursor = connection.execute(sql)
        found = sorted(cursor.fetchall(), key=repr)
        assert found == sorted(pooled.sql(sql).fetchall(), key=repr), name
        assert len(cursor.plan.stages) == stages, name
