"""The noisy release of one pod: bounds on what a unit adds, keys, price, and an audit as a black box."""

import os
import random
import sys
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "noise"))
from audit import epsilon_floor

from podsql.planner.fragment import Aggregate, Column, Field, Noised, Rows
from podsql.pod.releasing import add_noise
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.ledger.cost import epsilon_of
from podsql.policy.noise.backend import OpenDpNoise, PythonNoise
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
BIG = bool(os.environ.get("PODSQL_BIG"))
TYPES = {"id": "INTEGER", "region": "VARCHAR", "pay": "DOUBLE", "age": "INTEGER", "free": "DOUBLE"}


def serve(dp="max_groups_contributed = 2\nmax_rows_contributed = 3", values="", release="dp"):
    document = f"""
version = 1
name = "bills"
people = "*"
release = "{release}"
[dp]
epsilon_per_query = 1.0
epsilon_budget = 10.0
delta = 1e-5
{dp}
[tables.bill.columns]
id = {{roles = ["entity_key", "join_key"]}}
region = {{roles = ["dimension", "filter"]{values}}}
pay = {{roles = ["measure"], bounds = [-10, 100]}}
age = {{roles = ["measure", "filter"], bounds = [0, 9]}}
free = {{roles = ["measure", "filter"]}}
[tables.site]
public = true
[tables.site.columns]
region = {{}}
"""
    tables = {
        "main.bill": PodTable(
            name="main.bill",
            columns=tuple(Field(name=name, type=kind) for name, kind in TYPES.items()),
            privacy_unit="id",
        ),
        "main.site": PodTable(
            name="main.site", kind="reference", columns=(Field(name="region", type="VARCHAR"),)
        ),
    }
    return Gate(pod="north", tables=tables, policy=parse_policy(document.encode()), salt="5a")


FIGURES = [
    ("count(*)", "BIGINT"),
    ("count(b.pay)", "BIGINT"),
    ("count(DISTINCT b.id)", "BIGINT"),
    ("sum(b.pay)", "DOUBLE"),
    ("sum(b.age)", "DOUBLE"),
    ("sum(b.age * b.age)", "DOUBLE"),
    ("count_if(b.age > 4)", "BIGINT"),
]


def fragment(figures=tuple(FIGURES), keys=("b.region",), source="FROM bill AS b", **more):
    return Noised(
        source=source,
        keys=tuple(Column(name=f"k{n}", sql=sql, type="VARCHAR") for n, sql in enumerate(keys)),
        aggregates=tuple(
            Column(name=f"a{n}", sql=sql, type=kind) for n, (sql, kind) in enumerate(figures)
        ),
        **more,
    )


def judged(gate, ana, found):
    return gate.check(found, person=ana, purpose="x", project="p", now=NOW)


def table_of(con, verdict, rows):
    con.execute(
        "CREATE OR REPLACE TABLE bill (id INTEGER, region VARCHAR, pay DOUBLE, age INTEGER, free DOUBLE)"
    )
    if rows:
        con.executemany("INSERT INTO bill VALUES (?, ?, ?, ?, NULL)", rows)
    return con.sql(verdict.sql).to_arrow_table()


cell = st.one_of(
    st.none(),
    st.floats(-1e308, 1e308),
    st.just(float("nan")),
    st.just(float("inf")),
    st.integers(-20, 200),
)
rows_of_one = st.lists(
    st.tuples(st.sampled_from("abcd"), cell, st.one_of(st.none(), st.integers(-50, 50))),
    max_size=12,
)
row = st.tuples(
    st.integers(0, 6), st.sampled_from("abcd"), cell, st.one_of(st.none(), st.integers(-50, 50))
)


@settings(max_examples=2000 if BIG else 40, deadline=None)
@given(st.lists(row, max_size=30), rows_of_one)
def test_one_unit_changes_the_integers_by_no_more_than_was_priced(rows, added):
    from podsql.policy.person import Person

    ana = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
    verdict = judged(serve(), ana, fragment())
    order = verdict.noise
    con = duckdb.connect()
    before = table_of(con, verdict, rows).to_pylist()
    after = table_of(con, verdict, rows + [(99, *one) for one in added]).to_pylist()
    con.close()
    by_key = {row["k0"]: row for row in before}
    changes = []
    for now in after:
        was = by_key.get(now["k0"], {})
        changes.append(
            [now[f"v{n}"] - was.get(f"v{n}", 0) for n in range(len(FIGURES))]
            + [now["n"] - was.get("n", 0)]
        )
    touched = [one for one in changes if any(one)]
    assert len(touched) <= 2, "at most max_groups_contributed groups"
    rho = Fraction(order.cost.renyi[2], 2 * 10**9)
    spent = Fraction(0)
    for place, deviation in enumerate((*order.deviations, order.units_deviation)):
        square = sum(one[place] ** 2 for one in changes)
        spent += Fraction(square) / (2 * deviation * deviation)
    assert spent <= rho


def test_null_nan_and_infinity_add_nothing_and_outliers_are_clamped(ana):
    verdict = judged(
        serve(), ana, fragment([("sum(b.pay)", "DOUBLE"), ("count(b.pay)", "BIGINT")], keys=())
    )
    rows = [
        (n, "a", value, 1)
        for n, value in enumerate(
            [None, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 7.5]
        )
    ]
    (found,) = table_of(duckdb.connect(), verdict, rows).to_pylist()
    assert found["v0"] / verdict.noise.grids[0] == 100 - 10 + 7.5
    assert found["v1"] == 3  # what adds nothing is not counted either


def test_an_empty_table_has_the_same_shape(ana):
    for keys in ((), ("b.region",)):
        verdict = judged(serve(values=", values = ['a', 'b']"), ana, fragment(keys=keys))
        empty = table_of(duckdb.connect(), verdict, [])
        released = add_noise(empty, verdict.noise, verdict.fields, PythonNoise())
        assert released.rows == (2 if keys else 1)


def test_every_declared_group_is_answered_and_no_other(ana):
    verdict = judged(serve(values=", values = ['a', 'b', 'never']"), ana, fragment())
    assert verdict.noise.threshold == 0
    rows = [(n, "ax"[n % 2], 1.0, 1) for n in range(1000)]
    released = add_noise(
        table_of(duckdb.connect(), verdict, rows), verdict.noise, verdict.fields, OpenDpNoise()
    )
    import pyarrow as pa

    found = pa.ipc.open_stream(released.arrow).read_all()
    assert found["k0"].to_pylist() == ["a", "b", "never"]
    counts = dict(zip(found["k0"].to_pylist(), found["a0"].to_pylist(), strict=True))
    width = 8 * float(verdict.noise.deviations[0])
    assert abs(counts["a"] - 500) < width
    assert abs(counts["never"]) < width


def test_an_undeclared_group_shows_only_above_its_threshold(ana):
    verdict = judged(serve(), ana, fragment())
    assert verdict.noise.threshold > float(verdict.noise.units_deviation)
    rows = [(n, "big", 1.0, 1) for n in range(1000)] + [(5000, "one", 1.0, 1)]
    integers = table_of(duckdb.connect(), verdict, rows)
    for _ in range(20):
        released = add_noise(integers, verdict.noise, verdict.fields, OpenDpNoise())
        assert released.rows == 1


@pytest.mark.parametrize(
    ("figures", "keys", "source"),
    [
        ([("sum(b.free)", "DOUBLE")], (), "FROM bill AS b"),
        ([("max(b.pay)", "DOUBLE")], (), "FROM bill AS b"),
        ([("avg(b.pay)", "DOUBLE")], (), "FROM bill AS b"),
        ([("count(DISTINCT b.region)", "BIGINT")], (), "FROM bill AS b"),
        ([("sum(DISTINCT b.pay)", "DOUBLE")], (), "FROM bill AS b"),
        ([("sum(b.pay)", "BIGINT")], (), "FROM bill AS b"),
        ([("count(*) + count(*)", "BIGINT")], (), "FROM bill AS b"),
        ([("count(*)", "BIGINT")], ("b.id",), "FROM bill AS b"),
        ([("count(*)", "BIGINT")], (), "FROM bill AS b WHERE b.id = 7"),
        (
            [("count(*)", "BIGINT")],
            (),
            "FROM (SELECT b.id AS id FROM bill AS b GROUP BY b.id) AS d",
        ),
        ([("count(*)", "BIGINT")], (), "FROM bill AS b JOIN bill AS c ON b.region = c.region"),
        ([("count(*)", "BIGINT")], (), "FROM site AS s SEMI JOIN bill AS b ON s.region = b.region"),
    ],
)
def test_what_cannot_be_bounded_is_denied(ana, figures, keys, source):
    with pytest.raises(Denial):
        judged(serve(), ana, fragment(figures, keys, source))


@pytest.mark.parametrize(
    "more",
    [
        {"epsilon": "1.01"},
        {"epsilon": "-1"},
        {"epsilon": "x"},
        {"epsilon": "nan"},
        {"delta": "1e-3"},
        {"delta": "0"},
        {"epsilon": "inf"},
    ],
)
def test_a_price_beyond_the_document_is_denied(ana, more):
    with pytest.raises(Denial):
        judged(serve(), ana, fragment(**more))


def test_a_dataset_under_dp_gives_nothing_exact(ana):
    gate = serve()
    for exact in (
        Aggregate(
            source="FROM bill AS b",
            keys=(),
            aggregates=(Column(name="a", sql="count(*)", type="BIGINT"),),
        ),
        Rows(source="FROM bill AS b", columns=(Column(name="a", sql="b.region", type="VARCHAR"),)),
    ):
        with pytest.raises(Denial):
            judged(gate, ana, exact)
    assert judged(serve(release="sdc_local"), ana, fragment()).release == "dp"


def test_the_price_is_what_was_asked_for(ana):
    for epsilon, delta in ((1.0, 1e-5), (0.25, 1e-6)):
        verdict = judged(serve(), ana, fragment(epsilon=repr(epsilon), delta=repr(delta)))
        assert 0.9 * epsilon < epsilon_of(verdict.noise.cost, delta) <= epsilon * (1 + 1e-6)


# -- the pod's path as a black box: two tables that differ by one unit ---------------------------

BUSY = [(900, "a", 1e9, 9)] * 40
DRAWS = 50_000 if BIG else 3000


def released_counts(ana, rows, break_it=lambda sql: sql, figure=("sum(b.pay)", "DOUBLE")):
    gate = serve(values=", values = ['a']", dp="max_rows_contributed = 2")
    verdict = judged(gate, ana, fragment([figure]))
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE bill (id INTEGER, region VARCHAR, pay DOUBLE, age INTEGER, free DOUBLE)"
    )
    con.executemany("INSERT INTO bill VALUES (?, ?, ?, ?, NULL)", rows)
    integers = con.sql(break_it(verdict.sql)).to_arrow_table()
    order = verdict.noise
    ((value,),) = ((int(integers["v0"][0].as_py()),),)
    return [
        v // order.grids[0] for v in OpenDpNoise().gaussian([value] * DRAWS, order.deviations[0])
    ]


@pytest.mark.parametrize(
    ("fault", "break_it"),
    [
        ("none", lambda sql: sql),
        ("no row bound", lambda sql: sql.replace("r <= 2", "r <= 200")),
        ("no clamp", lambda sql: sql.replace("100.0", "100000.0")),
    ],
)
def test_the_audit_of_the_pods_path(ana, fault, break_it):
    chance = random.Random(3)
    crowd = [(n, "a", chance.uniform(0, 100), 3) for n in range(200)]
    found = epsilon_floor(
        released_counts(ana, crowd + BUSY, break_it), released_counts(ana, crowd, break_it), 1e-5
    )
    assert (found > 1.0) == (fault != "none"), found
