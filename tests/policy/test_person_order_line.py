"""Orders of a person and their lines: whose units a figure is about, and what may be multiplied."""

import duckdb
import pytest

from podsql.planner.fragment import Aggregate, Column, Field
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable

NOW = 1_770_000_000_000
ANY = '["join_key", "dimension", "filter", "measure"]'
POLICY = """
version = 1
name = "shop"
people = "*"
[joins]
pairs = [["person.p", "orders.p"], ["orders.o", "line.o"]]
[functions]
factors = {factors}
[output]
min_units = 3
[tables.orders.columns]
o = {{roles = {number}, aggregates = ["count"]}}
"*" = {{roles = {any}}}
[tables.line.columns]
price = {{roles = {any}, bounds = [0, 1000]}}
share = {{roles = {any}, bounds = [0, 1]}}
tax = {{roles = {any}, bounds = [0, 1]}}
"*" = {{roles = {any}}}
[tables."*".columns."*"]
roles = {any}
"""
MONEY = "DECIMAL(15,2)"
TABLES = {
    "main.person": ({"p": "INTEGER", "town": "VARCHAR", "worth": MONEY}, "p"),
    "main.orders": ({"o": "INTEGER", "p": "INTEGER", "note": "VARCHAR"}, "p"),
    "main.line": ({"o": "INTEGER", "price": MONEY, "share": MONEY, "tax": MONEY}, "o"),
}


def gate(*, number='["join_key", "measure"]', factors=3, tables=None, text=POLICY):
    return Gate(
        pod="north",
        tables={
            name: PodTable(
                name=name,
                columns=tuple(Field(*one) for one in columns.items()),
                privacy_unit=unit,
            )
            for name, (columns, unit) in (tables or TABLES).items()
        },
        policy=parse_policy(text.format(any=ANY, number=number, factors=factors).encode()),
    )


def ask(ana, source, *aggregates, keys=(), **policy):
    fragment = Aggregate(
        source=source,
        keys=tuple(Column(f"k{n}", *key) for n, key in enumerate(keys)),
        aggregates=tuple(Column(f"a{n}", *one) for n, one in enumerate(aggregates)),
    )
    return gate(**policy).check(fragment, person=ana, purpose="care", project="", now=NOW)


def reason(ana, *fragment, **more):
    with pytest.raises(Denial) as caught:
        ask(ana, *fragment, **more)
    return caught.value.reason


@pytest.fixture
def shop():
    con = duckdb.connect()
    for name, (columns, _) in TABLES.items():
        con.execute(f"CREATE TABLE {name} ({', '.join(map(' '.join, columns.items()))})")
    con.execute("INSERT INTO person SELECT p, 'here', p FROM range(12) r(p)")
    # Person p has p % 4 orders; only two orders have lines, of the persons 1 and 2.
    con.execute(
        "INSERT INTO orders SELECT p * 10 + n, p, 'x' FROM range(12) r(p), range(p % 4) s(n)"
    )
    con.execute("INSERT INTO line VALUES (10, 5, 0.1, 0.2), (20, 6, 0.2, 0.3)")
    yield con
    con.close()


def shown(shop, verdict):
    return sorted(row[:-1] for row in shop.execute(verdict.sql).fetchall() if row[-1])


COUNT = ("count(*)", "BIGINT")
WITH_LINES = "FROM orders SEMI JOIN line ON line.o = orders.o"
PER_PERSON = (
    "FROM (SELECT person.p AS p, {value} AS n FROM person LEFT JOIN orders"
    " ON orders.p = person.p GROUP BY person.p) AS d"
)


def test_units_of_a_table_that_is_only_looked_for_are_counted_by_the_column_they_are_met_on(
    ana, shop
):
    verdict = ask(ana, WITH_LINES, COUNT)
    assert 'COUNT(DISTINCT "orders"."p")' in verdict.sql
    assert 'COUNT(DISTINCT "orders"."o")' in verdict.sql
    assert shown(shop, verdict) == []
    shop.execute("INSERT INTO line VALUES (30, 1, 0.1, 0.1)")
    assert shown(shop, verdict) == [(3,)]


@pytest.mark.parametrize("role", ["filter", "dimension"])
def test_a_column_that_picks_or_groups_such_units_does_not_count_them(ana, role):
    found = reason(ana, WITH_LINES, COUNT, number=f'["join_key", "{role}"]')
    assert found == "ENTITY_COUNT"


def test_persons_are_counted_by_how_many_orders_they_have(ana, shop):
    source = PER_PERSON.format(value="count(orders.o)")
    verdict = ask(ana, source, COUNT, keys=[("d.n", "BIGINT")])
    assert shown(shop, verdict) == [(0, 3), (1, 3), (2, 3), (3, 3)]
    shop.execute("DELETE FROM person WHERE p = 3")
    assert shown(shop, verdict) == [(0, 3), (1, 3), (2, 3)]


def test_a_value_that_orders_copy_is_no_figure_of_a_person(ana):
    source = PER_PERSON.format(value="sum(person.worth)")
    assert reason(ana, source, ("sum(d.n)", "DOUBLE")) == "PREDICATE_IN_AGG"
    source = PER_PERSON.format(value="count(*)")
    assert reason(ana, source, ("sum(d.n)", "HUGEINT")) == "PREDICATE_IN_AGG"


@pytest.mark.parametrize("table", ["tables.orders", 'tables."*"'])
def test_persons_are_counted_by_orders_only_as_the_stricter_table_lets(ana, table):
    noised = POLICY.replace(f"[{table}.", f'[{table}]\nrelease = "dp"\n[{table}.', 1)
    noised += "[dp]\nepsilon_per_query = 1\nepsilon_budget = 9\ndelta = 1e-6"
    source = PER_PERSON.format(value="count(orders.o)")
    found = reason(ana, source, COUNT, keys=[("d.n", "BIGINT")], text=noised)
    assert found == "CONFLICTING_RELEASE"


def test_a_value_that_orders_copy_is_no_figure_either_as_a_key(ana, shop):
    keys = "person.p, person.worth"
    source = (
        f"FROM (SELECT person.p AS p, person.worth AS w{{0}} FROM person LEFT JOIN orders"
        f" ON orders.p = person.p GROUP BY {keys}{{1}}) AS d"
    )
    total = ("sum(d.w)", "DECIMAL(38,2)")
    assert reason(ana, source.format(", orders.o AS o", ", orders.o"), total) == "PREDICATE_IN_AGG"
    verdict = ask(ana, source.format(", count(orders.o) AS n", ""), total, keys=[("d.n", "BIGINT")])
    assert [row[1] for row in shown(shop, verdict)] == [12, 15, 18, 21]


def test_rows_of_other_units_are_not_summarised_per_person(ana):
    source = (
        "FROM (SELECT orders.p AS p, count(*) AS n FROM orders JOIN line ON line.o = orders.o"
        " GROUP BY orders.p) AS d"
    )
    assert reason(ana, source, COUNT, keys=[("d.n", "BIGINT")]) == "SUBQUERY_ROWS"


@pytest.mark.parametrize(
    ("source", "denied"),
    [
        ("FROM person JOIN orders ON orders.p = person.p", ""),
        ("FROM orders SEMI JOIN person ON orders.p = person.p", "ENTITY_COUNT"),
        (PER_PERSON.format(value="count(orders.o)"), "SUBQUERY_ROWS"),
    ],
)
def test_units_that_are_several_texts_of_one_number_are_not_counted_for_it(
    ana, shop, source, denied
):
    """'7', '07', '007' and so on are twelve persons of one table, and one of the other."""
    text = {**TABLES, "main.person": ({**TABLES["main.person"][0], "p": "VARCHAR"}, "p")}
    shop.execute("ALTER TABLE person ALTER p TYPE VARCHAR USING repeat('0', p) || '7'")
    if denied:
        assert reason(ana, source, COUNT, tables=text) == denied
    else:
        assert shown(shop, ask(ana, source, COUNT, tables=text)) == []


CHARGE = ("sum(line.price * (1 - line.share) * (1 + line.tax))", "DECIMAL(38,6)")


def test_three_different_measures_are_multiplied_where_the_policy_says_so(ana, shop):
    shop.execute("INSERT INTO line VALUES (30, 1, 0.3, 0.4), (31, 9, 0.5, 0.5)")
    (row,) = shown(shop, ask(ana, "FROM line", CHARGE))
    assert row == shop.execute(f"SELECT {CHARGE[0]} FROM line").fetchone()
    assert reason(ana, "FROM line", CHARGE, factors=2) == "ENCODE_IN_AGG"
    cube = ("sum(line.price * line.price * line.price)", "DECIMAL(38,6)")
    assert reason(ana, "FROM line", cube) == "ENCODE_IN_AGG"


def test_a_value_outside_its_bounds_withholds_the_product(ana, shop):
    shop.execute("INSERT INTO line VALUES (30, 1, 0.3, 0.1), (31, 9, 0.5, 1.5)")
    assert shown(shop, ask(ana, "FROM line", CHARGE)) == []


def test_a_product_that_few_have_is_withheld_though_its_columns_vary(ana, shop):
    """Less the sums of lower products, which may leave, it would be one order's own."""
    shop.execute("DELETE FROM line")
    shop.execute(
        "INSERT INTO line SELECT n, n + 1, CASE WHEN n < 6 THEN 0.5 ELSE 0 END,"
        " CASE WHEN n > 4 THEN 0.5 ELSE 0 END FROM range(12) r(n)"
    )
    assert shown(shop, ask(ana, "FROM line", CHARGE)) == []
    shop.execute("UPDATE line SET tax = 0.25 WHERE o < 3")
    assert len(shown(shop, ask(ana, "FROM line", CHARGE))) == 1
