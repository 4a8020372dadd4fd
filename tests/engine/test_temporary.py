"""Temporary tables: types kept, names found, and no way out of their database."""

import threading

import pyarrow as pa
import pytest

from podsql.engine.temporary import Origin, Temporary
from podsql.errors import Error
from podsql.planner.fragment import Field

UUID = "00000000-0000-0000-0000-000000000001"
FIELDS = (
    Field("a", "INTEGER"),
    Field("a", "HUGEINT"),
    Field("e", "ENUM('p', 'q')"),
    Field("u", "UUID"),
    Field("n", '"NULL"'),
)
ROWS = pa.table(
    [
        pa.array([1, 2], pa.int32()),
        pa.array([10**30, 2], pa.decimal128(38, 0)),
        ["p", "q"],
        [UUID, UUID],
        pa.array([None, None], pa.int32()),
    ],
    names=[field.name for field in FIELDS],
)


@pytest.fixture
def kept():
    made = Temporary()
    made.create("X", FIELDS, ROWS, Origin(pods=("north",)), replace=False)
    yield made
    made.close()


def asked(kept, sql, parameters=(), seconds=60.0, ticket=None):
    return kept.run(sql, parameters, seconds=seconds, ticket=ticket)


def test_columns_have_the_types_of_the_answer_and_travel_in_wire_form(kept):
    fields, answer = asked(kept, "SELECT * FROM x WHERE a > ? ORDER BY a", [0])
    assert [field.type for field in fields] == [
        "INTEGER",
        "HUGEINT",
        "ENUM('p', 'q')",
        "UUID",
        "INTEGER",
    ]
    assert [field.name for field in fields] == ["a", "a_1", "e", "u", "n"]
    assert answer.to_pydict()["a_1"] == [10**30, 2]
    assert answer.schema.field("e").type == pa.string()
    assert answer.to_pydict()["u"] == [UUID, UUID]
    assert kept.describe("SELECT * FROM x", ()) == fields


def test_what_duckdb_knows_may_be_asked_of_them(kept):
    sql = "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT list(i ORDER BY i) AS l FROM r, x WHERE a = 1"
    assert asked(kept, sql)[1].to_pydict() == {"l": [[1, 2, 3]]}


def test_a_name_is_taken_until_it_is_dropped_or_replaced(kept):
    with pytest.raises(Error) as caught:
        kept.create("x", FIELDS, ROWS, Origin(), replace=False)
    assert caught.value.code == "CONFLICT"
    kept.create("x", FIELDS[:1], ROWS.select([0]), Origin(), replace=True)
    assert [table.fields for table in kept.tables.values()] == [FIELDS[:1]]
    assert kept.drop("x")
    assert not kept.drop("x")
    assert kept.tables == {}


@pytest.mark.parametrize(
    ("sql", "parameters", "code"),
    [
        ("SELECT nope FROM x", (), "UNKNOWN_COLUMN"),
        ("SELECT * FROM y", (), "UNKNOWN_TABLE"),
        ("SELECT ? FROM x", (), "PARAMETERS"),
        ("SELECT 1 FROM x", (2,), "PARAMETERS"),
        ("SELECT ? FROM x", (object(),), "PARAMETERS"),
        ("SELECT e::VARCHAR::INTEGER FROM x", (), "DATA"),
        ("SELECT 100::TINYINT * 100::TINYINT FROM x", (), "OVERFLOW"),
        ("SELECT a FROM x, read_text('/etc/hostname')", (), "BINDING"),
        ("SELECT a FROM x, '/etc/hostname'", (), "UNKNOWN_TABLE"),
        ("SELECT getenv('HOME') FROM x", (), "BINDING"),
    ],
)
def test_a_refusal_has_a_code_and_no_value(kept, sql, parameters, code):
    with pytest.raises(Error) as caught:
        asked(kept, sql, parameters)
    assert caught.value.code == code
    assert "'p'" not in str(caught.value)


def test_an_unknown_name_gets_the_nearest_one(kept):
    kept.create("visits_by_sex", FIELDS, ROWS, Origin(), replace=False)
    assert "visits_by_sex" in kept.unknown("visit_by_sex").hint


ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i FROM r) SELECT count(*) FROM r, x"


def test_a_statement_ends_when_its_time_is_over_and_the_next_one_runs(kept):
    with pytest.raises(Error) as caught:
        asked(kept, ENDLESS, seconds=0.1, ticket="mine")
    assert caught.value.code == "TIMEOUT"
    assert asked(kept, "SELECT count(*) AS n FROM x")[1].to_pydict() == {"n": [2]}


def test_only_the_statement_that_is_meant_is_stopped(kept):
    ended = []

    def endless():
        try:
            asked(kept, ENDLESS, ticket="mine")
        except Error as fault:
            ended.append(fault.code)

    thread = threading.Thread(target=endless)
    thread.start()
    while thread.is_alive():  # it may not have begun at the first call
        kept.stop("another")
        kept.stop("mine")
        thread.join(0.05)
    assert ended == ["CANCELLED"]
