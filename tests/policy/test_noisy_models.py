"""A round of a model with noise: what one privacy unit changes, whatever the rows, ranges and states are.

The oracle is the document's own price: for every pair of neighbouring tables, the squared change of the
integers by twice the variance of their noise is at most the round's share of rho.
"""

import random
from fractions import Fraction

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from podsql.planner.fragment import Feature, Field, NoisyStep
from podsql.planner.training.noisy_steps import GRID, UNIT
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.ledger.cost import epsilon_of, rho_for
from podsql.policy.noise.backend import OpenDpNoise
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
POLICY = """
version = 1
name = "city"
people = "*"
allow = [{allow}]
release = "{release}"
{dp}
[tables.person.columns]
id = {{ roles = ["entity_key", "join_key"] }}
x = {{ roles = ["measure"], bounds = [-5, 20] }}
age = {{ roles = ["measure", "filter"], bounds = [0, 100] }}
site = {{ roles = ["dimension"], values = ["a", "b", "c"] }}
ill = {{ roles = ["filter"] }}
share = {{ roles = ["measure"], bounds = [0, 1] }}
free = {{ roles = ["measure", "filter"] }}
[tables.visit.columns]
"*" = {{ roles = ["join_key", "dimension", "filter", "measure"] }}
[tables.stay.columns]
id = {{ roles = ["entity_key", "join_key"] }}
age = {{ roles = ["measure"], bounds = [0, 50] }}
"""
DP = """
[dp]
epsilon_per_query = 2.0
epsilon_budget = 10.0
delta = 1e-5
max_rows_contributed = 2
"""
SHAPE = "(id INTEGER, x DOUBLE, age INTEGER, site VARCHAR, ill BOOLEAN, share DOUBLE, free DOUBLE)"
KINDS = (pa.int32(), pa.float64(), pa.int32(), pa.string(), pa.bool_(), pa.float64())
LEVELS = ("?site = 'b'", "?site = 'c'")
LINEAR = {"family": "gaussian", "features": ("x", *LEVELS), "targets": ("age",)}
LOGISTIC = {
    "family": "binomial",
    "features": ("x", "age", *LEVELS),
    "targets": ("?ill",),
    "rounds": 4,
}


def columns(*texts):
    """``?`` in front: a condition."""
    return tuple(
        Feature(f"f{n}", text.removeprefix("?"), text.startswith("?"))
        for n, text in enumerate(texts)
    )


def step(family, features, targets, source="FROM person", references=("?site = 'a'",), **more):
    return NoisyStep(
        family=family,
        source=source,
        features=columns(*features),
        targets=columns(*targets),
        references=columns(*references),
        **more,
    )


def gate(dp=DP, allow='"select", "train"', release="dp"):
    tables = {
        f"main.{name}": PodTable(
            name=f"main.{name}",
            columns=tuple(Field(*one.rsplit(" ", 1)) for one in SHAPE.strip("()").split(", ")),
            privacy_unit=unit,
        )
        for name, unit in (("person", "id"), ("visit", None), ("stay", "id"))
    }
    policy = parse_policy(POLICY.format(dp=dp, allow=allow, release=release).encode())
    return Gate(pod="north", tables=tables, policy=policy, salt="5a")


@pytest.fixture(scope="module")
def serving():
    return gate()


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as made:
        made.execute(f"CREATE TABLE person {SHAPE}")
        made.execute("CREATE TABLE stay AS SELECT 1 AS id, i AS age FROM range(50) r(i)")
        yield made


def judged(serving, ana, asked):
    return serving.check(asked, person=ana, purpose="x", project="p", now=NOW)


def integers(con, verdict, rows):
    con.execute("DELETE FROM person")
    if rows:
        columns = [
            pa.array(one, kind) for one, kind in zip(zip(*rows, strict=True), KINDS, strict=True)
        ]
        con.register("given", pa.table(columns, names=["a", "b", "c", "d", "e", "f"]))
        con.execute("INSERT INTO person SELECT *, NULL FROM given")
    (row,) = con.execute(verdict.sql).fetchall()
    return np.array(row[:-1], dtype=object)


def odd_rows(chance, unit, many):
    """Rows of a person with everything that a column can hold."""
    number = lambda: chance.choice(  # noqa: E731
        [None, float("nan"), float("inf"), -1e308, 1e308, -5.0, 20.0, 7.5, chance.uniform(-6, 21)]
    )
    return [
        (
            unit,
            number(),
            chance.choice([None, -(2**31), 2**31 - 1, 0, 100, 40]),
            chance.choice([None, "a", "b", "c", "zz", "A"]),
            chance.choice([None, True, False]),
            chance.choice([None, 0.0, 1.0, 0.25, 9.0]),
        )
        for _ in range(many)
    ]


def states(size, chance):
    return [
        (0.0,) * size,
        tuple(chance.uniform(-2, 2) for _ in range(size)),
        tuple(chance.choice([-1e6, 1e6]) for _ in range(size)),  # planted, far out
    ]


def rounds_of(chance):
    """Every kind of round, with the share of the price it must keep to."""
    whole = rho_for(2.0, 1e-5)
    yield step(**LINEAR), whole
    wide = ((-50.0, 200.0), (0.0, 1.0), (0.0, 1.0), (-1.0, 1000.0))
    yield step(**LINEAR, ranges=wide), whole
    yield step(**LOGISTIC), whole / 4
    for state in states(5, chance):
        yield step(**LOGISTIC, number=1, state=state), whole / 4
    yield step("binomial", ["x"], ["share"], rounds=2, number=1, state=(0.5, -3.0)), whole * 3 / 4


def test_one_unit_changes_the_integers_by_no_more_than_was_priced(serving, con, ana):
    chance = random.Random(5)
    largest = Fraction(0)
    for asked, share in rounds_of(chance):
        verdict = judged(serving, ana, asked)
        order = verdict.noise
        assert (order.threshold, order.keys) == (0, 0)
        for case in range(8):
            rows = [row for unit in range(4) for row in odd_rows(chance, unit, 2)]
            # many rows at a corner of all ranges, and rows of every kind
            corner = (99, chance.choice([-9.0, 99.0]), chance.choice([0, 100]), "b", True, 1.0)
            added = [corner] * 40 if case % 3 == 0 else odd_rows(chance, 99, 6)
            before = integers(con, verdict, rows)
            change = integers(con, verdict, [*rows, *added]) - before
            spent = sum(
                Fraction(int(one)) ** 2 / (2 * d * d)
                for one, d in zip(change, order.deviations, strict=True)
            )
            assert spent <= share
            largest = max(largest, spent / share)
    assert largest > Fraction(9, 10)  # the bound is one that a person reaches, not one far away


def test_the_shares_of_a_series_are_its_price_and_the_price_what_was_asked(serving, ana):
    whole = rho_for(0.5, 1e-6)
    more = {"epsilon": "0.5", "delta": "1e-06"}
    found = [judged(serving, ana, step(**LOGISTIC, **more))]
    found += [
        judged(serving, ana, step(**LOGISTIC, **more, number=n, state=(0.0,) * 5))
        for n in (1, 2, 3)
    ]
    assert len({one.noise.cost for one in found}) == 1
    assert len({one.series.mark for one in found}) == 1
    # of four columns that are not 0 at once: the constant, two numbers and one level
    squares = [UNIT**2 * 4 * (10 if one.series.number == 0 else 4) for one in found]
    shares = [s / (2 * one.noise.deviations[0] ** 2) for s, one in zip(squares, found, strict=True)]
    assert 0.999999 < sum(shares) / whole <= 1
    assert 0.45 < epsilon_of(found[0].noise.cost, 1e-6) <= 0.5 + 1e-6
    assert found[0].series.promise[1] == 1e-6
    assert 0.45 < found[0].series.promise[0] <= 0.5


def test_what_tells_series_apart(serving, ana):
    def mark(**more):
        return judged(serving, ana, step(**{**LOGISTIC, **more})).series.mark

    wide = ((-50.0, 200.0), (0.0, 100.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    others = [
        {"rounds": 5},
        {"ranges": wide},
        {"series": b"s" * 16},
        {"epsilon": "1.0"},
        {"delta": "1e-06"},
        {"features": ("x", "age", "?site = 'b'")},
        {"targets": ("share",)},
        {"source": "FROM person WHERE age > 30"},
        {"references": ()},
    ]
    assert len({mark(), *(mark(**more) for more in others)}) == len(others) + 1
    states = {
        judged(serving, ana, step(**LOGISTIC, number=1, state=(b, 0.0, 0.0, 0.0, 0.0))).series.state
        for b in (0.0, 1.0)
    }
    assert len(states) == 2


def test_the_sums_are_those_of_the_rounded_columns(serving, con, ana):
    """Against numpy, over rows that all count."""
    chance = np.random.default_rng(2)
    n = 300
    x, age = chance.uniform(-8, 25, n), chance.integers(0, 101, n)
    site, ill = chance.choice(list("abc"), n), chance.random(n) < 0.4
    rows = [(i, float(x[i]), int(age[i]), str(site[i]), bool(ill[i]), 0.5) for i in range(n)]
    q = np.column_stack(
        [
            np.ones(n),
            np.round((np.clip(x, -5, 20) - 7.5) / 12.5 * GRID) / GRID,
            site == "b",
            site == "c",
            np.round((age - 50) / 50 * GRID) / GRID,
        ]
    )
    found = integers(con, judged(serving, ana, step(**LINEAR)), rows)
    wanted = (q.T @ q)[np.triu_indices(5)]
    assert np.allclose(found.astype(float) / UNIT, wanted, rtol=0, atol=1e-9)
    state = (0.3, -1.0, 0.5, 2.0, -0.7)
    verdict = judged(serving, ana, step(**LOGISTIC, number=2, state=state))
    design = q[:, [0, 1, 4, 2, 3]]
    residual = ill - 1 / (1 + np.exp(-design @ np.array(state)))
    found = integers(con, verdict, rows).astype(float) / UNIT
    assert np.allclose(found, design.T @ residual, rtol=0, atol=n / UNIT)


def test_rows_without_a_value_or_a_level_and_rows_beyond_a_units_bound_do_not_count(
    serving, con, ana
):
    verdict = judged(serving, ana, step(**LINEAR))
    whole = (1, 1.0, 40, "a", True, 0.5)
    for gap in (
        (2, None, 40, "a", True, 0.5),
        (2, float("nan"), 40, "a", True, 0.5),
        (2, 1.0, None, "a", True, 0.5),
        (2, 1.0, 40, None, True, 0.5),
        (2, 1.0, 40, "zz", True, 0.5),
        (None, 1.0, 40, "a", True, 0.5),
    ):
        assert integers(con, verdict, [whole, gap])[0] == UNIT
    assert integers(con, verdict, [whole] * 9)[0] == 2 * UNIT
    assert list(integers(con, verdict, [])) == [0] * 15


def test_a_join_that_copies_a_units_rows_does_not_make_it_count_more(serving, con, ana):
    asked = step(
        "gaussian", ["p.x"], ["s.age"], "FROM person AS p JOIN stay AS s ON p.id = s.id", ()
    )
    rows = [(1, 1.0, 40, "a", True, 0.5), (2, 1.0, 40, "a", True, 0.5)]
    assert integers(con, judged(serving, ana, asked), rows)[0] == 2 * UNIT


def test_levels_that_a_row_has_twice_do_not_pass_for_one(serving, con, ana):
    """Two equal conditions count as one column in the price, so no row may have both."""
    asked = step("gaussian", ["?site = 'b'", "?site = 'b'"], ["x"], references=())
    rows = [(n, 1.0, 40, "abc"[n % 3], True, 0.5) for n in range(30)]
    assert integers(con, judged(serving, ana, asked), rows)[0] == 20 * UNIT


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("NO_BOUNDS", step("gaussian", ["free"], ["age"])),
        ("NO_BOUNDS", step("gaussian", ["x"], ["free"])),
        ("PREDICATE_IN_AGG", step("gaussian", ["x / age"], ["age"])),
        ("NO_BOUNDS", step("binomial", ["x"], ["age"], rounds=2)),
        ("FILTER_ROLE", step("gaussian", ["?x > 3"], ["age"])),
        ("ENTITY_COUNT", step("gaussian", ["v.age"], ["v.x"], "FROM visit AS v", ())),
        ("DP_PARAMETERS", step(**LINEAR, epsilon="2.1")),
        ("DP_PARAMETERS", step(**LINEAR, delta="0.001")),
        ("DP_PARAMETERS", step(**LINEAR, epsilon="nan")),
        # a range that cuts more than the pod does compares a measure with a number
        ("DP_PARAMETERS", step("gaussian", ["x"], ["age"], ranges=((0.0, 1.0), (0.0, 100.0)))),
        ("MODEL_STATE", step("gaussian", ["x"], ["age"], ranges=((-5.0, 20.0),))),
        ("MODEL_STATE", step("gaussian", ["x"], ["age"], ranges=((-5.0, float("inf")), (0.0, 100.0)))),
        ("MODEL_STATE", step("gaussian", ["x"], ["age"], rounds=2)),
        ("MODEL_STATE", step("gaussian", ["x"], ["age"], number=1, state=(0.0, 0.0))),
        ("MODEL_STATE", step(**LOGISTIC, number=4, state=(0.0,) * 5)),
        ("MODEL_STATE", step(**LOGISTIC, number=-1)),
        ("MODEL_STATE", step(**LOGISTIC, number=1, state=(0.0,) * 4)),
        ("MODEL_STATE", step(**LOGISTIC, number=1, state=(float("nan"),) * 5)),
        ("MODEL_STATE", step(**LOGISTIC, number=1, state=(2e6,) * 5)),
        ("MODEL_STATE", step("binomial", ["x"], ["?ill"], rounds=2000)),
        ("MODEL_STATE", step(**LINEAR, series=b"long" * 9)),
        ("MODEL_STATE", step("gaussian", ["x"], ["age"], references=("x",))),
        ("LIMIT", step("gaussian", ["x"] * 100, ["age"])),
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_is_denied(serving, ana, reason, asked):
    with pytest.raises(Denial) as caught:
        judged(serving, ana, asked)
    assert caught.value.reason == reason


def test_the_document_must_offer_noise_for_training(ana):
    with pytest.raises(Denial) as caught:
        judged(gate(dp="", release="sdc_local"), ana, step(**LINEAR))
    assert caught.value.reason == "NO_DP"
    with pytest.raises(Denial):
        judged(gate(allow='"select"'), ana, step(**LINEAR))
    assert judged(gate(release="sdc_local"), ana, step(**LINEAR)).release == "dp"


def test_the_noise_has_the_variance_of_the_price(serving, ana):
    """Of 10,000 draws; a bound of 6.5 deviations of the estimate fails less than once in 1e9."""
    verdict = judged(serving, ana, step(**LINEAR, epsilon="1.0"))
    deviation = verdict.noise.deviations[0]
    drawn = np.array(OpenDpNoise().gaussian([0] * 10_000, deviation), dtype=float) / float(
        deviation
    )
    assert abs((drawn**2).mean() - 1) < 6.5 * (2 / 10_000) ** 0.5
    assert abs(drawn.mean()) < 6.5 / 10_000**0.5
    rho = rho_for(1.0, 1e-5)
    assert float(deviation) == pytest.approx(2 * UNIT * (10 / (2 * float(rho))) ** 0.5, rel=1e-6)
