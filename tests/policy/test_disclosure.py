"""Disclosure rules of one pod (``sdc_local``) against an oracle written by hand in plain Python."""

import random
from collections import Counter, defaultdict

import duckdb
import pytest

from podsql.planner.fragment import Aggregate, Column, Field, Literal
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
COLUMNS = {
    "id": "INTEGER",
    "region": "VARCHAR",
    "diag": "VARCHAR",
    "pay": "INTEGER",
    "age": "INTEGER",
}


def bills(seed):
    """Several bills a person; a few persons dominate, one region has a negative bill."""
    chance = random.Random(seed)
    rows = []
    for person in range(300):
        region = chance.choice("abcdefghijkl")
        diag = chance.choice(["flu", "flu", "hiv"])
        for _ in range(chance.randrange(1, 4)):
            pay = chance.choice([None, 10, 20, 30])
            if person % 40 == 0:
                pay = 20_000
            rows.append((person, region, diag, pay, chance.randrange(20, 60)))
    rows.append((0, "z", "flu", -5, 30))
    return rows


def serve(rules, magnitude="", extra=""):
    document = f"""
version = 1
name = "bills"
people = "*"
release = "sdc_local"
[output]
{rules}
[tables.bill.columns]
id = {{roles = ["entity_key", "join_key"]}}
region = {{roles = ["dimension", "filter"]{extra}}}
diag = {{roles = ["dimension", "filter"]}}
pay = {{roles = ["measure"]{magnitude}}}
age = {{roles = ["measure", "dimension", "filter"]}}
"""
    table = PodTable(
        name="main.bill",
        columns=tuple(Field(name=name, type=kind) for name, kind in COLUMNS.items()),
        privacy_unit="id",
    )
    return Gate(pod="north", tables={table.name: table}, policy=parse_policy(document.encode()))


def ask(gate, ana, keys, aggregates, rows, sets=None, literals=()):
    """What leaves, and how many groups are withheld."""
    fragment = Aggregate(
        source="FROM bill AS b",
        keys=tuple(Column(name=f"k{n}", sql=sql, type="VARCHAR") for n, sql in enumerate(keys)),
        aggregates=tuple(
            Column(name=f"a{n}", sql=sql, type=kind) for n, (sql, kind) in enumerate(aggregates)
        ),
        grouping_sets=sets,
        literals=literals,
    )
    verdict = gate.check(fragment, person=ana, purpose="x", project="p", now=NOW)
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE bill (id INTEGER, region VARCHAR, diag VARCHAR, pay INTEGER, age INTEGER)"
    )
    con.executemany("INSERT INTO bill VALUES (?, ?, ?, ?, ?)", rows)
    found = con.execute(verdict.sql).fetchall()
    return [row[:-1] for row in found if row[-1] is True], sum(row[-1] is not True for row in found)


def per_unit(rows, keep=lambda row: True):
    """Region -> person -> sum of pay (None where nothing was paid)."""
    found = defaultdict(dict)
    for row in filter(keep, rows):
        person, region, _, pay, _ = row
        sums = found[region]
        sums.setdefault(person, None)
        if pay is not None:
            sums[person] = (sums[person] or 0) + pay
    return found


def told_of_enough(rows):
    """Whether the payments differ from the most frequent one for 10 people, none or most."""
    paid = defaultdict(set)
    for person, _, _, pay, _ in rows:
        if pay is not None:
            paid[person].add(pay)
    alone = Counter(min(values) for values in paid.values() if len(values) == 1)
    rest = len(paid) - max(alone.values(), default=0)
    return rest == 0 or rest >= 10 or 2 * rest > len(paid)


def fair(sums, *, p=0.0, nk=None):
    paid = sorted((s for s in sums.values() if s is not None), reverse=True)
    if not paid:
        return True
    if paid[-1] < 0:
        return False
    total = sum(paid)
    second = paid[1] if len(paid) > 1 else 0
    if p and total - paid[0] - second < p / 100 * paid[0]:
        return False
    return nk is None or sum(paid[: nk[0]]) <= nk[1] / 100 * total


SUM = [("sum(b.pay)", "HUGEINT")]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("rules", "p", "nk"),
    [
        ("p_percent = 10.0", 10, None),
        ("nk = [2, 60.0]", 0, (2, 60.0)),
        ("p_percent = 30.0\nnk = [1, 50.0]", 30, (1, 50.0)),
    ],
)
def test_a_sum_that_few_units_dominate_is_withheld(ana, seed, rules, p, nk):
    rows = bills(seed)
    expected = {
        region: sum(s for s in sums.values() if s is not None)
        for region, sums in per_unit(rows).items()
        if len(sums) >= 10
        and sum(s is not None for s in sums.values()) >= 10
        and fair(sums, p=p, nk=nk)
    }
    shown, withheld = ask(serve(rules, ", magnitude = true"), ana, ["b.region"], SUM, rows)
    assert dict(shown) == expected
    assert withheld == len(per_unit(rows)) - len(expected) > 1
    # Untagged, the same column is not checked, and counts never are.
    assert len(ask(serve(rules), ana, ["b.region"], SUM, rows)[0]) > len(expected)
    counts = ask(
        serve(rules, ", magnitude = true"), ana, ["b.region"], [("count(*)", "BIGINT")], rows
    )
    assert len(counts[0]) > len(expected)


def test_dominance_looks_at_the_rows_of_the_filter(ana):
    rows = [row for row in bills(4) if row[3] != -5]
    gate = serve("nk = [2, 60.0]", ", magnitude = true")
    flu = [("sum(b.pay) FILTER (WHERE b.diag = $1)", "HUGEINT")]
    shown, _ = ask(
        gate, ana, ["b.region"], flu, rows, literals=(Literal(kind="string", text="flu"),)
    )
    found = per_unit(rows, lambda row: row[2] == "flu")
    assert {row[0] for row in shown} == {
        region
        for region, sums in found.items()
        if sum(s is not None for s in sums.values()) >= 10
        and fair(sums, nk=(2, 60.0))
        and told_of_enough([row for row in rows if row[1:3] == (region, "flu")])
    }
    assert 0 < len(shown) < len(found)
    assert len(ask(gate, ana, [], SUM, rows)[0]) == 1


def test_dominance_is_checked_in_every_grouping_set(ana):
    rows = [row for row in bills(1) if row[3] != -5]
    gate = serve("nk = [2, 60.0]", ", magnitude = true")
    found = {}
    for one in ((0, 1),):
        shown, _ = ask(gate, ana, ["b.region", "b.diag"], SUM, rows, sets=(one,))
        found |= {(row[0], row[1], row[3]): row[2] for row in shown}
    expected = {}
    keys = {0: lambda r: (r[1], r[2])}
    for level, key in keys.items():
        for group in {key(row) for row in rows}:
            mine = [(r[0], "x", *r[2:]) for r in rows if key(r) == group]
            ((sums),) = per_unit(mine).values()
            paid = [one for one in sums.values() if one is not None]
            if len(paid) >= 10 and fair(sums, nk=(2, 60.0)):
                expected[(*group, level)] = sum(paid)
    assert found == expected
    assert len(expected) > 3


def test_subtotals_leave_with_every_group_or_not_at_all(ana):
    rows = [(n, "ab"[n % 2], "flu", 1, 30) for n in range(100)]
    count = [("count(*)", "BIGINT")]
    sets = ((0,), ())
    assert len(ask(serve(""), ana, ["b.region"], count, rows, sets=sets)[0]) == 3
    # One more region, of one person: the total less the others would be that person.
    rows.append((999, "w", "flu", 123456, 30))
    assert ask(serve(""), ana, ["b.region"], count, rows, sets=sets) == ([], 4)
    assert len(ask(serve(""), ana, ["b.region"], count, rows)[0]) == 2


def test_rows_left_out_are_counted_by_the_units_that_own_them(ana):
    """Everybody has other rows, so the units alone do not show that one row is left out."""
    rows = [(n, "a", "flu", 10, 30) for n in range(100)] + [(7, "a", "rare", 777, 30)]
    both = [("sum(b.pay)", "HUGEINT"), ("sum(b.pay) FILTER (WHERE b.diag <> $1)", "HUGEINT")]
    rare = (Literal(kind="string", text="rare"),)
    gate = serve("complement = true")
    assert ask(gate, ana, [], both, rows, literals=rare) == ([], 1)
    more = rows + [(n, "a", "rare", 5, 30) for n in range(20)]
    assert len(ask(gate, ana, [], both, more, literals=rare)[0]) == 1


@pytest.mark.parametrize("base", [5, 10, 7])
def test_counts_are_rounded_and_so_is_what_is_computed_of_them(ana, base):
    rows = bills(5)
    shown, _ = ask(
        serve(f"round_base = {base}"),
        ana,
        ["b.region"],
        [
            ("count(*)", "BIGINT"),
            ("count(b.pay)", "BIGINT"),
            ("count(DISTINCT b.id)", "BIGINT"),
            ("sum(b.pay)", "HUGEINT"),
        ],
        rows,
    )
    assert shown
    for region, every, paid, people, total in shown:
        mine = [row for row in rows if row[1] == region]
        exact = (len(mine), sum(r[3] is not None for r in mine), len({r[0] for r in mine}))
        for rounded, true in zip((every, paid, people), exact, strict=True):
            assert rounded % base == 0
            assert rounded == (true + base // 2) // base * base
        assert total == sum(r[3] for r in mine if r[3] is not None)


def test_degrees_of_freedom_are_counted_in_units(ana):
    rows = [(n, "a", "flu", n, n % 7) for n in range(11)] + [
        (n, "b", "flu", n, n % 7) for n in range(12)
    ]
    gate = serve("min_dof = 10")
    variance, _ = ask(gate, ana, ["b.region"], [("var_pop(b.pay)", "DOUBLE")], rows)
    assert [row[0] for row in variance] == ["a", "b"]
    pair, withheld = ask(gate, ana, ["b.region"], [("covar_pop(b.pay, b.age)", "DOUBLE")], rows)
    assert [row[0] for row in pair] == ["b"]
    assert withheld == 1


def test_grouping_by_something_nearly_unique_is_withheld_whole(ana):
    rows = [(n, f"r{n // 20}", "flu", 1, 30) for n in range(400)]
    count = [("count(*)", "BIGINT")]
    assert len(ask(serve("group_levels = 20"), ana, ["b.region"], count, rows)[0]) == 20
    assert ask(serve("group_levels = 19"), ana, ["b.region"], count, rows) == ([], 20)
    # At most a third as many groups as units (DataSHIELD), whatever the level.
    sparse = [(n % 30, f"r{n % 12}", "flu", 1, 30) for n in range(400)]
    assert (
        ask(serve("group_levels = 1000\nmin_units = 2"), ana, ["b.region"], count, sparse)[0] != []
    )
    dense = [(n % 30, f"r{n % 29}-{n % 5}", "flu", 1, 30) for n in range(900)]
    shown, withheld = ask(
        serve("group_levels = 1000\nmin_units = 2"), ana, ["b.region"], count, dense
    )
    units = sum(len({r[0] for r in dense if r[1] == region}) for region in {r[1] for r in dense})
    regions = len({row[1] for row in dense})
    assert (shown == []) == (regions * 3 > units)
    assert withheld + len(shown) == regions


def test_a_column_says_how_many_values_it_may_be_grouped_into(ana):
    rows = [(n, f"r{n // 20}", "flu", 1, 30) for n in range(400)]
    count = [("count(*)", "BIGINT")]
    assert len(ask(serve("", extra=", max_distinct = 20"), ana, ["b.region"], count, rows)[0]) == 20
    assert ask(serve("", extra=", max_distinct = 19"), ana, ["b.region"], count, rows) == ([], 20)
    assert len(ask(serve("", extra=", max_distinct = 2"), ana, ["b.diag"], count, rows)[0]) == 1
