"""The gate for rows that stay: what may be kept of them, and that only their number leaves.

Fragments are written by hand: the gate must hold against any.
"""

import duckdb
import pytest

from podsql.planner.fragment import Column, Field, Literal, LocalTable
from podsql.policy.denial import Denial
from podsql.policy.document import load_preset, parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
POLICY = """
version = 1
name = "city"
people = "*"
allow = ["predict"]
[output]
{output}
[tables.person.columns]
id = {{ roles = ["entity_key", "join_key"] }}
name = {{ roles = [] }}
x = {{ roles = ["measure"] }}
age = {{ roles = ["filter", "measure"] }}
town = {{ roles = ["dimension", "join_key"] }}
[tables.visit]
allow = ["select"]
[tables.visit.columns]
"*" = {{}}
[tables.code]
allow = ["select"]
[tables.code.columns]
"*" = {{}}
"""
COLUMNS = {
    "main.person": {
        **{"id": "INTEGER", "name": "VARCHAR", "x": "DOUBLE", "age": "INTEGER"},
        **{"town": "VARCHAR", "secret": "VARCHAR"},
    },
    "main.visit": {"id": "INTEGER", "cost": "INTEGER"},
    "main.code": {"town": "VARCHAR", "label": "VARCHAR"},
}
MODEL = "0" * 64


def gate(output="", policy=None, keeps=True):
    tables = {
        name: PodTable(
            name=name,
            kind="reference" if name == "main.code" else "federated",
            columns=tuple(Field(*column) for column in columns.items()),
            privacy_unit="id" if "id" in columns else None,
        )
        for name, columns in COLUMNS.items()
    }
    document = policy or parse_policy(POLICY.format(output=output).encode())
    return Gate(pod="north", tables=tables, policy=document, salt="5a", keeps=keeps)


@pytest.fixture(scope="module")
def guarded():
    return gate()


def asked(*columns, source="FROM person", table="scores", model=MODEL, literals=()):
    """Columns as expressions, or as (expression, type)."""
    listed = [(one, "DOUBLE") if isinstance(one, str) else one for one in columns]
    return LocalTable(
        source=source,
        columns=tuple(Column(f"c{n}", *one) for n, one in enumerate(listed)),
        table=table,
        model=model,
        literals=literals,
    )


def judged(gate, ana, fragment, **more):
    return gate.check(fragment, person=ana, purpose="", project="", now=NOW, **more)


def test_only_the_number_of_rows_leaves_and_it_is_guarded(guarded, ana):
    verdict = judged(guarded, ana, asked(("id", "INTEGER"), ("name", "VARCHAR"), "x"))
    assert [(field.name, field.type) for field in verdict.fields] == [("n", "BIGINT")]
    assert verdict.guard
    assert verdict.min_units == 10
    assert "name" not in verdict.sql
    assert [field.type for field in verdict.local.columns] == ["INTEGER", "VARCHAR", "DOUBLE"]
    assert verdict.local.guarded
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE person AS SELECT i::INTEGER AS id, 'n' || i AS name, 1.0::DOUBLE AS x,"
            " i::INTEGER AS age, 't' AS town, 's' AS secret FROM range(30) r(i)"
        )
        assert con.execute(verdict.sql).fetchall() == [(30, True)]
        assert len(con.execute(verdict.local.sql).fetchall()) == 30
        few = judged(guarded, ana, asked("x", source="FROM person WHERE age < 9"))
        assert con.execute(few.sql).fetchall() == [(9, False)]
        assert len(con.execute(few.local.sql).fetchall()) == 9


def test_a_count_of_rows_that_stay_is_held_to_every_rule_of_counts(ana):
    strict = gate("round_base = 5\noverlap_guard = 10\ncaps = { per_day = 3, total = 9 }")
    verdict = judged(strict, ana, asked("x"))
    assert verdict.rounded
    assert verdict.cells
    assert verdict.needs_ledger


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (("secret", "VARCHAR"), "DENIED_COLUMN"),
        (("rowid", "BIGINT"), "PSEUDO_COLUMN"),
        ("id + 1", "FILTER_KEY_LITERAL"),
        ("CASE WHEN id = 7 THEN 1 END", "FILTER_KEY_LITERAL"),
        ("CASE WHEN x > 3 THEN 1 END", "FILTER_ROLE"),
        ("nullif(x, 3)", "FILTER_ROLE"),
        ("CASE x WHEN 3 THEN 1 END", "FILTER_ROLE"),
        (("name LIKE 'a%'", "BOOLEAN"), "FILTER_ROLE"),
        (("contains(name, 'a')", "BOOLEAN"), "FILTER_ROLE"),
        (("town || town", "VARCHAR"), "BAD_TYPE"),
        (("'a' || 'b'", "VARCHAR"), "BAD_TYPE"),
        (("CASE WHEN age = 93 THEN town END", "VARCHAR"), "BAD_TYPE"),
        (("to_days(age)", "INTERVAL"), "BAD_TYPE"),
        ("sum(x)", "AGG_NOT_ALLOWED"),
        ("sum(x) OVER ()", "WINDOW"),
        (("md5(town)", "VARCHAR"), "FUNC_NOT_ALLOWED"),
        ("random()", "FUNC_NOT_ALLOWED"),
        ("(SELECT max(x) FROM person)", "SUBQUERY_ROWS"),
    ],
)
def test_what_stays_is_no_way_around_roles(guarded, ana, column, reason):
    with pytest.raises(Denial) as caught:
        judged(guarded, ana, asked(column))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("FROM visit", "DENIED_TABLE"),
        ("FROM person JOIN visit USING (id)", "DENIED_TABLE"),
        ("FROM person WHERE x > 3", "FILTER_ROLE"),
        ("FROM person WHERE id = 7", "FILTER_KEY_LITERAL"),
        ("FROM person WHERE secret = 'a'", "DENIED_COLUMN"),
        ("FROM read_csv('/etc/passwd')", "TABLE_FUNCTION"),
        ("FROM person LIMIT 1", "STATEMENT"),
    ],
)
def test_what_is_read_is_judged_as_a_statement_would_be(guarded, ana, source, reason):
    with pytest.raises(Denial) as caught:
        judged(guarded, ana, asked("1", source=source))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "table", ["", "../scores", "a/b", "a\\b", "a.parquet", "A", "é", "1a", "_a", "a\0", "a" * 64]
)
def test_a_name_is_no_path(guarded, ana, table):
    with pytest.raises(Denial) as caught:
        judged(guarded, ana, asked("x", table=table))
    assert caught.value.reason == "BAD_NAME"


def test_a_model_is_named_by_a_hash_and_columns_have_a_limit(guarded, ana):
    for fragment, reason in (
        (asked("x", model="risk of person 7"), "BAD_NAME"),
        (asked(*["x"] * 101), "LIMIT"),
    ):
        with pytest.raises(Denial) as caught:
            judged(guarded, ana, fragment)
        assert caught.value.reason == reason


def test_no_expression_fails_on_a_row(guarded, ana):
    columns = (
        ("CAST(town AS INTEGER)", "INTEGER"),
        ("CAST(x AS INTEGER)", "INTEGER"),
        ("sqrt(x)", "DOUBLE"),
        ("ln(x)", "DOUBLE"),
        ("age * age * age", "INTEGER"),
        ("1 // (age - 7)", "INTEGER"),
        ("exp(x)", "DOUBLE"),
        ("CAST(CAST(town AS DATE) AS DATE)", "DATE"),
    )
    where = "FROM person WHERE CAST(age AS TINYINT) < 100"
    order = judged(guarded, ana, asked(*columns, source=where)).local
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE person AS SELECT 1 AS id, 'n' AS name, x, age, 'nowhere' AS town, '' AS secret"
            " FROM (VALUES (-1.0::DOUBLE, 7), (0.0, 2000000000), (1e300, 50), (NULL, NULL)) v(x, age)"
        )
        rows = con.execute(order.sql).fetchall()
    assert len(rows) == 2
    assert {row[0] for row in rows} == {None}
    assert {row[7] for row in rows} == {None}


def test_a_level_of_a_dimension_may_be_asked_for_as_in_training(guarded, ana):
    level = "CASE WHEN town = $1 THEN 1 WHEN town IN ($2) THEN 0 END"
    given = (Literal("string", "a"), Literal("string", "b"))
    assert judged(guarded, ana, asked(level, literals=given)).local.sql.count("'a'") == 1


def test_public_tables_may_be_joined_where_something_may_be_written(guarded, ana):
    source = "FROM person JOIN code ON person.town = code.town"
    verdict = judged(guarded, ana, asked(("label", "VARCHAR"), source=source))
    assert verdict.tables == ("main.code", "main.person")


def test_writing_is_off_unless_policy_and_pod_say_otherwise(ana):
    for name in ("standard", "strict", "dp"):
        preset = gate(policy=load_preset(name))
        with pytest.raises(Denial) as caught:
            judged(preset, ana, asked("x"))
        assert caught.value.reason == "DENIED_TABLE"
        offers = preset.offer_tables(ana, "", "", NOW)
        assert not any("predict" in offer.uses for offer in offers)
    without = gate(policy=load_preset("open"), keeps=False)
    with pytest.raises(Denial) as caught:
        judged(without, ana, asked("x"))
    assert caught.value.reason == "NO_LOCAL_TABLES"
    assert judged(gate(policy=load_preset("open")), ana, asked("x")).local is not None


def test_tables_that_leave_with_noise_alone_are_not_written(ana):
    noisy = 'release = "dp"\n[dp]\nepsilon_per_query = 1\nepsilon_budget = 1\ndelta = 1e-6\n'
    text = POLICY.format(output="").replace(
        'allow = ["predict"]\n', f'allow = ["predict"]\n{noisy}'
    )
    with pytest.raises(Denial) as caught:
        judged(gate(policy=parse_policy(text.encode())), ana, asked("x"))
    assert caught.value.reason == "CONFLICTING_RELEASE"
