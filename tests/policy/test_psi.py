"""What the gate lets into a count of keys across pods, and on which terms."""

import pytest

from podsql.planner.fragment import Column, Literal, Psi, PsiPart
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate

NOW = 1_770_000_000_000
POLICY = """
version = 1
name = "psi"
people = "*"
[joins]
kinds = ["psi_count"]
{joins}
[output]
{output}
[tables.person]
{table}
[tables.person.columns]
id = {{roles = ["entity_key", "join_key"]}}
name = {{roles = ["join_key"]}}
dob = {{roles = ["dimension", "filter"]}}
age = {{roles = ["join_key", "filter", "measure"]}}
salary = {{roles = ["join_key"]}}
"""
PODS = ("north", "south")


def gate_of(pod_tables, joins="", output="", table="", kinds=None):
    text = POLICY.format(joins=joins, output=output, table=table)
    if kinds is not None:
        text = text.replace('["psi_count"]', kinds)
    return Gate(pod="north", tables=pod_tables(), policy=parse_policy(text.encode()))


def ask(key="p.id", *, kind="INTEGER", source="FROM person AS p", pods=PODS, literals=()):
    return Psi("union", (PsiPart(pods, source, Column("key", key, kind)),), b"e", literals)


def check(gate, fragment, ana, **more):
    return gate.check(fragment, person=ana, purpose="x", project="y", now=NOW, **more)


def reason(gate, fragment, ana, **more):
    with pytest.raises(Denial) as caught:
        check(gate, fragment, ana, **more)
    return caught.value.reason


def test_a_key_is_counted_here_first_and_then_read(pod_tables, ana):
    output = 'min_units = 12\nround_base = 5\ncomplement = true\nzero_cells = "show"'
    verdict = check(gate_of(pod_tables, output=output), ask(), ana)
    assert "DISTINCT" in verdict.sql
    assert verdict.guard
    assert verdict.needs_ledger
    order = verdict.psi
    assert (order.least, order.base, order.complement, order.zero) == (12, 5, True, True)
    assert (order.kind, order.counted, order.pods) == ("integer", "union", PODS)
    assert order.sql == (
        'SELECT DISTINCT CAST("p"."id" AS TEXT) AS "key" FROM "main"."person" AS "p"'
        ' WHERE NOT "p"."id" IS NULL'
    )


def test_conditions_hold_for_the_count_and_for_the_keys_alike(pod_tables, ana):
    fragment = ask(source="FROM person AS p WHERE p.age < $1", literals=(Literal("number", "30"),))
    verdict = check(gate_of(pod_tables), fragment, ana)
    for sql in (verdict.sql, verdict.psi.sql):
        assert 'WHERE "p"."age" < 30' in sql


@pytest.mark.parametrize(
    ("fragment", "why"),
    [
        (ask("p.dob", kind="DATE"), "JOIN_COLUMN"),
        (ask("p.name", kind="VARCHAR"), "ENTITY_COUNT"),
        (ask("p.name || 'x'", kind="VARCHAR"), "NODE_NOT_ALLOWED"),
        (ask("p.id, p.age"), "PARSER_DISAGREES"),
        (ask("CAST(p.name AS INTEGER)"), "NODE_NOT_ALLOWED"),
        (ask("p.id", kind="VARCHAR"), "BAD_TYPE"),
        (ask("p.id", kind="DOUBLE"), "BAD_TYPE"),
        (ask("p.hosp_id"), "DENIED_COLUMN"),
        (ask("1"), "NODE_NOT_ALLOWED"),
        (ask(pods=("north",)), "FRAGMENT_KIND"),
        (ask(pods=("north", "north")), "FRAGMENT_KIND"),
        (ask(pods=("south", "west")), "FRAGMENT_KIND"),
        (ask(source="FROM person AS p WHERE p.id = 7"), "FILTER_KEY_LITERAL"),
        (ask(source="FROM person AS p JOIN person AS q ON p.id = q.id"), "JOIN_TYPE"),
        (ask(source="FROM secret AS p"), "DENIED_TABLE"),
    ],
)  # fmt: skip
def test_what_is_no_key_of_this_table_is_denied(fragment, why, pod_tables, ana):
    assert reason(gate_of(pod_tables), fragment, ana) == why


def test_off_unless_the_policy_lists_it(pod_tables, ana):
    gate = gate_of(pod_tables, kinds='["co_located", "reference"]')
    assert reason(gate, ask(), ana) == "JOIN_TYPE"
    assert not gate.offer_tables(ana, "x", "y", NOW)[0].psi_count
    assert gate_of(pod_tables).offer_tables(ana, "x", "y", NOW)[0].psi_count


def test_pairs_name_a_key_that_joins_itself(pod_tables, ana):
    gate = gate_of(pod_tables, joins='pairs = [["person.id", "person.id"]]')
    assert check(gate, ask(), ana).psi is not None
    assert reason(gate, ask("p.name", kind="VARCHAR"), ana) == "JOIN_COLUMN"
    other = gate_of(pod_tables, joins='pairs = [["person.id", "visit.id"]]')
    assert reason(other, ask(), ana) == "JOIN_COLUMN"


def test_noisy_releases_take_no_part(pod_tables, ana):
    gate = gate_of(pod_tables, table='release = "dp"')
    assert reason(gate, ask(), ana) == "CONFLICTING_RELEASE"
    assert reason(gate_of(pod_tables), ask(), ana, release="dp") == "CONFLICTING_RELEASE"
    assert not gate.offer_tables(ana, "x", "y", NOW)[0].psi_count


def test_where_rows_may_leave_a_count_has_no_terms(pod_tables, ana):
    verdict = check(gate_of(pod_tables, table='release = "rows"\nrows = ["id"]'), ask(), ana)
    assert not verdict.guard
    assert (verdict.psi.least, verdict.psi.zero, verdict.psi.base) == (0, True, 1)


@pytest.mark.parametrize(
    ("kinds", "source", "allowed"),
    [
        ('["reference"]', "FROM person AS p JOIN visit AS v ON p.id = v.id", False),
        ('["co_located"]', "FROM person AS p JOIN visit AS v ON p.id = v.id", True),
        ('["co_located"]', "FROM person AS p JOIN site AS s ON p.hosp_id = s.hosp_id", False),
        ('["reference"]', "FROM person AS p JOIN site AS s ON p.hosp_id = s.hosp_id", True),
        ("[]", "FROM person AS p", True),
    ],
)
def test_kinds_of_joins_within_a_pod_are_narrowed_too(
    kinds, source, allowed, pod_tables, ana, fragment_of
):
    text = f"""version = 1\nname = "k"\npeople = "*"\n[joins]\nkinds = {kinds}
[tables."*".columns."*"]\nroles = ["join_key", "filter", "measure"]\n"""
    gate = Gate(pod="north", tables=pod_tables(), policy=parse_policy(text.encode()))
    fragment = fragment_of(f"SELECT count(*) {source}")
    if allowed:
        assert check(gate, fragment, ana).sql
    else:
        assert reason(gate, fragment, ana) == "JOIN_TYPE"


MEET = """
version = 1
name = "meet"
people = "*"
allow = []
[intersect]
{rules}
[tables.person]
allow = ["intersect"]
[tables.person.columns]
id = {{roles = ["entity_key", "join_key"]}}
age = {{roles = ["filter", "measure"]}}
"""


def meet(candidates=20, counted="met", *, key="p.id", source="FROM person AS p", pods=("north",)):
    return Psi(
        counted, (PsiPart(pods, source, Column("key", key, "INTEGER")),), b"e", (), candidates
    )


@pytest.fixture
def meeting(pod_tables):
    return Gate(
        pod="north",
        tables=pod_tables(),
        policy=parse_policy(MEET.format(rules="max_candidates = 100").encode()),
    )


def test_keys_meet_a_table_that_allows_nothing_else(meeting, ana, fragment_of):
    verdict = check(meeting, meet(), ana)
    assert verdict.guard
    assert (verdict.psi.candidates, verdict.psi.most, verdict.psi.least) == (20, 20, 10)
    for sql in (
        "SELECT count(*) FROM person",
        "SELECT avg(age) FROM person",
        "SELECT id FROM person",
    ):
        assert reason(meeting, fragment_of(sql), ana) == "DENIED_TABLE"
    assert reason(meeting, ask(), ana) == "JOIN_TYPE"
    (offer,) = meeting.offer_tables(ana, "x", "y", NOW)
    assert offer.uses == ("intersect",)


@pytest.mark.parametrize("candidates", [1, 9, 101, 10**9])
def test_a_list_of_few_or_too_many_keys_is_denied(candidates, meeting, ana):
    assert reason(meeting, meet(candidates), ana) == "PSI_PROBE"


@pytest.mark.parametrize(
    ("fragment", "why"),
    [
        (meet(0), "PSI_PROBE"),
        (meet(counted="matched"), "ROW_LEVEL"),
        (meet(counted="union"), "JOIN_TYPE"),
        (meet(key="p.age"), "JOIN_COLUMN"),
        (meet(source="FROM person AS p WHERE p.age < 30"), "STATEMENT"),
        (meet(source="FROM visit AS p"), "DENIED_TABLE"),
        (meet(pods=("north", "south")), "FRAGMENT_KIND"),
        (meet(pods=("south",)), "FRAGMENT_KIND"),
    ],
)  # fmt: skip
def test_a_table_is_met_as_a_whole_on_its_key(fragment, why, meeting, ana):
    assert reason(meeting, fragment, ana) == why


def test_a_table_that_allows_statements_only_is_not_met(pod_tables, ana):
    assert reason(gate_of(pod_tables), meet(), ana) == "DENIED_TABLE"
