"""Changes that cannot change an answer: other names of pods, a pod without rows, a split filter."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from splits import build, first_difference, make_rows, rows_of, same

from podsql.engine.merge import Merger
from podsql.planner.planning import plan
from podsql.planner.render import render

RENAMED = {"alpha": "delta", "beta": "alpha", "gamma": "omicron", "delta": "beta"}
STATEMENTS = [
    "SELECT count(*), sum(age), sum(price), avg(w), stddev(w), corr(w, age) FROM visits",
    "SELECT sex, count(*), avg(price), var_pop(w), min(d), max(ts) FROM visits GROUP BY sex",
    "SELECT sex, ok, grouping(sex) AS g, sum(big) FROM visits GROUP BY CUBE (sex, ok)",
    "SELECT kind, count(*), avg(value) FROM visits JOIN labs USING (id) GROUP BY kind",
    "SELECT label, sum(weight) FROM visits LEFT JOIN codes USING (code) GROUP BY label",
    "SELECT code, rank() OVER (ORDER BY count(*) DESC) AS r FROM visits GROUP BY code",
    "SELECT id, w, age FROM visits WHERE ok ORDER BY id LIMIT 7",
    "SELECT label, count(*) FROM codes GROUP BY label",
]
PREDICATES = ["age > 40", "sex = 'f'", "w < 1.5 AND ok", "code LIKE 'a%'", "f > 1"]


@pytest.fixture(scope="module", params=["random", "skewed", "an empty pod"])
def split(request):
    return request.param


@pytest.fixture(scope="module")
def federation(split):
    made = build(split, seed=3)
    yield made
    made.close()


@pytest.mark.parametrize("change", [{"rename": RENAMED}, {"extra_empty": True}], ids=str)
def test_names_and_empty_pods_do_not_change_an_answer(split, federation, change):
    other = build(split, seed=3, **change)
    for sql in STATEMENTS:
        ours, theirs = federation.answer(sql)[1], other.answer(sql)[1]
        assert first_difference(ours, theirs, ordered="ORDER BY id" in sql) is None, sql
    other.close()


@pytest.mark.parametrize("predicate", PREDICATES)
def test_a_filter_its_negation_and_its_unknown_are_all_rows(federation, predicate):
    parts = [f"({predicate})", f"NOT ({predicate})", f"({predicate}) IS NULL"]

    def rows(condition):
        sql = f"SELECT count(*), sum(age), sum(price), fsum(w) FROM visits{condition}"
        (row,) = rows_of(federation.answer(sql)[1])
        return row

    whole = rows("")
    split_up = [rows(f" WHERE {part}") for part in parts]
    for place, total in enumerate(whole):
        values = [row[place] for row in split_up if row[place] is not None]
        assert same(sum(values) if values else None, total)


def test_the_rows_of_a_filter_and_of_the_rest_are_all_rows(federation):
    def ids(condition):
        return [
            row[0] for row in rows_of(federation.answer(f"SELECT id FROM visits{condition}")[1])
        ]

    parts = ["age > 40", "NOT (age > 40)", "(age > 40) IS NULL"]
    split_up = [i for part in parts for i in ids(f" WHERE {part}")]
    assert sorted(split_up) == sorted(ids(""))


def test_one_merger_answers_the_same_plan_anew_for_other_rows():
    sql = "SELECT sex, count(*), sum(age) FROM visits GROUP BY sex"
    first, second = (build("random", seed=3, rows=make_rows(n, 24)) for n in (1, 2))
    merger = Merger()
    for federation in (first, second, first):
        made = plan(sql, federation.catalog)
        partials = {
            stage.name: {
                pod: federation.pods[pod].sql(render(stage.fragment, pod=pod)).to_arrow_table()
                for pod in stage.pods
            }
            for stage in made.stages
        }
        found = merger.run(made, partials)
        assert first_difference(found, federation.expected(sql), ordered=False) is None
    merger.close()
    first.close()
    second.close()
