"""What the planner makes of honest statements passes the gate and means the same."""

import duckdb
import pytest

from podsql.planner.catalog import build_catalog
from podsql.planner.offer import Offer
from podsql.planner.planning import plan
from podsql.planner.render import render
from podsql.policy.denial import Denial

NOW = 1_770_000_000_000
STATEMENTS = [
    "SELECT region, count(*), avg(salary) FROM person GROUP BY region",
    "SELECT region, diag, count(*) FROM person WHERE age BETWEEN 20 AND 60 GROUP BY region, diag ORDER BY 1, 2",
    "SELECT region, stddev_samp(salary), corr(salary, age) FROM person GROUP BY region",
    "SELECT region, regr_slope(salary, age), covar_samp(salary, age), var_pop(age) FROM person GROUP BY region",
    "SELECT region, skewness(salary), kurtosis(salary) FROM person GROUP BY region",
    "SELECT s.city, sum(p.salary) FROM person p JOIN site s USING (hosp_id) GROUP BY s.city HAVING count(*) >= 5",
    "SELECT region, sum(salary) / count(*) AS mean FROM person GROUP BY ALL",
    "SELECT age // 10 * 10 AS band, count(*) FROM person GROUP BY band ORDER BY band",
    "SELECT region, count(*) FILTER (WHERE diag = 'flu') FROM person GROUP BY region",
    "SELECT CASE WHEN age < 40 THEN 'young' ELSE 'old' END AS g, avg(salary) FROM person GROUP BY g",
    "SELECT count(*) FROM person WHERE salary IS NOT NULL",
    "SELECT _pod, region, count(*) FROM person GROUP BY _pod, region",
    "SELECT region, diag, sum(age) FROM person GROUP BY ROLLUP (region, diag)",
    "SELECT region, diag, sum(age) FROM person GROUP BY GROUPING SETS ((region), (diag), ())",
    "SELECT upper(region), sum(age * 2) FROM person WHERE region LIKE 'n%' OR diag IN ('flu', 'hiv') GROUP BY 1",
    "SELECT date_trunc('decade', dob), date_part('century', dob), count(*) FROM person GROUP BY 1, 2",
    "SELECT count(*) FROM person WHERE dob < DATE '2000-01-01' + INTERVAL 3 DAY AND NOT (age = 22)",
    "SELECT city, count(*) FROM site GROUP BY city",
]
OPEN_ONLY = [
    "SELECT min(salary), max(region), bool_and(age > 20), bit_or(age) FROM person",
    "SELECT id, region, salary FROM person WHERE age > 23 ORDER BY salary DESC, id LIMIT 7",
    "SELECT id, md5(name) AS m, age << 2 AS b FROM person",
    "SELECT p.id, s.city FROM person p LEFT JOIN site s ON p.hosp_id = s.hosp_id AND s.city <> 'b'",
    "SELECT sum(CASE WHEN age > 25 THEN 1 ELSE 2 END) FROM person",
    "SELECT product(age), geomean(age) FROM person",
]


@pytest.fixture(scope="module")
def base():
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT i::INTEGER AS id, 'name' || i AS name, (20 + i % 9)::INTEGER AS age,"
        " ['n', 's', NULL][1 + i % 3] AS region, CASE WHEN i % 7 > 0 THEN (i * 37 % 100)::INTEGER END AS salary,"
        " DATE '1990-01-01' + (i * 20)::INTEGER AS dob, ['flu', 'hiv'][1 + i % 2] AS diag,"
        " (i % 4)::INTEGER AS hosp_id FROM range(400) r(i)"
    )
    con.execute("CREATE TABLE visit (id INTEGER, vdate DATE, cost INTEGER, code VARCHAR)")
    con.execute(
        "CREATE TABLE site AS SELECT * FROM (VALUES (0::INTEGER, 'a'), (1, 'b'), (2, 'c')) t(hosp_id, city)"
    )
    yield con
    con.close()


def planned(make_gate, ana, sql, policy):
    gate = make_gate(policy)
    tables = gate.offer_tables(ana, "x", "y", NOW)
    offer = Offer(pod="north", version="1", tables=tables, issued=NOW, expires=NOW + 1)
    return plan(sql, build_catalog({"north": offer}))


@pytest.mark.parametrize("policy", ["open", "standard"])
@pytest.mark.parametrize("sql", STATEMENTS)
def test_planned_statements_pass_and_the_shown_groups_are_those_of_the_plan(
    base, make_gate, judge, ana, sql, policy
):
    for stage in planned(make_gate, ana, sql, policy).stages:
        verdict = judge(stage.fragment, policy)
        expected = base.execute(render(stage.fragment, pod="north")).fetchall()
        found = base.execute(verdict.sql).fetchall()
        if verdict.guard:
            assert all(row[-1] is True for row in found), "every group here is large"
            found = [row[:-1] for row in found]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


@pytest.mark.parametrize("sql", OPEN_ONLY)
def test_what_open_allows_beyond_standard_means_the_same(base, make_gate, judge, ana, sql):
    for stage in planned(make_gate, ana, sql, "open").stages:
        verdict = judge(stage.fragment, "open")
        expected = base.execute(render(stage.fragment, pod="north")).fetchall()
        assert sorted(map(repr, base.execute(verdict.sql).fetchall())) == sorted(
            map(repr, expected)
        )
        with pytest.raises(Denial):
            judge(stage.fragment, "standard")
