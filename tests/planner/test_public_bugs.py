"""Faults that other federated engines had; each test names the row of sql.md §5 it guards.

Every row stands in a pod of its own, and the first pod in name order is empty.
"""

import sys
from decimal import Decimal
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "differential"))
from splits import VISITS, build, rows_of

from podsql.errors import Error

VISIT = tuple(VISITS)


def federation(**columns):
    """One visit a pod, with the given columns and NULL elsewhere."""
    size = max(len(values) for values in columns.values())
    named = {"id": list(range(size))} | columns
    visits = [tuple(named[c][n] if c in named else None for c in VISIT) for n in range(size)]
    return build("one row a pod", rows=(visits, []))


def answer(sql, **columns):
    made = federation(**columns)
    try:
        return made.answer(sql)[1]
    finally:
        made.close()


def rows(sql, **columns):
    return rows_of(answer(sql, **columns))


def test_bugs_1_and_6_a_count_over_no_pod_is_one_row_with_zero():
    assert rows("SELECT count(*) FROM visits WHERE _pod = 'nowhere'", w=[1.0]) == [(0,)]
    assert rows("SELECT count(*), sum(w) FROM visits WHERE _pod = 'alpha'", w=[1.0]) == [(0, None)]


def test_bug_2_a_distinct_count_of_no_rows_is_zero():
    assert rows("SELECT count(DISTINCT id) FROM visits WHERE age > 999", w=[1.0]) == [(0,)]


def test_bug_3_an_empty_pod_does_not_taint_an_aggregate():
    sql = "SELECT sum(w), avg(w), min(w), max(w), stddev_pop(w) FROM visits"
    assert rows(sql, w=[1.0, None, 3.0]) == [(4.0, 2.0, 1.0, 3.0, 1.0)]


def test_bug_4_groups_over_no_pod_are_no_rows_of_the_right_shape():
    sql = "SELECT sex, avg(w) AS m FROM visits WHERE _pod = 'nowhere' GROUP BY sex"
    found = answer(sql, w=[1.0])
    assert found.num_rows == 0
    assert [str(kind) for kind in found.schema.types] == ["string", "double"]
    assert found.column_names == ["sex", "m"]


def test_bug_8_helper_columns_never_show_and_equal_keys_are_one_group():
    found = answer("SELECT avg(w) AS m FROM visits GROUP BY sex", w=[1.0, 3.0], sex=["f", "f"])
    assert found.column_names == ["m"]
    assert rows_of(found) == [(2.0,)]


def test_bug_9_rows_are_sorted_by_a_column_that_is_not_selected():
    sql = "SELECT id FROM visits ORDER BY w DESC"
    assert rows(sql, w=[2.0, 3.0, 1.0]) == [(1,), (0,), (2,)]


def test_bug_10_the_variance_of_no_row_is_null_and_of_one_row_zero_or_null():
    sql = "SELECT var_pop(w), var_samp(w), stddev(w) FROM visits"
    assert rows(sql, w=[None, None]) == [(None, None, None)]
    assert rows(sql, w=[5.0, None]) == [(0.0, None, None)]


def test_bug_11_a_spread_whose_first_pod_is_empty_is_no_nan():
    assert rows("SELECT stddev_samp(w) FROM visits", w=[1.0, 2.0, 3.0]) == [(1.0,)]


def test_bug_13_huge_values_beside_an_empty_pod_are_no_nan():
    sql = "SELECT var_pop(w), avg(w) FROM visits"
    assert rows(sql, w=[1e155, 1e155]) == [(0.0, 1e155)]


def test_bug_15_close_values_far_from_zero_have_no_negative_variance():
    ((found,),) = rows("SELECT var_pop(w) FROM visits", w=[1e9 + n / 4 for n in range(4)])
    assert found == pytest.approx(0.078125, rel=1e-9)


def test_bug_16_a_decimal_sum_that_overflows_only_when_merged_is_an_error():
    nines = "9" * 38
    sql = f"SELECT sum(CAST('{nines}' AS DECIMAL(38, 0))) FROM visits"
    with pytest.raises(Error) as fault:
        rows(sql, w=[1.0, 2.0])
    assert fault.value.code == "OVERFLOW"
    assert "999" not in str(fault.value)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("age NULLS FIRST, id", [1, 2]),
        ("age DESC NULLS LAST, id", [0, 2]),
        ("age DESC NULLS FIRST, id", [1, 0]),
        ("age, id", [2, 0]),
    ],
)
def test_bug_32_the_first_rows_heed_where_nulls_stand(order, expected):
    found = rows(f"SELECT id FROM visits ORDER BY {order} LIMIT 2", age=[7, None, 3])
    assert [row[0] for row in found] == expected


def test_bug_34_the_first_rows_of_all_pods_are_not_the_first_pods_rows():
    sql = "SELECT w FROM visits ORDER BY w LIMIT 2 OFFSET 1"
    assert rows(sql, w=[9.0, 1.0, 5.0, 3.0]) == [(3.0,), (5.0,)]


def test_bugs_5_and_35_a_condition_in_on_keeps_rows_and_one_in_where_does_not():
    given = {"age": [1, 2, 3], "code": ["a", "b", None]}
    joined = "visits v LEFT JOIN codes c ON v.code = c.code"
    kept = f"SELECT v.id, c.label FROM {joined} AND c.label = 'beta' ORDER BY v.id"
    assert rows(kept, **given) == [(0, None), (1, "beta"), (2, None)]
    assert rows(f"SELECT count(*), count(c.code) FROM {joined} AND v.age > 1", **given) == [(3, 1)]
    filtered = f"SELECT v.id FROM {joined} WHERE c.label IS NULL"
    assert rows(filtered, **given) == [(2,)]


def test_bug_20_distinct_values_of_two_pods_are_counted_and_summed_once():
    sql = "SELECT count(DISTINCT age), sum(DISTINCT age), avg(DISTINCT age) FROM visits"
    assert rows(sql, age=[4, 4, 6, None]) == [(2, 10, 5.0)]


def test_bug_21_distinct_values_of_a_subtotal_are_those_of_its_groups_once():
    sql = "SELECT sex, count(DISTINCT age) FROM visits GROUP BY ROLLUP (sex) ORDER BY sex"
    found = rows(sql, sex=["f", "f", "m"], age=[4, 5, 4])
    assert found == [("f", 2), ("m", 1), (None, 2)]


def test_bug_23_a_count_over_a_union_of_counts_counts_its_rows():
    union = "SELECT count(*) AS n FROM visits UNION ALL SELECT count(*) FROM labs"
    assert rows(f"SELECT count(*), sum(n) FROM ({union})", age=[1, 2]) == [(2, 2)]


def test_bug_25_like_is_no_range():
    sql = "SELECT count(*) FROM visits WHERE note LIKE 'x%'"
    assert rows(sql, note=["x", "xy", "X", "x\U0010ffff", "w"]) == [(3,)]


def test_bug_28_a_filter_beside_a_collation_is_refused():
    sql = "SELECT sex FROM (SELECT sex COLLATE NOCASE AS sex FROM visits EXCEPT SELECT 'a') t"
    with pytest.raises(Error) as fault:
        rows(sql, sex=["A", "b"])
    assert fault.value.code == "NOT_SUPPORTED"


def test_bug_31_a_date_meets_a_timestamp_with_time_zone_in_one_zone():
    sql = (
        "SELECT count(*) FROM visits WHERE d = TIMESTAMPTZ '2020-01-02 00:00:00+00'"
        " OR d = TIMESTAMPTZ '2020-01-02 02:00:00+02'"
    )
    assert rows(sql, d=["2020-01-01", "2020-01-02"]) == [(1,)]


def test_bug_36_a_reference_table_is_not_multiplied_by_the_pods():
    sql = "SELECT c.code, count(v.id) FROM codes c LEFT JOIN visits v USING (code) GROUP BY 1 ORDER BY 1"
    found = rows(sql, code=["a", "a", "b"])
    assert found == [("a", 2), ("aa", 0), ("b", 1), ("zz", 0)]


def test_bug_39_decimals_keep_every_digit():
    sql = "SELECT sum(price), max(price), sum(price * 1000000000000) FROM visits"
    total = Decimal("99999999.99") * 2
    assert rows(sql, price=[Decimal("99999999.99")] * 2) == [
        (total, Decimal("99999999.99"), total * 10**12)
    ]


def test_bug_40_a_column_that_is_null_in_one_pod_keeps_its_type():
    found = answer("SELECT note, w FROM visits ORDER BY id", note=[None, "x"], w=[None, 1.5])
    assert [str(kind) for kind in found.schema.types] == ["string", "double"]
    assert rows_of(found) == [(None, None), ("x", 1.5)]


def test_bug_41_an_average_of_nothing_shifts_no_other_figure():
    sql = "SELECT avg(w), count(*), avg(age), min(small) FROM visits"
    assert rows(sql, age=[2, 4], small=[7, 5]) == [(None, 2, 3.0, 5)]


def test_bug_43_no_rewrite_changes_a_case_a_bracket_or_a_limit():
    case = "SELECT CASE WHEN (SELECT max(age) FROM visits) > 3 THEN 'old' ELSE 'young' END FROM visits LIMIT 1"
    assert rows(case, age=[2, 4]) == [("old",)]
    brackets = "SELECT count(*) FROM visits WHERE (age > 1 OR ok) AND NOT (age > 3 AND ok)"
    assert rows(brackets, age=[2, 4, 5], ok=[True, True, False]) == [(2,)]
    limited = "SELECT count(*) FROM (SELECT id FROM visits ORDER BY id LIMIT 2) t WHERE id > 0"
    assert rows(limited, age=[1, 2, 3]) == [(1,)]
