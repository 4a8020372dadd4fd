"""What each unit adds to a figure, as the overlap guard compares it."""

import os

import pyarrow as pa

from podsql.pod.shares import read_shares, together, views
from podsql.policy.ledger.overlap import Overlaps
from podsql.policy.ledger.store import Ledger

U64 = pa.uint64()
ENTRY = pa.struct([("u", U64), ("r0", U64), ("l0", pa.list_(U64))])


def shares_of(*groups, kind=ENTRY):
    return read_shares(pa.chunked_array([pa.array(groups, pa.list_(kind))]))


def rows(unit, *marks):
    return [{"u": unit, "r0": mark, "l0": [mark, mark + 50]} for mark in marks]


def test_rows_are_counted_for_each_unit_and_mark_with_those_behind_them():
    first, second, nobody = shares_of(rows(1, 7, 7, 8) + rows(2, 9), rows(1, 7), None)
    assert first == [
        {(1, 0): 3, (2, 0): 1},
        {(1, 7): 2, (1, 8): 1, (2, 9): 1},
        {(1, 7): 2, (1, 57): 2, (1, 8): 1, (1, 58): 1, (2, 9): 1, (2, 59): 1},
    ]
    assert second == [{(1, 0): 1}, {(1, 7): 1}, {(1, 7): 1, (1, 57): 1}]
    assert nobody == [{}, {}, {}]
    summed = together([first, second])
    assert summed[0] == {(1, 0): 4, (2, 0): 1}
    assert summed[1] == {(1, 7): 3, (1, 8): 1, (2, 9): 1}


def test_no_result_has_no_shares_and_a_count_of_units_no_marks():
    assert shares_of() == []
    units = pa.struct([("u", U64)])
    assert shares_of([{"u": 3}, {"u": 4}], kind=units) == [[{(3, 0): 1, (4, 0): 1}]]


def test_copies_of_everybodys_rows_are_the_same_rows():
    once = [one for unit in range(30) for one in rows(unit, 100 + unit, 200 + unit)]
    more = [*once * 3, *rows(7, 107)]
    plain, copied, moved = (
        list(map(set, views(shares_of(one)[0]))) for one in (once, once * 3, more)
    )
    assert plain[2] in copied
    assert plain[2] not in moved
    assert {unit for unit, _ in plain[2].symmetric_difference(moved[3])} == {7}


def test_a_unit_without_rows_behind_its_own_is_in_every_view():
    (found,) = shares_of([*rows(1, 5), {"u": 2, "r0": 6, "l0": None}])
    assert all({unit for unit, _ in view} == {1, 2} for view in views(found))


def test_ways_to_say_one_figure_are_not_compared_with_each_other(tmp_path):
    overlaps = Overlaps(Ledger(tmp_path / "ledger.sqlite"), os.urandom(32))
    few = {(unit, int(unit < 3)) for unit in range(50)}
    none = {(unit, 0) for unit in range(50)}
    assert overlaps.admit("p", [[few, none]], 10) == [True]
    assert overlaps.admit("q", [[few], [none]], 10) == [True, False]


def test_what_shares_no_row_has_nothing_that_cancels_out(tmp_path):
    overlaps = Overlaps(Ledger(tmp_path / "ledger.sqlite"), os.urandom(32))
    assert overlaps.admit("p", [[{(unit, 1) for unit in range(7)}]], 10) == [True]
    assert overlaps.admit("p", [[{(unit, 2) for unit in range(7)}]], 10) == [True]
    assert overlaps.admit("p", [[{(unit, min(unit, 1)) for unit in range(7)}]], 10) == [False]
