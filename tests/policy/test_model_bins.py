"""Counts by bin of predictions: none of few units, whatever the rows; and when they may be asked for."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.planner.fragment import Feature, ModelStep
from podsql.planner.training.score_steps import HALF, RANKS
from podsql.policy.denial import Denial
from podsql.policy.document import Output, parse_policy
from podsql.policy.gate import Gate
from podsql.policy.model_figures import DesignColumn
from podsql.policy.models import ModelOrder

LEAST = 3
STEP = ModelStep(
    family="ranks",
    source="FROM t",
    features=(Feature("x", "x"),),
    targets=(Feature("y", "y"),),
    state=(0.0, 1.0),
)
"""The linear predictor is x itself."""
BIN = (
    f"CASE WHEN x < -6 THEN 0 WHEN x >= 6 THEN {RANKS - 1} ELSE floor(x * 8)::INTEGER + {HALF} END"
)


@pytest.fixture(scope="module")
def engine():
    with duckdb.connect() as engine:
        engine.execute("SET threads = 1")
        yield engine


def sums_of(engine, rows, step, targets, names, *, guarded=True):
    """What leaves; None: nothing does."""
    xs, ys, es = map(list, zip(*rows, strict=True))
    table = "SELECT unnest(?::DOUBLE[]) AS x, unnest(?::DOUBLE[]) AS y, unnest(?::INTEGER[]) AS e"
    engine.execute(f"CREATE OR REPLACE TABLE t AS {table}", (xs, ys, es))
    order = ModelOrder(
        rows=f"SELECT x AS x0, {targets}, e AS e0 FROM t",
        names=("x0", *names),
        columns=tuple(DesignColumn(name=name) for name in ("x0", *names)),
        output=Output(min_units=LEAST) if guarded else None,
        units=1,
        design="SELECT true AS _ok",
        cells=0,
    )
    engine.execute(order.sql(step))
    shown = [column[0] for column in engine.description]
    [row] = engine.fetchall()
    found = dict(zip(shown, row, strict=True))
    return None if guarded and not found["_ok"] else found


def counts(engine, rows, *, guarded=True):
    """(first, last, negatives, positives) of each cell that leaves; None: nothing does."""
    found = sums_of(engine, rows, STEP, "y AS y0", ("y0",), guarded=guarded)
    if found is None:
        return None
    cells, first = [], 0
    for k in range(RANKS):
        assert (found[f"n{k}"] < 0) == (found[f"p{k}"] < 0)
        if found[f"n{k}"] >= 0:
            cells.append((first, k, found[f"n{k}"], found[f"p{k}"]))
            first = k + 1
    assert first == RANKS, "rows above the last cell"
    assert found["n"] == len(rows)
    return cells


def inside(engine, first, last, target):
    """Rows and units of one count, by SQL of its own."""
    return engine.execute(
        f"SELECT count(*), count(DISTINCT e) FROM t WHERE y = ? AND {BIN} BETWEEN ? AND ?",
        (target, first, last),
    ).fetchone()


ROWS = st.lists(
    st.tuples(
        st.sampled_from(
            [-9.0, -6.0, -5.9, -1.0, -0.25, -0.1, 0.0, 0.1, 0.125, 2.0, 5.99, 6.0, 50.0]
        ),
        st.sampled_from([0.0, 1.0]),
        st.one_of(st.none(), st.integers(0, 12)),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_no_count_is_of_few_units(engine, rows):
    cells = counts(engine, rows)
    for first, last, negatives, positives in cells or ():
        for target, count in ((0, negatives), (1, positives)):
            held, units = inside(engine, first, last, target)
            assert count == held
            assert units >= LEAST
    if cells is not None:
        assert sum(n + p for _, _, n, p in cells) == len(rows)


@settings(max_examples=10, deadline=None)
@given(rows=ROWS)
def test_where_rows_may_leave_every_bin_is_counted(engine, rows):
    cells = counts(engine, rows, guarded=False)
    assert [(first, last) for first, last, _, _ in cells] == [(k, k) for k in range(RANKS)]
    for first, last, negatives, positives in cells:
        assert (negatives, positives) == tuple(inside(engine, first, last, y)[0] for y in (0, 1))


def people(*groups):
    """``count`` rows of x and y each, of a person each."""
    found = [(x, y) for x, y, count in groups for _ in range(count)]
    return [(x, y, person) for person, (x, y) in enumerate(found)]


def test_bins_are_joined_upwards_and_the_rest_goes_down(engine):
    rows = people(
        (-3, 0, 3), (-3, 1, 3), (-2, 0, 9), (-2, 1, 2), (-1, 1, 1), (4, 0, 4), (4, 1, 5), (5, 1, 2)
    )
    assert counts(engine, rows) == [
        (0, 25, 3, 3),
        (26, HALF - 1, 9, 3),
        (HALF, RANKS - 1, 4, 7),
    ]


def test_the_halves_stay_apart_where_both_have_enough(engine):
    rows = people((-3, 0, 4), (-3, 1, 3), (-1, 0, 2), (2, 0, 3), (2, 1, 3))
    assert counts(engine, rows) == [(0, HALF - 1, 6, 3), (HALF, RANKS - 1, 3, 3)]
    few = people((-3, 0, 4), (-3, 1, 2), (2, 0, 3), (2, 1, 3))
    assert counts(engine, few) == [(0, RANKS - 1, 7, 5)]


def test_a_person_of_many_rows_is_one(engine):
    rows = [(x / 10, y, e) for x in range(-20, 20) for y in (0, 1) for e in range(LEAST - 1)]
    assert counts(engine, rows) is None
    assert counts(engine, [*rows, (3, 0, 9)]) is None
    assert counts(engine, [*rows, (3, 0, 9), (3, 1, 9)]) == [(0, RANKS - 1, 81, 81)]


def test_a_target_that_is_neither_gives_nothing(engine):
    rows = people((1, 0, 5), (1, 1, 5))
    assert counts(engine, rows) is not None
    assert counts(engine, [*rows, (1.0, 2.0, 99)]) is None


def test_rows_of_a_class_are_counted_apart_only_where_enough_are_on_either_side(engine):
    hit = ModelStep(
        family="hits",
        source="FROM t",
        features=STEP.features,
        targets=(Feature("other", "y"), Feature("y", "y")),
        state=(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )

    def counted(rows):
        found = sums_of(engine, rows, hit, "1 - y AS y0, y AS y1", ("y0", "y1"))
        return found and [found[name] for name in ("n0", "p0", "n1", "p1")]

    enough = people((-3, 0, 4), (-3, 1, 3), (2, 0, 3), (2, 1, 5))
    assert counted(enough) == [4, 3, 3, 5]
    assert counted([*enough, (0.0, 0.0, 99)]) == [5, 3, 3, 5]  # of ties the first class is taken
    assert counted(people((-3, 0, 4), (-3, 1, 2), (2, 0, 3), (2, 1, 5))) == [-1, -1, 7, 7]
    assert counted(people((-3, 0, 4), (-3, 1, 3), (2, 0, 2), (2, 1, 5))) == [-1, -1, 6, 8]
    assert counted(people((-3, 0, 2), (2, 1, 5))) is None


DOCUMENT = """
version = 1
name = "trained"
people = "*"
allow = ["select", "train"]
[output]
overlap_guard = {guard}
[tables.person.columns]
id = {{ roles = ["entity_key", "join_key"] }}
salary = {{ roles = ["measure"] }}
"*" = {{ roles = ["measure", "filter"] }}
"""


CLASSES = (
    Feature("a", '"p"."hosp_id" = 1', True),
    Feature("b", 'NOT ("p"."hosp_id" = 1)', True),
)
STATES = {"score_classes": (0.0, 1.0, 0.0) * 2, "hits": (1.0, *(0.0, 1.0, 0.0) * 2)}


@pytest.fixture
def judged(pod_tables, ana):
    def judged(family, feature, guard=0):
        gate = Gate(
            pod="north",
            tables=pod_tables(),
            policy=parse_policy(DOCUMENT.format(guard=guard).encode()),
        )
        step = ModelStep(
            family=family,
            source='FROM "main"."person" AS "p"',
            features=(Feature("x", f'"p"."{feature}"'),),
            targets=CLASSES if family in STATES else (Feature("y", '"p"."hosp_id"'),),
            state=STATES.get(family, (0.0, 1.0)),
        )
        try:
            gate.check(step, person=ana, purpose="", project="", now=1_770_000_000_000)
        except Denial as denial:
            return denial.reason
        return "allowed"

    return judged


@pytest.mark.parametrize(
    ("family", "feature", "guard", "reason"),
    [
        ("ranks", "age", 0, "allowed"),
        ("ranks", "salary", 0, "FILTER_ROLE"),
        ("ranks", "age", 10, "PREDICATE_IN_AGG"),
        ("score_binomial", "salary", 0, "allowed"),
        ("hits", "age", 0, "allowed"),
        ("hits", "salary", 0, "FILTER_ROLE"),
        ("hits", "age", 10, "PREDICATE_IN_AGG"),
        ("score_classes", "salary", 0, "allowed"),
        ("score_classes", "salary", 10, "ROUNDS"),
        ("score_binomial", "salary", 10, "ROUNDS"),
        ("absolute_gaussian", "age", 0, "PREDICATE_IN_AGG"),
        ("score_gaussian", "age", 0, "allowed"),
    ],
)
def test_comparisons_are_only_of_columns_that_may_filter(judged, family, feature, guard, reason):
    assert judged(family, feature, guard) == reason
