"""Ways to one person's value through figures about many: each was found by an attack, and held since.

Person 7 is the only one of age 87 and diagnosis HIV, the only smoker, and earns 1777.
"""

import random
from collections import Counter

import duckdb
import pytest

from podsql.planner.fragment import Aggregate, Binned, Column, Field, Noised
from podsql.policy.denial import Denial
from podsql.policy.document import parse_policy
from podsql.policy.gate import Gate
from podsql.policy.rights import PodTable

PERSON = {
    "id": "INTEGER", "city": "VARCHAR", "age": "INTEGER", "diag": "VARCHAR", "smoker": "INTEGER",
    "income": "INTEGER", "score": "INTEGER", "married": "INTEGER",
}  # fmt: skip
REF = {"n": "INTEGER", "k": "INTEGER"}
POLICY = """
version = 1
name = "city"
people = "*"
{more}
[output]
p_percent = 10
nk = [2, 90]
{output}
[tables.person.columns]
{columns}
[tables.ref]
public = true
[tables.ref.columns]
"*" = {{}}
"""
COLUMNS = """
id = {roles = ["entity_key", "join_key"]}
city = {roles = ["join_key", "dimension", "filter"], max_distinct = 4}
age = {roles = ["join_key", "dimension", "filter"]}
diag = {roles = ["dimension", "filter"], values = ["HIV", "flu"]}
smoker = {roles = ["measure"]}
income = {roles = ["measure"], magnitude = true, bounds = [0, 200000]}
score = {roles = ["measure"]}
"""
DP = "[dp]\nepsilon_per_query = 1\nepsilon_budget = 9\ndelta = 1e-6"


@pytest.fixture(scope="module")
def base():
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT i::INTEGER AS id, 'c' || (i % 4) AS city,"
        " CASE WHEN i = 7 THEN 87 ELSE 20 + i % 50 END::INTEGER AS age,"
        " CASE WHEN i = 7 THEN 'HIV' ELSE 'flu' END AS diag, (i = 7)::INTEGER AS smoker,"
        " CASE WHEN i = 7 THEN 1777 ELSE 1000 + i % 97 END::INTEGER AS income,"
        " (i % 9)::INTEGER AS score FROM range(400) r(i)"
    )
    con.execute(
        "CREATE TABLE ref AS SELECT i::INTEGER AS n, (i % 3)::INTEGER AS k FROM range(120) r(i)"
    )
    yield con
    con.close()


def make(columns=COLUMNS, more="", output="", unit="id"):
    def table(name, shape, **rest):
        fields = tuple(Field(column, kind) for column, kind in shape.items())
        return PodTable(name=f"main.{name}", columns=fields, **rest)

    tables = (table("person", PERSON, privacy_unit=unit), table("ref", REF, kind="reference"))
    policy = parse_policy(POLICY.format(columns=columns, more=more, output=output).encode())
    return Gate(pod="north", tables={one.name: one for one in tables}, policy=policy, salt="5a")


def ask(base, ana, source, *figures, keys=(), kind=Aggregate, gate=None):
    """Shown rows without the guard's columns; nothing where the gate denies."""
    fragment = kind(
        source=source,
        keys=tuple(Column(f"k{n}", *one) for n, one in enumerate(keys)),
        aggregates=tuple(Column(f"a{n}", *one) for n, one in enumerate(figures)),
    )
    asked = {"person": ana, "purpose": "", "project": "", "now": 1_770_000_000_000}
    try:
        verdict = (gate or make()).check(fragment, **asked)
    except Denial:
        return []
    width = len(keys) + len(figures)
    names = [field.name for field in verdict.fields]
    rows = base.execute(verdict.sql).fetchall()
    place = [column[0] for column in base.description].index("_ok") if verdict.guard else None
    assert len(names) == width
    return [row[:width] for row in rows if place is None or row[place] is True]


COUNT, INCOME = ("count(*)", "BIGINT"), ("sum(p.income)", "HUGEINT")
OTHER = ("sum(q.income)", "HUGEINT")
CITY = "FROM person p JOIN person q ON p.city = q.city AND q.age = 87"


def test_what_is_honest_is_answered(base, ana):
    total = base.execute("SELECT count(*), sum(income) FROM person").fetchall()
    assert ask(base, ana, "FROM person p", COUNT, INCOME) == total
    for source in (
        "FROM person p LEFT JOIN person q ON p.id = q.id",
        "FROM person p SEMI JOIN person q ON p.id = q.id AND q.age < 60",
        "FROM person p JOIN ref r ON p.age = r.n",
        "FROM (SELECT p.id AS id, sum(r.k) AS s FROM person p JOIN ref r ON p.age = r.n GROUP BY p.id) d",
    ):
        assert ask(base, ana, source, COUNT), source
    assert len(ask(base, ana, "FROM person p", COUNT, keys=[("p.city", "VARCHAR")])) == 4
    for figure in ("sum(p.income * p.score)", "corr(p.income, p.score)", "sum(p.income + p.score)"):
        assert ask(base, ana, "FROM person p", (figure, "DOUBLE")), figure


@pytest.mark.parametrize(
    ("source", "figures"),
    [
        (CITY, [OTHER]),
        (f"{CITY} LEFT JOIN person r ON p.id = q.id AND r.id = p.id", [OTHER]),
        (f"{CITY} ANTI JOIN person r ON p.id = q.id AND r.id = p.id", [OTHER]),
        (f"{CITY} LEFT JOIN ref r ON p.id = q.id AND r.n = p.age", [COUNT]),
        ("FROM person p SEMI JOIN person q ON p.city = q.city AND q.age = 87", [COUNT]),
        ("FROM person p ANTI JOIN person q ON p.city = q.city AND q.diag = 'HIV'", [COUNT]),
        (
            "FROM person p JOIN ref r ON p.age = r.n",
            [("sum(CASE WHEN r.n = 87 THEN 1 ELSE 0 END)", "BIGINT")],
        ),
        ("FROM person p JOIN ref r ON p.id = r.n", [("sum(r.n)", "BIGINT")]),
        ("FROM person p ANTI JOIN person q ON p.id = q.age AND q.age = 87", [COUNT]),
        ("FROM person p", [("sum(p.income * (1 - p.smoker))", "HUGEINT")]),
        ("FROM person p", [("sum(p.income * (p.smoker + 1))", "HUGEINT")]),
        ("FROM person p", [("regr_slope(p.income, p.smoker)", "DOUBLE")]),
        ("FROM person p", [("covar_pop(p.income, p.smoker)", "DOUBLE")]),
        ("FROM person p", [("sum(p.income * p.score * p.score)", "HUGEINT")]),
        ("FROM person p", [("sum(p.smoker)", "BIGINT")]),
        ("FROM person p WHERE p.age = 20 OR p.diag = 'HIV'", [("sum(p.smoker)", "BIGINT")]),
        (
            "FROM person p WHERE p.age IN (20, 21) OR p.age = 87",
            [("count(DISTINCT p.age)", "BIGINT")],
        ),
        ("FROM person p JOIN ref r ON p.age = r.n", [("sum(DISTINCT r.n)", "BIGINT")]),
        ("FROM person p JOIN ref r ON p.age = r.n", [("count(DISTINCT r.n)", "BIGINT")]),
        (
            "FROM person p LEFT JOIN ref r ON p.age = 87 LEFT JOIN ref s ON p.age = 87",
            [("avg(p.income)", "DOUBLE")],
        ),
        ("FROM person p LEFT JOIN ref r ON p.age = 87 AND r.n <= p.age", [COUNT]),
        ("FROM person p JOIN ref r ON r.n = 0 OR (p.age = 87 AND r.n <= p.age)", [COUNT]),
        (
            "FROM person p JOIN ref r ON r.n = CASE WHEN p.diag = 'HIV' THEN p.age"
            " WHEN p.age < 40 THEN 1 ELSE 0 END",
            [("sum(r.n)", "BIGINT")],
        ),
        (
            "FROM (SELECT p.id AS id, sum(p.income) AS s FROM person p LEFT JOIN ref r ON p.age = 87"
            " GROUP BY p.id) d",
            [("sum(d.s)", "HUGEINT")],
        ),
        ("FROM person p, ref r WHERE r.n - p.age = 0", [("sum(r.n)", "BIGINT")]),
        ("FROM person p", [("sum(1)", "BIGINT")]),
        ("FROM person p", [("avg(2)", "DOUBLE")]),
    ],
)
def test_no_figure_singles_a_person_out(base, ana, source, figures):
    assert ask(base, ana, source, *figures) == []


def test_rows_that_a_join_copies_for_one_person_do_not_outweigh_all_others(ana):
    """Person 7 has 30 bills: joined to themselves only his become 900, or 27000 rows."""
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT least(i, 100)::INTEGER AS id, 'c' AS city,"
        " CASE WHEN i < 100 THEN 30 ELSE 87 END AS age, 'flu' AS diag, 0 AS smoker,"
        " CASE WHEN i < 100 THEN 1000 + i % 7 ELSE 1777 + i % 2 END AS income, 1 AS score"
        " FROM range(130) r(i)"
    )
    own = " LEFT JOIN person {0} ON p.id = {0}.id AND {0}.age = 87"
    mean = ("avg(p.income)", "DOUBLE")
    assert (
        ask(con, ana, "FROM person p", mean)
        == con.execute("SELECT avg(income) FROM person").fetchall()
    )
    assert ask(con, ana, "FROM person p JOIN person q ON p.id = q.id AND p.age < 87", mean)
    assert ask(con, ana, "FROM person p" + own.format("q"), mean) == []
    assert ask(con, ana, "FROM person p" + own.format("q") + own.format("r"), mean) == []
    con.close()


def test_a_person_with_many_rows_is_one_who_differs(ana):
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT least(i, 100)::INTEGER AS id, 'c' AS city, 30 AS age,"
        " 'flu' AS diag, CASE WHEN i < 100 THEN 0 ELSE i END AS score, i AS income"
        " FROM range(130) r(i)"
    )
    for figure, shown in (("sum(p.income)", True), ("sum(p.score)", False)):
        assert bool(ask(con, ana, "FROM person p", (figure, "DOUBLE"))) is shown
    product = ("sum(p.income * p.score)", "DOUBLE")
    assert ask(con, ana, "FROM person p", product) == []
    con.close()


@pytest.mark.parametrize(
    ("ones", "others", "shown"),
    [(9, 50, False), (10, 50, True), (50, 9, False), (0, 30, True), (6, 9, False), (10, 10, True)],
)
@pytest.mark.parametrize("unit", ["id", None])
def test_the_sum_of_a_mark_is_a_count_of_those_who_have_it(ana, ones, others, shown, unit):
    con = duckdb.connect()
    con.execute(
        f"CREATE TABLE person AS SELECT i::INTEGER AS id, (i < {ones})::INTEGER AS smoker"
        f" FROM range({ones + others}) r(i)"
    )
    columns = COLUMNS if unit else COLUMNS.replace('"entity_key", ', "")
    gate = make(columns, unit=unit)
    assert bool(ask(con, ana, "FROM person p", ("sum(p.smoker)", "BIGINT"), gate=gate)) is shown
    con.close()


@pytest.mark.parametrize(("held", "shown"), [(9, False), (10, True)])
def test_a_value_that_is_counted_is_held_by_enough_people(ana, held, shown):
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT (i // 2)::INTEGER AS id,"
        f" CASE WHEN i < {2 * held} THEN 1 ELSE 2 END AS age FROM range(100) r(i)"
    )
    found = ask(con, ana, "FROM person p", ("count(DISTINCT p.age)", "BIGINT"))
    assert found == ([(2,)] if shown else [])
    assert ask(con, ana, "FROM person p", ("count(DISTINCT p.id)", "BIGINT")) == [(50,)]
    con.close()


@pytest.mark.parametrize("constant", [1, 2000, 999999])
def test_arithmetic_of_measures_compares_nothing(base, ana, constant):
    figure = (f"count(p.income * {constant} * 999999)", "BIGINT")
    assert ask(base, ana, "FROM person p", figure) == [(400,)]
    values = (f"count(DISTINCT p.score * {constant} * 999999)", "BIGINT")
    assert ask(base, ana, "FROM person p", values) == [(9,)]
    derived = f"FROM (SELECT id AS id, count(income * {constant} * 999999) AS n FROM person GROUP BY id) d"
    assert ask(base, ana, derived, COUNT, keys=[("d.n", "BIGINT")]) == [(1, 400)]


def test_a_dominated_sum_is_withheld_in_every_form(ana):
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT i::INTEGER AS id, CASE WHEN i < 11 THEN 'c3' ELSE 'c0' END AS city,"
        " 30 AS age, 'flu' AS diag, 0 AS smoker, CASE WHEN i = 7 THEN 100000 ELSE 10 END AS income,"
        " 1 AS score FROM range(100) r(i)"
    )
    few = "FROM person p WHERE p.city = 'c3'"
    rest = "FROM person p WHERE p.city = 'c0'"
    derived = "FROM (SELECT id AS id, income AS inc, city AS city FROM person GROUP BY id, income, city) d WHERE d.city = 'c3'"
    assert ask(con, ana, rest, INCOME) == [(890,)]
    assert ask(con, ana, few, INCOME) == []
    assert ask(con, ana, few, ("sum(p.income + 999999)", "HUGEINT")) == []
    assert ask(con, ana, derived, ("sum(d.inc)", "HUGEINT")) == []
    assert ask(con, ana, derived.replace("= 'c3'", "= 'c0'"), ("sum(d.inc)", "HUGEINT")) == [(890,)]
    merged = [("CASE WHEN p.city = 'c3' THEN 1.2 ELSE 1.1 END", "INTEGER")]
    assert ask(con, ana, "FROM person p", INCOME, keys=merged) == []  # one group, dominated
    apart = [("CASE WHEN p.city = 'c3' THEN 2.0 ELSE 1.0 END", "INTEGER")]
    assert ask(con, ana, "FROM person p", INCOME, keys=apart) == [(1, 890)]
    con.close()


def test_a_derived_key_keeps_the_rules_of_its_column(base, ana):
    gate = make(COLUMNS.replace("max_distinct = 4", "max_distinct = 3"))
    derived = "FROM (SELECT id AS id, city AS city, count(*) AS n FROM person GROUP BY id, city) d"
    keys = [("d.city", "VARCHAR")]
    assert len(ask(base, ana, derived, COUNT, keys=keys)) == 4
    assert ask(base, ana, derived, COUNT, keys=keys, gate=gate) == []


def test_every_role_is_not_every_use_where_rows_do_not_leave(base, ana):
    gate = make('"*" = {}')
    assert ask(base, ana, "FROM person p", INCOME, gate=gate)
    for figure in ("sum(CASE WHEN p.id = 7 THEN p.income ELSE 0 END)", "sum(p.id)"):
        assert ask(base, ana, "FROM person p", (figure, "HUGEINT"), gate=gate) == []
    assert ask(base, ana, "FROM person p WHERE p.id <> 7", INCOME, gate=gate) == []


def test_noise_is_not_drawn_twice_for_one_declared_value(ana):
    gate = make(more=DP)
    for kind, allowed in (("VARCHAR", True), ("BOOLEAN", False), ("BLOB", False)):
        fragment = Noised(
            source="FROM person p",
            keys=(Column("k0", "p.diag", kind),),
            aggregates=(Column("a0", "count(*)", "BIGINT"),),
        )
        asked = {"person": ana, "purpose": "", "project": "", "now": 1_770_000_000_000}
        if allowed:
            assert gate.check(fragment, **asked).noise.domain == (("HIV",), ("flu",))
        else:
            with pytest.raises(Denial):
                gate.check(fragment, **asked)


def test_noise_is_for_the_unit_that_a_join_multiplies(base, ana):
    gate = make(more=DP)
    for source in (
        f"{CITY} LEFT JOIN ref r ON p.id = q.id AND r.n = p.age",
        "FROM person p SEMI JOIN person q ON p.city = q.city AND q.age = 87",
    ):
        assert ask(base, ana, source, COUNT, kind=Noised, gate=gate) == []


def test_how_many_rows_differ_from_the_most_frequent_value_is_counted_right(ana):
    chance = random.Random(7)
    con = duckdb.connect()
    gates = {least: make(output=f"min_units = {least}") for least in (2, 3, 10)}
    for _ in range(120):
        least, size = chance.choice([2, 3, 10]), chance.randrange(10, 45)
        levels = chance.choice([1, 2, 3, 6, 50])
        values = [chance.choice([chance.randrange(levels), 0, 0]) for _ in range(size)]
        con.execute("CREATE OR REPLACE TABLE person (id INTEGER, score INTEGER, smoker INTEGER)")
        rows = ", ".join(f"({n}, {x}, {n + 1})" for n, x in enumerate(values))
        con.execute(f"INSERT INTO person VALUES {rows}")
        rest = size - max(Counter(values).values())
        figure = ("covar_pop(p.smoker, p.score)", "DOUBLE")
        shown = ask(con, ana, "FROM person p", figure, gate=gates[least]) != []
        assert shown == (rest == 0 or rest >= least), (least, Counter(values))
    con.close()


@pytest.mark.parametrize(
    ("source", "figure"),
    [
        ("FROM (SELECT id AS id, sum(income * smoker) AS s FROM person GROUP BY id) d", "sum(d.s)"),
        (
            "FROM (SELECT id AS id, sum(income + smoker) AS s FROM person GROUP BY id) d",
            "sum(d.s * d.s)",
        ),
        (
            "FROM (SELECT id AS id, sum(score * score) AS s FROM person GROUP BY id) d",
            "sum(d.s * d.s)",
        ),
        ("FROM person p JOIN ref r ON p.age = r.n", "sum(p.income * p.smoker)"),
        ("FROM person p", "var_pop(p.income + p.smoker)"),
        ("FROM person p", "covar_pop(p.income + p.smoker, p.income)"),
        ("FROM person p", "sum((p.income - 1000) / 0)"),
        ("FROM person p", "sum(p.income / (1 - 1))"),
    ],
)
def test_no_weight_hides_in_a_subquery_a_sum_or_a_quotient(base, ana, source, figure):
    assert ask(base, ana, source, (figure, "DOUBLE")) == []


@pytest.mark.parametrize(
    "figure",
    [
        "sum(p.income * p.score)",
        "sum(p.income * p.score + p.age)",
        "sum((p.income + p.age) * (p.score + 1))",
        "sum((3 - p.income) * p.score - 2 * p.age)",
        "covar_pop(p.income, p.score)",
        "covar_pop(p.income + p.age, p.score + p.age)",
        "regr_sxy(p.income, p.score)",
        "var_pop(p.income + p.score)",
        "skewness(p.age - p.income - p.score)",
        "sum(p.income * p.score * p.age + p.age)",
        "sum((p.age * (1 - p.smoker) + p.score) * (1 - p.married))",
        "sum(p.age * (1 - p.smoker) * (1 - p.married) + p.score)",
    ],
)
def test_a_product_that_few_have_hides_behind_no_other_term(ana, figure):
    """Less sums of the columns alone, which may leave, it would be person 7's own."""
    roles = "id = {roles = ['entity_key']}\n\"*\" = {roles = ['measure']}"
    gate = make(roles, more="[functions]\nfactors = 3", output="min_units = 8")
    con = duckdb.connect()
    for last, shown in ((7, False), (17, True)):
        con.execute(
            "CREATE OR REPLACE TABLE person AS SELECT i::INTEGER AS id, (1000 + i)::INTEGER AS age,"
            f" CASE WHEN i <= {last} THEN 5 + i ELSE 0 END::INTEGER AS income, (i > {last})::INTEGER"
            " AS smoker, (i BETWEEN 7 AND 17)::INTEGER AS score, (i NOT BETWEEN 7 AND 17)::INTEGER"
            " AS married FROM range(60) r(i)"
        )
        assert bool(ask(con, ana, "FROM person p", (figure, "DOUBLE"), gate=gate)) is shown
    con.close()


@pytest.mark.parametrize(
    "derived",
    [
        "SELECT p.id AS id, p.income AS s, r.n AS n FROM {joined} GROUP BY p.id, p.income, r.n",
        "SELECT p.id AS id, r.n AS n, sum(p.income) AS s FROM {joined} GROUP BY p.id, r.n",
    ],
)
def test_a_public_table_copies_no_row_to_several_of_a_derived_table(base, ana, derived):
    """Each row of it is there once, and person 7's income a hundred times."""
    few = "person p JOIN ref r ON CASE WHEN p.age = 87 THEN 99 ELSE 0 END >= r.n"
    once = "person p JOIN ref r ON p.age = r.n"
    for joined, shown in ((few, False), (once, True)):
        source = f"FROM ({derived.format(joined=joined)}) d"
        assert bool(ask(base, ana, source, ("sum(d.s)", "HUGEINT"))) is shown
        copied = f"{source} JOIN person q ON q.id = d.id"
        assert bool(ask(base, ana, copied, ("sum(d.s)", "HUGEINT"))) is shown
    columns = COLUMNS.replace("bounds = [0, 200000]", "bounds = [0, 200000], bin = 100000")
    fragment = Binned(
        source=f"FROM ({derived.format(joined=few)}) d",
        keys=(),
        column=Column("bin", "d.s", "BIGINT"),
    )
    with pytest.raises(Denial):
        make(columns, output='quantile = "binned"').check(
            fragment, person=ana, purpose="", project="", now=1_770_000_000_000
        )


def test_copies_of_a_row_that_are_left_out_are_other_rows(base, ana):
    """A row joined to a public table is told by both: leaving one copy out is a difference."""
    fragment = Aggregate(
        source="FROM person p JOIN ref r ON p.age = r.n",
        keys=(),
        aggregates=(Column("a0", "count(*)", "BIGINT"),),
    )
    gate = make(output="overlap_guard = 10")
    verdict = gate.check(fragment, person=ana, purpose="", project="", now=1_770_000_000_000)
    mark = verdict.sql.partition("HASH(")[2].partition(")")[0]
    assert '"p"."age"' in mark
    assert '"r"."k"' in mark
    assert base.execute(verdict.sql).fetchall()


@pytest.mark.parametrize("keys", [(), (Column("k0", "p.city", "VARCHAR"),)])
def test_a_bin_is_of_nobody_where_a_join_copies_mostly_one_persons_rows(ana, keys):
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE person AS SELECT least(i, 40)::INTEGER AS id, 'c' AS city, 30 AS age,"
        " (50000 + least(i, 40) * 1000)::INTEGER AS income FROM range(60) r(i)"
    )
    columns = COLUMNS.replace("bounds = [0, 200000]", "bounds = [0, 200000], bin = 200000")
    gate = make(columns, output='quantile = "binned"')
    asked = {"person": ana, "purpose": "", "project": "", "now": 1_770_000_000_000}
    for source, people in (
        ("FROM person p", 41),
        ("FROM person p JOIN person q ON p.id = q.id", 0),  # 40 rows, and 400 of person 40
        ("FROM person p SEMI JOIN person q ON p.id = q.id", 41),
    ):
        fragment = Binned(source=source, keys=keys, column=Column("bin", "p.income", "BIGINT"))
        (row,) = con.execute(gate.check(fragment, **asked).sql).fetchall()
        assert row[len(keys) + 2] == people
    con.close()


def test_a_bin_counts_no_copy_that_a_public_table_makes(base, ana):
    fragment = Binned(
        source="FROM person p LEFT JOIN ref r ON r.n <= p.age AND p.age = 87",
        keys=(),
        column=Column("bin", "p.income", "BIGINT"),
    )
    columns = COLUMNS.replace("bounds = [0, 200000]", "bounds = [0, 200000], bin = 100000")
    gate = make(columns, output='quantile = "binned"')
    verdict = gate.check(fragment, person=ana, purpose="", project="", now=1_770_000_000_000)
    assert [row[:3] for row in base.execute(verdict.sql).fetchall()] == [(0, 400, 400)]
