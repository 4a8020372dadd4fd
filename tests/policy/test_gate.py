"""Who may ask, what is offered, limits, unknown fragments, and hostile texts."""

import contextlib
import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.planner.fragment import (
    Aggregate,
    Bins,
    Column,
    Feature,
    Field,
    Literal,
    ModelStep,
    Ordering,
    Relation,
    Rows,
    TorchStep,
)
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable
from podsql.service_messages import Grant

NOW = 1_770_000_000_000
ONE = (Column(name="c", sql="1", type="INTEGER"),)
COUNT = (Column(name="n", sql="count(*)", type="BIGINT"),)


def denied(judge, fragment, policy="open"):
    with pytest.raises(Denial) as caught:
        judge(fragment, policy)
    return caught.value.reason


NAMED = """
version = 1
name = "named"
roles = ["analyst"]
purposes = ["cohort"]
projects = ["p1"]
[people]
ana = "{key}"
[valid]
until = 2026-12-31
[tables.person.columns."*"]
"""


@pytest.fixture
def named_gate(pod_tables, ana):
    policy = parse_policy(NAMED.format(key=ana.fingerprint).encode())
    return Gate(pod="north", tables=pod_tables(), policy=policy)


def test_only_the_named_person_purpose_project_and_time_pass(named_gate, ana):
    asked = {"person": ana, "purpose": "cohort", "project": "p1", "now": NOW}
    fragment = Aggregate(source="FROM person", keys=(), aggregates=COUNT)
    assert named_gate.check(fragment, **asked).guard
    wrong = {
        "PERSON": {"person": dataclasses.replace(ana, fingerprint="ps1" + "b" * 56)},
        "PURPOSE": {"purpose": "marketing"},
        "PROJECT": {"project": "p2"},
        "EXPIRED": {"now": NOW + 400 * 24 * 3600 * 1000},
    }
    for reason, change in wrong.items():
        with pytest.raises(Denial) as caught:
            named_gate.check(fragment, **{**asked, **change})
        assert caught.value.reason == reason
    modeller = dataclasses.replace(ana, role="modeller")
    with pytest.raises(Denial):
        named_gate.check(fragment, **{**asked, "person": modeller})


def test_the_offer_is_empty_without_a_right_and_lists_nothing_hidden(named_gate, make_gate, ana):
    assert named_gate.offer_tables(ana, "marketing", "p1", NOW) == ()
    assert [table.name for table in named_gate.offer_tables(ana, "cohort", "p1", NOW)] == [
        "main.person"
    ]
    person, site, visit = make_gate("p10").offer_tables(ana, "diabetes-2026", "", NOW)
    assert [column.name for column in person.columns] == [
        "id",
        "age",
        "region",
        "salary",
        "diag",
        "hosp_id",
    ]
    assert (person.release, person.min_units, person.privacy_unit) == ("sdc_local", 10, "id")
    assert (site.release, site.min_units) == ("rows", 0)
    assert "extreme" not in visit.disclosures
    assert visit.columns[0].roles == ("entity_key", "join_key")


def grant_for(ana, **more):
    base = {
        "grant_id": "g",
        "analyst": ana.identity,
        "pod": "*",
        "tables": ("*",),
        "purpose": "*",
        "project": "*",
        "release": "sdc_local",
        "since": 0,
        "until": NOW + 1,
    }
    return Grant(**{**base, **more})


@pytest.mark.parametrize(
    "change",
    [
        {"pod": "south"},
        {"analyst": b"b" * 32},
        {"tables": ("main.site",)},
        {"purpose": "other"},
        {"project": "other"},
        {"until": NOW},
        {"since": NOW + 1},
    ],
)
def test_attack_42_a_grant_for_something_else_offers_nothing(make_gate, ana, change):
    gate = make_gate("open")
    offered = gate.offer_tables(ana, "x", "y", NOW, [[grant_for(ana, **change)]])
    assert "main.person" not in {table.name for table in offered}


def test_attack_49_the_file_is_the_ceiling_and_every_service_must_grant(make_gate, ana):
    wide = grant_for(ana, release="rows")
    narrow = grant_for(ana, tables=("main.person",))
    standard = make_gate("standard").offer_tables(ana, "x", "y", NOW, [[wide]])
    assert {t.name: t.release for t in standard}["main.person"] == "sdc_local"
    both = make_gate("open").offer_tables(ana, "x", "y", NOW, [[wide], [narrow]])
    assert [(t.name, t.release, t.min_units) for t in both] == [("main.person", "sdc_local", 10)]
    assert make_gate("open").offer_tables(ana, "x", "y", NOW, [[wide], []]) == ()


def test_a_fragment_stays_within_the_tables_its_head_names(judge, fragment_of):
    fragment = fragment_of("SELECT count(*) FROM person")
    assert judge(fragment, granted=["main.person"]).tables == ("main.person",)
    with pytest.raises(Denial):
        judge(fragment, granted=["main.visit"])


def test_kinds_that_are_not_known_here_are_refused(judge):
    source, column = "FROM person", ONE[0]
    for fragment in (
        Bins(source=source, column=column, level=0, path=()),
        TorchStep(module="m", source=source, state=b""),
        Aggregate(source=source, keys=(), aggregates=COUNT, grouping_sets=((),), masked=True),
    ):
        assert denied(judge, fragment) == "FRAGMENT_KIND"


def test_masks_take_no_rule_away(judge):
    """A round under masks is judged, and computed, as the same one in the clear."""
    bare = ModelStep(family="moments", source="FROM person", features=(Feature("x", "age"),))
    masked = msgspec.structs.replace(bare, masked=True)
    for policy in ("open", "standard"):
        plain, under = judge(bare, policy), judge(masked, policy)
        assert under == dataclasses.replace(plain, masked=True)
        assert (plain.answer, under.answer) == ("exact", "masked")
    # A target that is computed would be a comparison.
    odd = msgspec.structs.replace(bare, family="binomial", targets=(Feature("y", "age - 30"),))
    assert denied(judge, odd, "standard") == "PREDICATE_IN_AGG"
    assert denied(judge, msgspec.structs.replace(odd, masked=True), "standard") == (
        "PREDICATE_IN_AGG"
    )


def test_inputs_do_not_meet_rows(judge):
    given_in = (Relation(name="keys", fields=(Field(name="id", type="INTEGER"),)),)
    assert (
        denied(judge, Aggregate(source="FROM person", keys=(), aggregates=COUNT, inputs=given_in))
        == "JOIN_INPUT"
    )


HOSTILE = [
    "FROM person; SELECT 1",
    "FROM person --\n; DROP TABLE person",
    "FROM read_csv('x')",
    "FROM 'x.csv'",
    "FROM query('SELECT 1')",
    "FROM query_table('person')",
    "FROM duckdb_settings()",
    "FROM duckdb_tables()",
    "FROM pragma_storage_info('person')",
    "FROM duckdb_secrets()",
    "FROM information_schema.tables",
    "FROM sqlite_master",
    "FROM main.secret",
    "FROM memory.main.person",
    "FROM person AS p(a, b)",
    "FROM (FROM person)",
    "FROM person, LATERAL (SELECT 1)",
    "FROM person, (VALUES (1)) v(x)",
    "FROM unnest([1])",
    "FROM range(3)",
    "FROM person TABLESAMPLE 1 ROWS",
    "FROM person AT (VERSION => 1)",
    "FROM person WHERE rowid = 0",
    "FROM person WHERE person IS NOT NULL",
    "FROM person WHERE id = (SELECT 1)",
    "FROM person WHERE EXISTS (SELECT 1)",
    "FROM person WHERE id IN (SELECT 1)",
    "FROM person WHERE COLUMNS(*) = 1",
    "FROM person WHERE region = current_setting('x')",
    "FROM person WHERE getvariable('x')",
    "FROM person WHERE error('x')",
    "FROM person WHERE sleep_ms(3)",
    "FROM person WHERE random() < 0.5",
    "FROM person WHERE length(repeat('x', 9)) > 1",
    "FROM person WHERE json_execute_serialized_sql('x')",
    "FROM person WHERE region = {'a': 1}.a",
    "FROM person WHERE region[1] = 'x'",
    "FROM person WHERE list_contains([1], id)",
    "FROM person WHERE row_number() OVER () = 1",
    "FROM person WHERE date_trunc(region, dob) = dob",
    "FROM person WHERE regexp_matches(region, region)",
    "FROM person WHERE ? = 1",
    "FROM person WHERE $x = 1",
    "FROM person WHERE $2 = 1",
    "FROM person WHERE count(*) > 1",
    "FROM person GROUP BY region",
    "FROM person LIMIT 1",
    "FROM person ORDER BY 1",
    "FROM person QUALIFY true",
    "FROM person UNION ALL FROM person",
    "INTO x FROM person",
    "",
    "WHERE true",
    "\x00",
    "FROM person WHERE 'a",
    "FROM person p JOIN person P ON true",
    "FROM person ASOF JOIN visit ON person.id >= visit.id",
    "FROM person POSITIONAL JOIN visit",
    "FROM person NATURAL JOIN visit",
    "FROM person p JOIN visit v ON p.id = v.id AND v.rowid = 1",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_attacks_53_to_57_and_63_end_at_the_gate_even_when_everything_is_allowed(judge, source):
    denied(
        judge,
        Aggregate(
            source=source, keys=(), aggregates=COUNT, literals=(Literal(kind="number", text="1"),)
        ),
    )


@pytest.mark.parametrize(
    "sql",
    ["*", "person.*", "COLUMNS(*)", "#1", "rowid", "person", "id, name", "id AS x, name", "DISTINCT id", "(SELECT 1)",
     "id FROM person", "max(id)", "list(id)", "first(id)", "[id]", "{'a': id}", "id ORDER BY 1", "read_text('x')", "",
     "current_date", "now()", "nextval('s')", "main.lower(name)", "id::STRUCT(a INT)", "name COLLATE NOCASE"],
)  # fmt: skip
def test_a_row_column_is_one_plain_expression(judge, sql):
    denied(judge, Rows(source="FROM person", columns=(Column(name="c", sql=sql, type="INTEGER"),)))


@pytest.mark.parametrize(
    "sql",
    [
        "id",
        "count(*) OVER ()",
        "sum(sum(id))",
        "1",
        "sum(id) + age",
        "string_agg(name, ',')",
        "mode(age)",
    ],
)
def test_an_aggregate_column_is_built_of_aggregates(judge, sql):
    denied(
        judge,
        Aggregate(
            source="FROM person", keys=(), aggregates=(Column(name="c", sql=sql, type="INTEGER"),)
        ),
    )


def test_names_and_types_of_outputs_are_checked(judge):
    for name, kind in (
        ("_ok", "INTEGER"),
        ("", "INTEGER"),
        ("a\nb", "INTEGER"),
        ("x" * 300, "INTEGER"),
        ("a", "INTEGER) FROM x --"),
        ("a", "nonsense"),
        ("a", ""),
        ("a", "DECIMAL(" + "9" * 500 + ")"),
    ):
        denied(judge, Rows(source="FROM person", columns=(Column(name=name, sql="id", type=kind),)))
    twice = (Column(name="a", sql="id", type="INTEGER"), Column(name="A", sql="id", type="INTEGER"))
    denied(judge, Rows(source="FROM person", columns=twice))
    quoted = Rows(source="FROM person", columns=(Column(name='a"; x', sql="id", type="INTEGER"),))
    assert '"a""; x"' in judge(quoted, "open").sql


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 300 + "true" + ")" * 300,
        "NOT " * 15_000 + "true",
        "id = " + "- " * 20_000 + "1",
        " OR ".join(["id = 1"] * 300),
        "id IN (" + ", ".join(["1"] * 1001) + ")",
        "id = " + " + ".join(["1"] * 100),
        "CASE WHEN true THEN " * 300 + "1" + " END" * 300 + " = 1",
        "region = '" + "x" * 65_536 + "'",
    ],
)
def test_attack_56_oversized_texts_are_refused(judge, condition):
    denied(judge, Aggregate(source=f"FROM person WHERE {condition}", keys=(), aggregates=COUNT))


def test_many_joins_are_refused(judge):
    joins = " ".join(f"JOIN site AS s{at} ON p.hosp_id = s{at}.hosp_id" for at in range(17))
    denied(judge, Aggregate(source=f"FROM person AS p {joins}", keys=(), aggregates=COUNT))


def test_indices_out_of_range_are_refused(judge):
    column = Column(name="k", sql="region", type="VARCHAR")
    denied(
        judge,
        Aggregate(source="FROM person", keys=(column,), aggregates=COUNT, grouping_sets=((1,),)),
    )
    denied(
        judge,
        Rows(
            source="FROM person",
            columns=(column,),
            order=(Ordering(column=5, descending=False, nulls_first=False),),
        ),
    )
    denied(judge, Rows(source="FROM person", columns=(column,), limit=-1))


def test_a_kept_verdict_is_not_kept_for_another_person_or_a_later_day(named_gate, ana):
    fragment = Aggregate(source="FROM person", keys=(), aggregates=COUNT)
    asked = {"purpose": "cohort", "project": "p1"}
    first = named_gate.check(fragment, person=ana, now=NOW, **asked)
    assert named_gate.check(fragment, person=ana, now=NOW, **asked) is first
    stranger = dataclasses.replace(ana, name="eve", identity=b"e" * 32)
    with pytest.raises(Denial):
        named_gate.check(fragment, person=stranger, now=NOW, **asked)
    with pytest.raises(Denial):
        named_gate.check(fragment, person=ana, now=NOW + 400 * 24 * 3600 * 1000, **asked)


WORDS = st.sampled_from(
    [
        "FROM",
        "person",
        "AS",
        "p",
        ",",
        "visit",
        "v",
        "JOIN",
        "LEFT",
        "SEMI",
        "ON",
        "USING",
        "(",
        ")",
        "WHERE",
        "AND",
        "OR",
        "NOT",
        "id",
        "p.id",
        "region",
        "'x'",
        "1",
        "$1",
        "$2",
        "=",
        "<>",
        "+",
        "-",
        "*",
        "/",
        "::",
        "INT",
        "CAST",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "SELECT",
        "UNION",
        "count(*)",
        "sum(",
        "FILTER",
        "OVER",
        "[",
        "]",
        "{",
        "}",
        ":",
        ";",
        "--",
        "/*",
        "*/",
        ".",
        "IN",
        "BETWEEN",
        "LIKE",
        "IS",
        "NULL",
        "DISTINCT",
        "GROUP",
        "BY",
        "LIMIT",
        "$",
        "?",
        "#",
        "@",
        "LAMBDA",
        "x:",
        "COLUMNS(*)",
        '"',
        "'",
        "\\",
        "EXCEPT",
        "INTERVAL",
        "day",
        "date_trunc(",
        "'month'",
        "STRUCT(",
        "MAP",
        "VALUES",
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join))
COLUMN = st.builds(
    Column,
    name=st.sampled_from(["a", "b", "_ok", ""]) | st.text(max_size=4),
    sql=TEXTS,
    type=st.sampled_from(["INTEGER", "VARCHAR", "DECIMAL(3,1)", "ENUM('a')", "INTEGER[]"])
    | st.text(max_size=8),
)
LITERALS = st.lists(
    st.builds(Literal, kind=st.sampled_from(["number", "string"]), text=st.text(max_size=6)),
    max_size=2,
).map(tuple)
SOURCE = st.one_of(TEXTS, TEXTS.map(lambda text: f"FROM person AS p WHERE {text}"))


@settings(max_examples=400, deadline=None)
@given(
    fragment=st.one_of(
        st.builds(
            Rows, source=SOURCE, columns=st.lists(COLUMN, max_size=2).map(tuple), literals=LITERALS
        ),
        st.builds(
            Aggregate,
            source=SOURCE,
            keys=st.lists(COLUMN, max_size=2).map(tuple),
            aggregates=st.lists(COLUMN, max_size=2).map(tuple),
            literals=LITERALS,
        ),
    )
)
def test_whatever_is_sent_is_judged_or_denied(judge, fragment):
    msgspec.msgpack.encode(fragment)
    for policy in ("open", "standard"):
        with contextlib.suppress(Denial):
            assert judge(fragment, policy).sql


@pytest.mark.parametrize(("most", "allowed"), [(100, True), (99, False)])
def test_a_statement_reads_no_more_rows_than_the_document_says(ana, most, allowed):
    text = f"""
version = 1
name = "small"
people = "*"
limits = {{rows_scanned = {most}}}
[tables.t.columns]
"*" = {{}}
"""
    column = (Field(name="a", type="INTEGER"),)
    table = PodTable(name="main.t", columns=column, privacy_unit="a", rows=50)
    gate = Gate(pod="north", tables={"main.t": table}, policy=parse_policy(text.encode()))
    fragment = Aggregate(
        source="FROM t AS x JOIN t AS y ON x.a = y.a",
        keys=(),
        aggregates=(Column(name="n", sql="count(*)", type="BIGINT"),),
    )
    asked = {"person": ana, "purpose": "", "project": "", "now": 1_770_000_000_000}
    if allowed:
        assert gate.check(fragment, **asked).sql
    else:
        with pytest.raises(Denial) as caught:
            gate.check(fragment, **asked)
        assert caught.value.reason == "LIMIT"
