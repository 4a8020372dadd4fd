"""Which counts of keys cross pods, what each pod is asked, and what is left to other rules."""

import pytest

from podsql.errors import Error
from podsql.planner.catalog import build_catalog
from podsql.planner.fragment import Aggregate, Psi
from podsql.planner.offer import ColumnOffer, Offer, TableOffer
from podsql.planner.planning import explain, plan


def offer(pod, person="BIGINT", *, psi=True, release="sdc_local", more=(), local=()):
    columns = [("person", person), ("name", "VARCHAR"), ("visit", "BIGINT"), ("cost", "DOUBLE")]
    table = TableOffer(
        name="main.visits",
        kind="federated",
        columns=tuple(ColumnOffer(name, kind) for name, kind in [*columns, *more]),
        local_keys=local,
        release=release,
        psi_count=psi,
    )
    codes = TableOffer(
        name="main.codes", kind="reference", columns=(ColumnOffer("visit", "BIGINT"),)
    )
    return Offer(
        pod=pod,
        version=f"{pod}{psi}{person}{release}{more}{local}",
        tables=(table, codes),
        issued=0,
        expires=1,
    )


def catalog(**pods):
    return build_catalog({pod: offer(pod, **given) for pod, given in pods.items()})


TWO = catalog(north={}, south={})


def fragment(sql, found=TWO):
    (stage,) = plan(sql, found).stages
    return stage.fragment


def test_every_pod_is_asked_the_same():
    asked = fragment("SELECT count(DISTINCT person) FROM visits WHERE cost > 2.5")
    (part,) = asked.parts
    assert (asked.counted, part.pods, part.key.sql) == (
        "union",
        ("north", "south"),
        '"visits"."person"',
    )
    assert part.source == 'FROM "main"."visits" AS "visits" WHERE "visits"."cost" > $1'
    assert [literal.text for literal in asked.literals] == ["2.5"]


def test_a_key_is_of_the_declared_type_and_a_missing_column_is_null():
    found = catalog(north={"person": "INTEGER", "more": (("ward", "BIGINT"),)}, south={})
    asked = fragment("SELECT count(DISTINCT person) FROM visits WHERE ward IS NULL", found)
    assert {part.key.type for part in asked.parts} == {"BIGINT"}
    by_pod = {part.pods: part.source for part in asked.parts}
    assert "CAST(NULL AS BIGINT) IS NULL" in by_pod["south",]
    assert "CAST" not in by_pod["north",]
    assert asked.pods == ("north", "south")


def test_tables_of_named_pods_are_asked_their_own_conditions():
    asked = fragment(
        "SELECT count(DISTINCT b.name) FROM north.main.visits a, south.main.visits b"
        " WHERE a.name = b.name AND a.cost > 1 AND 2 > b.cost"
    )
    assert asked.counted == "overlap"
    sources = {part.pods[0]: part.source for part in asked.parts}
    assert sources == {
        "north": 'FROM "main"."visits" AS "a" WHERE "a"."cost" > $1',
        "south": 'FROM "main"."visits" AS "b" WHERE $2 > "b"."cost"',
    }


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT count(DISTINCT person) FROM visits", catalog(north={})),
        ("SELECT count(DISTINCT person) FROM visits WHERE _pod = 'north'", TWO),
        ("SELECT count(DISTINCT person) FROM north.main.visits", TWO),
        (
            "SELECT count(DISTINCT visit) FROM visits",
            catalog(north={"local": ("visit",)}, south={"local": ("visit",)}),
        ),
        ("SELECT count(person) FROM visits", TWO),
    ],
)
def test_what_stays_in_its_pod_needs_no_meeting(sql, found):
    assert isinstance(fragment(sql, found), Aggregate)


J = "FROM north.main.visits a JOIN south.main.visits b"


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("SELECT count(DISTINCT cost) FROM visits", "NOT_EXACT", "two pods"),
        ("SELECT count(DISTINCT person), sum(cost) FROM visits", "NOT_EXACT", "two pods"),
        ("SELECT name, count(DISTINCT person) FROM visits GROUP BY name", "NOT_EXACT", "two pods"),
        ("SELECT sum(DISTINCT person) FROM visits", "NOT_EXACT", "two pods"),
        (f"SELECT count(*) {J} ON a.person = b.person", "NOT_LOCAL", "only keys"),
        (f"SELECT count(DISTINCT a.person) {J} ON a.person = b.name", "NOT_LOCAL", "types"),
        (f"SELECT count(DISTINCT a.person) {J} ON a.name = b.name", "NOT_LOCAL", "one key"),
        (f"SELECT count(DISTINCT a.person) {J} ON a.person < b.person", "NOT_LOCAL", "one key"),
        (f"SELECT count(DISTINCT a.person) {J} ON true", "NOT_LOCAL", "one key"),
        (
            f"SELECT count(DISTINCT a.person) {J.replace('JOIN', 'LEFT JOIN')} USING (person)",
            "NOT_LOCAL",
            "outer",
        ),
    ],
)
def test_the_rest_is_refused_with_its_reason(sql, code, words):
    with pytest.raises(Error) as caught:
        plan(sql, TWO)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("south", [{"psi": False}, {"person": "VARCHAR"}, {"person": "DOUBLE"}])
def test_every_pod_must_let_its_keys_be_counted(south):
    with pytest.raises(Error) as caught:
        fragment("SELECT count(DISTINCT person) FROM visits", catalog(north={}, south=south))
    assert caught.value.code in ("NOT_EXACT", "AMBIGUOUS_SCHEMA")


def test_a_noisy_answer_is_another_rules():
    found = catalog(north={}, south={"release": "dp"})
    assert not isinstance(fragment("SELECT count(DISTINCT person) FROM visits", found), Psi)


def test_the_plan_says_what_leaves_which_pod():
    text = explain(plan("SELECT count(DISTINCT person) AS n FROM visits", TWO), TWO)
    assert "leaves the pods: blinded keys, from pod to pod" in text
    assert "leaves south: how many keys they have together" in text
    assert text == explain(plan("SELECT count(DISTINCT person) AS n FROM visits", TWO), TWO)


def test_a_table_that_only_keys_may_meet_is_no_table_of_statements():
    table = TableOffer(
        name="main.list",
        kind="federated",
        columns=(ColumnOffer("id", "BIGINT"),),
        uses=("intersect",),
    )
    found = build_catalog(
        {"north": Offer(pod="north", version="1", tables=(table,), issued=0, expires=1)}
    )
    assert not found.tables
