"""Faults that DuckDB's public test files found, each with the right answer."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
from splits import VISITS, build, rows_of

from podsql.errors import Error

LABS = [(0, 1.0, "hb"), (2, 5.0, "crp"), (2, 7.0, "hb")]


@pytest.fixture(scope="module")
def federation():
    """Three visits (``id``, ``age``), each in a pod of its own, and three labs."""
    visits = [
        tuple({"id": n, "age": age, "small": n}.get(name) for name in VISITS)
        for n, age in enumerate([30, 40, None])
    ]
    made = build("one row a pod", rows=(visits, LABS))
    yield made
    made.close()


def rows(federation, sql):
    return rows_of(federation.answer(sql)[1])


def test_a_star_at_the_analyst_stands_for_the_tables_columns_only(federation):
    made, found = federation.answer("SELECT * FROM labs a JOIN labs b ON a.value < b.value - 3")
    assert found.column_names == [f.name for f in made.columns] == [*["id", "value", "kind"] * 2]
    assert len(rows_of(found)) == 2
    with pytest.raises(Error) as refusal:
        federation.answer("SELECT a.*, b._pod FROM labs a JOIN labs b ON a.value < b.value")
    assert refusal.value.code == "NOT_LOCAL"


def test_a_star_stands_for_what_it_did_where_a_subquery_became_a_join(federation):
    sql = "SELECT * FROM labs WHERE value = (SELECT max(value) FROM labs l WHERE l.id = labs.id)"
    assert sorted(rows(federation, sql)) == [(0, 1.0, "hb"), (2, 7.0, "hb")]


def test_planning_ends_where_an_aggregate_holds_a_subquery(federation):
    sql = "SELECT sum(small) FILTER (WHERE age < (SELECT 35)) FROM visits GROUP BY ok"
    assert rows(federation, sql) == [(0,)]


def test_a_subquery_that_names_only_what_is_outside_is_run_in_place(federation):
    sql = "SELECT CASE WHEN 40 IN (SELECT (SELECT max(age))) THEN 2 END AS x FROM visits"
    assert rows(federation, sql) == [(2,)]
    sql = "SELECT id, (SELECT s.a FROM (SELECT 1 + visits.age AS a) s) FROM visits ORDER BY id"
    assert rows(federation, sql) == [(0, 31), (1, 41), (2, None)]


def test_aggregates_heed_their_own_order(federation):
    sql = "SELECT string_agg(kind ORDER BY value DESC), first(id ORDER BY value DESC) FROM labs"
    assert rows(federation, sql) == [("hb,crp,hb", 2)]


def test_a_set_operation_is_ordered_by_what_an_arm_selects(federation):
    sql = "SELECT 0 - id AS k FROM visits UNION SELECT 9 + id AS l FROM visits ORDER BY 9 + id DESC"
    assert rows(federation, sql) == [(11,), (10,), (9,), (0,), (-1,), (-2,)]
    with pytest.raises(Error) as refusal:
        federation.answer("SELECT id FROM visits UNION SELECT id FROM labs ORDER BY id + value")
    assert refusal.value.code in ("NOT_SUPPORTED", "BINDING")
