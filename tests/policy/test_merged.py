"""The gate on tables that leave on the total of all pods: what it lets through, and under whose word."""

import pytest

from podsql.planner.fragment import Aggregate, Column, Field
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
PERSON = {"id": "INTEGER", "age": "INTEGER", "region": "VARCHAR", "diag": "VARCHAR"}

POLICY = b"""
version = 1
name = "totals"
people = "*"
release = "sdc_merged"
[output]
min_units = 10
overlap_guard = 12
group_levels = 8
[joins]
types = ["inner"]
[tables."*".columns]
"*" = {roles = ["dimension", "filter", "measure", "join_key"]}
id = {roles = ["entity_key", "join_key"]}
region = {roles = ["dimension", "filter"], values = ["n", "s"]}
diag = {roles = ["dimension", "filter"], values = ["a", "b", "c"], max_distinct = 2}
"""


def gate(policy=POLICY, local=("id",)):
    found = {
        name: PodTable(
            name=name,
            columns=tuple(Field(name=column, type=kind) for column, kind in PERSON.items()),
            privacy_unit="id",
            local_keys=local,
        )
        for name in ("main.person", "main.visit")
    }
    return Gate(pod="p", tables=found, policy=parse_policy(policy))


def judged(ana, calls, keys=(), source="", *, masked=True, release=None, of=None):
    fragment = Aggregate(
        source=f"FROM main.person AS p{source}",
        keys=tuple(Column(f"k{at}", sql, kind) for at, (sql, kind) in enumerate(keys)),
        aggregates=tuple(Column(f"a{at}", call, "BIGINT") for at, call in enumerate(calls)),
        masked=masked,
    )
    return (of or gate()).check(
        fragment, person=ana, purpose="", project="p", now=NOW, release=release
    )


COUNT = ("count(*)",)


def test_counts_of_rows_and_people_by_declared_groups_are_let_through(ana):
    calls = ("count(*)", "count(DISTINCT p.id)")
    verdict = judged(ana, calls, [("p.region", "VARCHAR")], " WHERE p.age IS NOT NULL")
    assert (verdict.release, verdict.merged.units, verdict.merged.figures) == ("sdc_merged", 12, 2)
    assert verdict.needs_ledger
    assert verdict.answer == "masked"
    assert "_ok" not in verdict.sql  # what this pod would say alone is not asked
    [table] = [one for one in gate().offer_tables(ana, "", "p", NOW) if one.name == "main.person"]
    assert (table.release, table.min_units) == ("sdc_merged", 12)


@pytest.mark.parametrize(
    ("calls", "keys", "source", "reason"),
    [
        (["sum(p.age)", "count(p.age)"], [], "", "MERGED_FIGURE"),
        (["count(p.age)"], [], "", "MERGED_FIGURE"),
        (["count(DISTINCT p.region)"], [], "", "MERGED_FIGURE"),
        (["count(*) FILTER (WHERE p.age IS NOT NULL)"], [], "", "MERGED_FIGURE"),
        (COUNT, [], " JOIN main.visit AS v ON p.id = v.id", "MERGED_TABLE"),
        (COUNT, [("p.diag", "VARCHAR")], "", "LIMIT"),
        (COUNT, [("p.region", "VARCHAR"), ("p.age IS NULL", "BOOLEAN")], "", "LIMIT"),
    ],
)
def test_what_has_no_rule_on_the_total_is_denied_with_its_reason(ana, calls, keys, source, reason):
    with pytest.raises(Denial) as caught:
        judged(ana, calls, keys, source)
    assert caught.value.reason == reason


def test_people_are_declared_to_be_in_one_pod(ana):
    with pytest.raises(Denial) as caught:
        judged(ana, COUNT, of=gate(local=()))
    assert caught.value.reason == "MERGED_UNIT"


@pytest.mark.parametrize("release", [None, "rows", "sdc_merged"])
def test_a_service_that_allows_no_less_lets_it(ana, release):
    assert judged(ana, COUNT, release=release).merged is not None


@pytest.mark.parametrize("release", ["dp", "sdc_local"])
def test_a_service_that_asks_for_other_rules_is_heard(ana, release):
    with pytest.raises(Denial) as caught:
        judged(ana, COUNT, release=release)
    assert caught.value.reason == "CONFLICTING_RELEASE"


def test_no_service_lifts_a_pods_own_rules_to_the_total(ana):
    local = gate(POLICY.replace(b"sdc_merged", b"sdc_local"))
    assert judged(ana, COUNT, of=local).merged is None
    with pytest.raises(Denial) as caught:
        judged(ana, COUNT, of=local, release="sdc_merged")
    assert caught.value.reason == "CONFLICTING_RELEASE"


def test_a_plain_statement_is_denied(ana):
    with pytest.raises(Denial) as caught:
        judged(ana, COUNT, masked=False)
    assert caught.value.reason == "CONFLICTING_RELEASE"
