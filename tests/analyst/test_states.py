"""X09: partial results that no rows give are refused before they are merged."""

import pyarrow as pa
import pytest

from podsql.analyst.states import require_sound
from podsql.errors import Error
from podsql.planner.fragment import BIN_FIELDS, Aggregate, Binned, Column, Field
from podsql.planner.plan import Stage

PARTS = (
    ("count(*)", "BIGINT"),
    ("count(x)", "BIGINT"),
    ("sum(x)", "DOUBLE"),
    ("favg(x)", "DOUBLE"),
    ("var_pop(x)", "DOUBLE"),
    ("count_if(y)", "BIGINT"),
    ("count(x) FILTER (WHERE y)", "BIGINT"),
    ("sum(x) FILTER (WHERE y)", "DOUBLE"),
)
SOUND = {"p0": 3, "p1": 2, "p2": 5.0, "p3": 2.5, "p4": 0.25, "p5": None, "p6": 0, "p7": None}


def judged(exact=True, **changes):
    columns = tuple(Column(f"p{n}", sql, kind) for n, (sql, kind) in enumerate(PARTS))
    stage = Stage(
        name="stage1",
        pods=("north",),
        fragment=Aggregate(source="FROM t", keys=(), aggregates=columns),
        fields=tuple(Field(c.name, c.type) for c in columns),
    )
    types = {
        f"p{n}": pa.int64() if kind == "BIGINT" else pa.float64()
        for n, (_, kind) in enumerate(PARTS)
    }
    table = pa.table({n: pa.array([v], types[n]) for n, v in (SOUND | changes).items()})
    require_sound(stage, table, pod="north", exact=exact)


def test_what_rows_can_give_passes():
    judged()
    judged(p1=0, p2=None, p3=None, p4=None)
    judged(p2=float("nan"), p3=float("inf"))
    judged(p4=0.0)
    judged(exact=False, p1=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"p0": -1},
        {"p0": None},
        {"p5": -2},
        {"p4": -0.5},
        {"p1": 0},
        {"p2": None},
        {"p1": 0, "p2": None, "p3": None},
        {"p7": 1.0},
        {"p6": 4},
    ],
    ids=str,
)
def test_what_no_rows_give_is_refused(changes):
    with pytest.raises(Error) as caught:
        judged(**changes)
    assert (caught.value.code, caught.value.pod) == ("BAD_RESULT", "north")


@pytest.mark.parametrize(
    ("row", "sound"),
    [
        ((0, 4, 10), True),
        ((None, None, 0), True),
        ((4, 0, 10), False),
        ((-1, 4, 10), False),
        ((0, 4, -1), False),
        ((0, None, 1), False),
        ((0, 4, None), False),
    ],
)
def test_bins_are_intervals_with_counts(row, sound):
    fragment = Binned(source="FROM t", keys=(), column=Column("bin", "x", "BIGINT"))
    stage = Stage(name="stage1", pods=("north",), fragment=fragment, fields=BIN_FIELDS)
    names = [field.name for field in BIN_FIELDS]
    table = pa.table({n: pa.array([v], pa.int64()) for n, v in zip(names, row, strict=True)})
    if sound:
        require_sound(stage, table, pod="north", exact=True)
    else:
        with pytest.raises(Error):
            require_sound(stage, table, pod="north", exact=True)
