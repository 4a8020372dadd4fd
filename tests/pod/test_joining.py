"""Joined bins: enough units in each, no gap, nothing lost, and no end that tells where values end."""

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.planner.fragment import Binned, Column, Field
from podsql.pod.joining import join_bins
from podsql.policy.binned import BinOrder
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.person import Person
from podsql.policy.rights import PodTable

FIELDS = tuple(Field(name, "BIGINT") for name in ("k0", "low", "high", "n"))
LAST = 19


def order(**changes):
    made = {
        "keys": 1, "last": LAST, "units": 1, "least": 10, "complement": False, "zero": False,
        "named": False, "levels": 0,
    }  # fmt: skip
    return BinOrder(**{**made, **changes})


def table_of(rows):
    """``rows``: group, bin, rows, units."""
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return pa.table(
        {
            name: pa.array(list(values), pa.int64())
            for name, values in zip(("k0", "bin", "n", "u0"), columns, strict=True)
        }
    )


bins = st.dictionaries(
    st.one_of(st.none(), st.integers(0, LAST)),
    st.tuples(st.integers(1, 30), st.integers(0, 30)),
    min_size=1,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.integers(0, 5), bins, min_size=1, max_size=4))
def test_every_figure_has_enough_units_and_nothing_is_lost(drawn):
    groups = {
        group: {at: (n, min(n, units)) for at, (n, units) in found.items()}
        for group, found in drawn.items()
    }
    rows = [
        (group, at, n, units)
        for group, found in sorted(groups.items())
        for at, (n, units) in sorted(found.items(), key=lambda one: (one[0] is None, one[0]))
    ]
    joined, withheld = join_bins(table_of(rows), order(), FIELDS, None)
    shown = {row["k0"] for row in joined.to_pylist()}
    assert withheld == len(groups) - len(shown)
    for group, found in groups.items():
        known = {at: pair for at, pair in found.items() if at is not None}
        assert (group in shown) == (sum(units for _, units in known.values()) >= 10)
        parts = [row for row in joined.to_pylist() if row["k0"] == group]
        if not parts:
            continue
        assert sum(row["n"] for row in parts) == sum(n for n, _ in known.values())
        assert (parts[0]["low"], parts[-1]["high"]) == (0, LAST)
        assert all(a["high"] + 1 == b["low"] for a, b in pairwise(parts))
        for row in parts:
            inside = [u for at, (_, u) in known.items() if row["low"] <= at <= row["high"]]
            assert sum(inside) >= 10


def test_rows_left_out_for_want_of_a_value_must_be_many_or_none():
    rows = [(1, 3, 20, 20), (1, None, 4, 4)]
    assert join_bins(table_of(rows), order(), FIELDS, None)[1] == 0
    assert join_bins(table_of(rows), order(complement=True), FIELDS, None)[1] == 1


def test_what_differs_little_from_earlier_figures_is_withheld():
    rows = table_of([(1, 3, 20, 20)]).append_column(
        "_u0", pa.array([[{"u": n, "r": 7} for n in (1, 2, 3)]])
    )
    asked = []

    def admit(cells):
        asked.append(cells)
        return len(asked) < 2

    joined, withheld = join_bins(rows, order(named=True), FIELDS, admit)
    assert (joined.num_rows, withheld) == (0, 1)
    each, marked = ({(n, mark): 1 for n in (1, 2, 3)} for mark in (0, 7))
    assert asked == [[[each, marked]]] * 2


def test_too_many_groups_are_withheld_together():
    rows = table_of([(group, 0, 20, 20) for group in range(5)])
    assert join_bins(rows, order(levels=5), FIELDS, None)[1] == 0
    assert join_bins(rows, order(levels=4), FIELDS, None)[1] == 5


# -- the gate ------------------------------------------------------------------------------------

POLICY = """
version = 1
name = "pay"
people = "*"
[output]
quantile = "{quantile}"
[tables.staff.columns]
id = {{roles = ["entity_key"]}}
ward = {{roles = ["dimension"]}}
age = {{roles = ["measure"], bounds = [0, 120], bin = 5}}
few = {{roles = ["measure"], bounds = [0, 120], bin = 5, aggregates = ["avg"]}}
plain = {{roles = ["measure"]}}
"""
TYPES = {"id": "INTEGER", "ward": "VARCHAR", "age": "INTEGER", "few": "INTEGER", "plain": "DOUBLE"}


def judged(column="age", keys=("ward",), quantile="binned", **more):
    columns = tuple(Field(name, kind) for name, kind in TYPES.items())
    table = PodTable(name="main.staff", columns=columns, privacy_unit="id")
    policy = parse_policy(POLICY.format(quantile=quantile).encode())
    gate = Gate(pod="north", tables={"main.staff": table}, policy=policy, salt="5a")
    fragment = Binned(
        source="FROM staff",
        keys=tuple(Column(f"k{n}", sql, "VARCHAR") for n, sql in enumerate(keys)),
        column=Column("bin", column, "BIGINT"),
        **more,
    )
    ana = Person(name="ana", identity=b"a" * 32, fingerprint="ps1" + "a" * 56)
    return gate.check(fragment, person=ana, purpose="", project="", now=1_770_000_000_000)


def test_a_binned_column_is_allowed_and_its_values_do_not_leave():
    verdict = judged()
    assert [field.name for field in verdict.fields] == ["k0", "low", "high", "n"]
    assert verdict.answer == "bounded"
    assert verdict.bins.last == 23


@pytest.mark.parametrize(
    "asked",
    [
        {"quantile": "deny"},
        {"column": "plain"},
        {"column": "id"},
        {"column": "ward"},
        {"column": "few"},
        {"column": "age + 0"},
        {"column": "CASE WHEN age > 7 THEN age END"},
        {"column": "sum(age)"},
        {"column": "age::BOOLEAN"},
        {"column": "'1'"},
        {"keys": ("age",)},
        {"keys": ("id",)},
        {"noisy": True},
    ],
    ids=str,
)
def test_anything_else_is_denied(asked):
    with pytest.raises(Denial):
        judged(**asked)
