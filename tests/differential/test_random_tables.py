"""Hypothesis makes the rows, down to the nastiest small table: equal or refused, never different."""

import datetime as dt
import math
import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from splits import SPLITS, build
from test_equal_or_refused import STATEMENTS, check


def maybe(values):
    return st.one_of(st.none(), values)


# The cells stay where one database and four give the same double within 1e-9: what cancels to
# nothing (1e300 - 1e300) depends on the order of addition in any engine.
DOUBLES = st.one_of(
    st.integers(-1000, 1000).map(lambda n: n / 8), st.floats(0.01, 1e6), st.just(0.0)
)
ROW = st.tuples(
    maybe(st.sampled_from("fm")),
    maybe(st.integers(0, 120)),
    maybe(DOUBLES),
    maybe(st.integers(-99999999, 99999999).map(lambda n: n / 100)),
    maybe(st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1))),
    maybe(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1))),
    maybe(st.booleans()),
    maybe(st.sampled_from(["a", "aa", "b", "c", ""])),
    maybe(st.integers(-(2**63), 2**63 - 1)),
    st.integers(-5, 5),
    maybe(st.sampled_from([0.0, -0.0, math.nan, 1.5, math.inf, -math.inf])),
    maybe(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)),
)
LAB = st.tuples(
    st.integers(0, 12),
    maybe(st.integers(0, 640).map(lambda n: n / 8)),
    st.sampled_from(["hb", "crp"]),
)


@settings(
    max_examples=500 if os.environ.get("PODSQL_BIG") else 14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    rows=st.lists(ROW, max_size=12),
    labs=st.lists(LAB, max_size=8),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 1000),
    lines=st.lists(st.sampled_from(STATEMENTS), min_size=4, max_size=8, unique=True),
)
def test_random_tables_are_answered_as_by_one_database(rows, labs, split, seed, lines):
    visits = [(number, *row) for number, row in enumerate(rows)]
    federation = build(split, seed=seed, rows=(visits, labs))
    try:
        wrong = [r for line in lines if (r := check(federation, line)) not in ("equal", "refused")]
    finally:
        federation.close()
    assert wrong == []
