"""What a statement asks twice is asked once, and stands in both places."""

import pyarrow as pa
import pytest

import podsql

TWICE = """
    WITH per_sex AS (SELECT sex, count(*) AS n FROM visits GROUP BY sex)
    SELECT sex, n FROM per_sex WHERE n = (SELECT max(n) FROM per_sex)
"""


@pytest.fixture(scope="module")
def connection():
    tables = [{"sex": ["f", "m", "f"], "age": [3, 4, 5]}, {"sex": ["m", "f"], "age": [1, 2]}]
    pods = {name: {"visits": pa.table(one)} for name, one in zip("ab", tables, strict=True)}
    with podsql.local(pods=pods, isolation="thread") as federation:
        yield federation.connect()


def test_a_query_named_twice_is_asked_once(connection):
    cursor = connection.execute(TWICE)
    assert cursor.fetchall() == [("f", 3)]
    first, second = cursor.plan.stages
    assert (first.same_as, second.same_as) == ("", first.name)
    assert sorted(receipt.pod for receipt in cursor.receipt) == ["a", "b"]
    assert f"  asked once, with {first.name}" in cursor.explain(TWICE).splitlines()


def test_what_differs_in_a_value_is_asked_twice(connection):
    arms = [f"SELECT count(*) AS n FROM visits WHERE age > {age}" for age in (1, 2)]
    cursor = connection.execute(" UNION ALL ".join(arms))
    assert sorted(cursor.fetchall()) == [(3,), (4,)]
    assert [stage.same_as for stage in cursor.plan.stages] == ["", ""]
