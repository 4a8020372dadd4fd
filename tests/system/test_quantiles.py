"""Quantiles to the bin through a whole federation: the pooled quantile lies inside the interval."""

import random

import duckdb
import pytest

import podsql
from podsql.errors import Error

POLICY = """
version = 1
name = "pay"
people = "*"
release = "{release}"
{more}
[output]
quantile = "binned"
{output}
[tables.staff.columns]
id = {{roles = ["entity_key", "join_key"]}}
ward = {{roles = ["dimension", "filter"], values = ["a", "b"]}}
age = {{roles = ["measure", "filter"], bounds = [0, 120], bin = 5}}
pay = {{roles = ["measure"], bounds = [0, 1000], bin = 10}}
plain = {{roles = ["measure"]}}
"""
DP = "[dp]\nepsilon_per_query = 4\nepsilon_budget = 40\ndelta = 1e-6"


def rows():
    chance = random.Random(5)
    found = []
    for n in range(3000):
        ward = "ab"[n % 2] if n < 2990 else "rare"
        age = chance.choice([None, 20, 30, 31, 50]) if n % 3 else chance.randrange(18, 90)
        pay = chance.gauss(400, 120) if n % 10 else chance.choice([-50.0, 5000.0, float("nan")])
        found.append((n, ward, age, pay, 1.0))
    return found


@pytest.fixture(scope="module")
def base():
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE staff (id INTEGER, ward VARCHAR, age INTEGER, pay DOUBLE, plain DOUBLE)"
    )
    con.executemany("INSERT INTO staff VALUES (?, ?, ?, ?, ?)", rows())
    yield con
    con.close()


def federate(base, path, release="sdc_local", more="", output=""):
    (path / "policy.toml").write_text(POLICY.format(release=release, more=more, output=output))
    pods = {
        f"pod{n}": {"staff": base.sql(f"FROM staff WHERE (id // 7) % 3 = {n}").to_arrow_table()}
        for n in range(3)
    }
    return podsql.local(
        pods,
        local_keys={"staff": ["id"]},
        privacy_unit={"staff": "id"},
        policy=path / "policy.toml",
        isolation="thread",
    )


@pytest.fixture(scope="module")
def con(base, tmp_path_factory):
    with federate(base, tmp_path_factory.mktemp("sdc")) as federation:
        yield federation.connect()


def clamped(sql):
    return sql.replace("FROM staff", "FROM (SELECT * REPLACE (CASE WHEN NOT isnan(pay) THEN"
                       " least(greatest(pay, 0), 1000) END AS pay) FROM staff)")  # fmt: skip


def check(con, base, sql, names, wider=1.0):
    """Each named column holds the pooled quantile inside its interval; the bars at its side."""
    cursor = con.execute(sql)
    ours = cursor.fetch_arrow_table().to_pylist()
    pooled = base.sql(clamped(sql)).to_arrow_table().to_pylist()
    assert len(ours) == len(pooled)
    for place, (one, other) in enumerate(zip(ours, pooled, strict=True)):
        for name, value in one.items():
            if name in names:
                bar = cursor.error_bars[name][place]
                assert abs(value - other[name]) <= bar * wider + 1e-9, (
                    name,
                    value,
                    other[name],
                    bar,
                )
            else:
                assert value == pytest.approx(other[name])
    return cursor


def test_the_pooled_median_is_inside_the_interval(con, base):
    sql = "SELECT median(age) AS m, count(*) AS n, avg(plain) AS p FROM staff WHERE ward <> 'rare'"
    cursor = con.execute(sql)
    assert cursor.release == "bounded"
    check(con, base, sql.replace("WHERE ward <> 'rare'", ""), {"m"})
    ((_, n, _),) = cursor.fetchall()
    assert n == 2990
    assert cursor.error_bars["m"][0] == 2.5  # one bin


@pytest.mark.parametrize(
    "asked",
    [
        "median(pay) AS q",
        "quantile_cont(pay, 0.01) AS q",
        "quantile_cont(pay, 0.999) AS q",
        "quantile_disc(age, 0.25) AS q, quantile_cont(age, 0.75) AS r, median(pay) AS s",
        "approx_quantile(pay, 0.9) AS q",
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_any_quantile_by_group_or_not(con, base, asked, grouped):
    names = {part.split()[-1] for part in asked.split(", ") if " AS " in part}
    base_asked = asked.replace("approx_quantile", "quantile_cont")
    where = " FROM staff WHERE ward IN ('a', 'b')"
    tail = " GROUP BY ward ORDER BY ward" if grouped else ""
    head = "SELECT ward, " if grouped else "SELECT "
    cursor = con.execute(f"{head}{asked}{where}{tail}")
    ours = cursor.fetch_arrow_table().to_pylist()
    pooled = base.sql(clamped(f"{head}{base_asked}{where}{tail}")).to_arrow_table().to_pylist()
    for place, (one, other) in enumerate(zip(ours, pooled, strict=True)):
        for name in names:
            assert abs(one[name] - other[name]) <= cursor.error_bars[name][place] + 1e-9


def test_groups_too_small_are_withheld_and_counted(con):
    cursor = con.execute("SELECT ward, median(pay) AS m, count(*) AS n FROM staff GROUP BY ward")
    assert sorted(row[0] for row in cursor.fetchall()) == ["a", "b"]
    assert cursor.withheld >= 1
    with pytest.raises(Error) as caught:
        con.execute("SELECT median(pay) FROM staff WHERE ward = 'rare'")
    assert caught.value.code == "WITHHELD"


def test_having_order_and_arithmetic_work_over_quantiles(con, base):
    sql = (
        "SELECT ward, quantile_cont(pay, 0.75) - quantile_cont(pay, 0.25) AS spread FROM staff"
        " WHERE ward <> 'rare' GROUP BY ward HAVING median(pay) > 0 ORDER BY median(pay) DESC, 1"
    )
    cursor = con.execute(sql)
    assert cursor.error_bars == {}
    pooled = dict(base.sql(clamped(sql)).fetchall())
    for ward, spread in cursor.fetchall():
        assert abs(spread - pooled[ward]) <= 20


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT median(plain) FROM staff",
        "SELECT median(id) FROM staff",
        "SELECT median(pay) FILTER (WHERE ward = 'a') FROM staff",
        "SELECT ward, median(pay) FROM staff GROUP BY ROLLUP (ward)",
        "SELECT quantile_cont(pay, [0.1, 0.2]) FROM staff",
        "SELECT mode(pay) FROM staff",
        "SELECT median(pay + age) FROM staff",
    ],
)
def test_what_has_no_bins_is_refused(con, sql):
    with pytest.raises(Error) as caught:
        con.execute(sql)
    assert caught.value.code in ("NOT_EXACT", "NOT_SUPPORTED")


def test_a_release_of_rows_that_names_none_is_guarded_too(base, tmp_path):
    with federate(base, tmp_path, release="rows", output="min_units = 10") as federation:
        con = federation.connect()
        cursor = con.execute("SELECT median(age) AS m FROM staff")
        assert cursor.release == "bounded"


def test_noisy_quantiles_are_near_and_priced(base, tmp_path):
    with federate(base, tmp_path, release="dp", more=DP) as federation:
        con = federation.connect(purpose="study")
        sql = "SELECT ward, median(pay) AS m, quantile_cont(pay, 0.9) AS q FROM staff GROUP BY ward ORDER BY 1"
        cursor = con.execute(sql)
        assert cursor.release == "noised"
        found = cursor.fetch_arrow_table().to_pylist()
        assert [row["ward"] for row in found] == ["a", "b"]
        pooled = (
            base.sql(clamped(sql.replace("GROUP", "WHERE ward <> 'rare' GROUP")))
            .to_arrow_table()
            .to_pylist()
        )
        for place, (one, other) in enumerate(zip(found, pooled, strict=True)):
            for name in ("m", "q"):
                assert abs(one[name] - other[name]) <= 2 * cursor.error_bars[name][place] + 10
        for pod in federation.pods.values():
            assert len(pod._releasing._ledger.charges()) == 1
        assert con.execute(sql).fetch_arrow_table().to_pylist() == found
        for refused in (
            "SELECT median(pay), count(*) FROM staff",
            "SELECT median(pay), median(age) FROM staff",
        ):
            with pytest.raises(Error) as caught:
                con.execute(refused)
            assert caught.value.code == "NOT_SUPPORTED"


def test_summarize_profiles_what_policies_allow(con, base):
    table = con.execute("SUMMARIZE staff").fetch_arrow_table()
    rows = {row["column_name"]: row for row in table.to_pylist()}
    pooled = base.sql("SELECT count(age), avg(age), stddev_samp(age) FROM staff").fetchall()[0]
    age = rows["age"]
    assert age["rows"] == 3000
    assert age["count"] == pooled[0]
    assert age["null_percentage"] == pytest.approx(100 * (3000 - pooled[0]) / 3000)
    assert (age["avg"], age["std"]) == pytest.approx(pooled[1:])
    assert abs(age["q50"] - base.sql("SELECT median(age) FROM staff").fetchall()[0][0]) <= 2.5
    for bar in age["histogram"]:
        below = "<=" if bar["high"] == 120 else "<"
        count = base.sql(
            f"SELECT count(*) FROM staff WHERE age >= {bar['low']} AND age {below} {bar['high']}"
        )
        assert count.fetchall() == [(bar["n"],)]
    assert sum(bar["n"] for bar in age["histogram"]) == pooled[0]
    assert len(age["histogram"]) > 3
    assert rows["ward"]["count"] == 3000
    assert rows["id"]["count"] is None
    assert rows["id"]["note"] == "DENIED"
    assert rows["plain"]["q50"] is None
    with pytest.raises(Error, match="no table"):
        con.execute("SUMMARIZE nothing")
    with pytest.raises(Error, match="one table"):
        con.execute("SUMMARIZE SELECT 1")
