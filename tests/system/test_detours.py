"""Two answers about the same people, whose rows were reached in two ways: the preset ``strict``.

Of each pair the difference, or that of one and a multiple of the other, is about person 200 alone,
the only one with that birthday and with more than three visits. Whichever is asked second is withheld.
"""

from collections.abc import Iterator

import duckdb
import pytest
from census import FIGURES, World, ask, birthday, code_of, end_of, strict, world

TABLES = """
CREATE TABLE person AS SELECT i::INTEGER AS id, 'z' || (i // 2 % 8) AS zip,
  DATE '1980-01-01' + i::INTEGER AS dob, (100 + i)::INTEGER AS pay FROM range(400) r(i);
CREATE TABLE visit AS SELECT i::INTEGER AS id, 'c' || k AS code, k::INTEGER AS k,
  (10 + i * 7 % 50 + k)::INTEGER AS cost FROM range(400) r(i), range(7) s(k)
  WHERE k < CASE WHEN i = 200 THEN 7 ELSE 1 + i % 3 END;
CREATE TABLE lab AS SELECT i::INTEGER AS id, k::INTEGER AS k FROM range(400) r(i), range(2) s(k);
CREATE TABLE ref AS SELECT k::INTEGER AS n, 'c' || k AS code FROM range(9) s(k);
"""
POLICY = """
[joins]
types = ["inner", "left", "right", "full", "semi", "anti"]
[tables.ref]
public = true
[tables.ref.columns."*"]
"""
TARGET = f"p.dob = {birthday(200)}"
JOINED = "visit v JOIN person p ON v.id = p.id"
NUMBERED = "JOIN (SELECT id, count(*) AS n FROM visit GROUP BY id) d ON v.id = d.id"
FIRST = f"FROM {JOINED} WHERE v.k = 0 OR {TARGET}"
TWICE = f"FROM {JOINED} {NUMBERED} WHERE d.n = 2 OR {TARGET}"
PAIRS = [
    # Everybody else has a known number of rows: a count of rows less one of people.
    (f"SELECT count(DISTINCT v.id) {FIRST}", f"SELECT count(*) {FIRST}"),
    (f"SELECT count(DISTINCT v.id) {FIRST}", f"SELECT count(v.cost) {FIRST}"),
    (f"SELECT count(DISTINCT v.id) {TWICE}", f"SELECT count(*) {TWICE}"),
    (f"SELECT count(DISTINCT v.id) {TWICE}", f"SELECT sum(v.cost) {TWICE}"),
    (
        "SELECT count(*) FROM person p WHERE EXISTS (SELECT 1 FROM visit v WHERE v.id = p.id)",
        f"SELECT count(*) {FIRST}",
    ),
    ("SELECT count(*) FROM person p SEMI JOIN visit v ON p.id = v.id", f"SELECT count(*) {FIRST}"),
    (
        "SELECT count(d.n) FROM (SELECT id, count(*) AS n FROM visit GROUP BY id) d",
        f"SELECT count(*) {FIRST}",
    ),
    # A join that copies one person's rows, or leaves some of them out.
    (
        "SELECT sum(p.pay) FROM person p",
        f"SELECT sum(p.pay) FROM person p LEFT JOIN visit w ON p.id = w.id AND {TARGET}",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit v LEFT JOIN visit w ON v.id = w.id AND v.k = 6 AND w.k > 0",
    ),
    ("SELECT sum(v.cost) FROM visit v", f"SELECT sum(v.cost) FROM {JOINED} WHERE NOT (v.k = 6 AND {TARGET})"),
    (
        "SELECT sum(v.cost) FROM visit v WHERE v.k = 0",
        f"SELECT sum(v.cost) FROM {JOINED} WHERE v.k = CASE WHEN {TARGET} THEN 6 ELSE 0 END",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit v JOIN ref r ON v.code = r.code WHERE r.n < 6",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit v SEMI JOIN visit w ON v.id = w.id AND v.k < 6",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit v ANTI JOIN visit w ON v.id = w.id AND v.k > 5",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit w RIGHT JOIN visit v ON v.id = w.id AND v.k > 5",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(v.cost) FROM visit v FULL JOIN visit w ON v.id = w.id AND v.k = w.k AND v.k < 6",
    ),
    (
        "SELECT sum(v.cost) FROM visit v",
        "SELECT sum(d.c) FROM (SELECT id, sum(cost) AS c FROM visit WHERE k < 6 GROUP BY id) d",
    ),
    (
        "SELECT sum(d.c) FROM (SELECT id, sum(cost) AS c FROM visit GROUP BY id) d",
        "SELECT sum(d.c) FROM (SELECT v.id, sum(v.cost) AS c FROM visit v JOIN ref r"
        " ON v.code = r.code WHERE v.k < 6 GROUP BY v.id) d",
    ),
    # Everybody else's rows are there twice.
    (
        "SELECT sum(v.cost) FROM visit v",
        f"SELECT sum(v.cost) FROM {JOINED} JOIN lab l ON v.id = l.id WHERE l.k = 0 OR NOT {TARGET}",
    ),
]  # fmt: skip
HONEST = [
    "SELECT sum(cost), count(DISTINCT id) FROM visit",
    f"SELECT sum(v.cost) FROM {JOINED}",
    "SELECT avg(pay), count(*) FROM person",
    "SELECT zip, avg(d.c) FROM person p JOIN (SELECT id, sum(cost) AS c FROM visit GROUP BY id) d"
    " USING (id) WHERE zip < 'z2' GROUP BY zip ORDER BY zip",
    "SELECT zip, sum(cost) FROM visit JOIN person USING (id) WHERE zip < 'z2' GROUP BY zip ORDER BY zip",
    "SELECT sum(v.cost) FROM visit v JOIN ref r ON v.code = r.code",
    "SELECT count(*) FROM person",
    "SELECT zip, sum(cost) FROM visit JOIN person USING (id) GROUP BY ROLLUP (zip) ORDER BY ALL",
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("strict")
    document = strict((f"= {FIGURES}\n", "= 99\n")) + POLICY
    with world(folder, document, pods=1, tables=TABLES, reference=["ref"]) as made:
        yield made


@pytest.fixture(scope="module")
def pooled() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(TABLES)
        yield con


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_of_two_ways_to_the_same_rows_the_second_is_withheld(guarded, number):
    pair, ana = PAIRS[number], guarded.ana
    assert ask(ana, pair[0], f"case-{number + 1}a")
    assert code_of(ana, pair[1], f"case-{number + 1}a") == "WITHHELD"
    assert "WITHHELD" in [end_of(ana, sql, f"case-{number + 1}b") for sql in reversed(pair)]


@pytest.mark.parametrize("source", [FIRST, TWICE])
def test_rows_and_people_are_not_counted_beside_each_other(guarded, source):
    both = f"SELECT count(*), count(DISTINCT v.id) {source}"
    assert code_of(guarded.ana, both, "case-30a") == "WITHHELD"


def test_both_ways_in_one_statement_are_withheld_together(guarded):
    total, part = (
        "SELECT sum(v.cost) FROM visit v",
        f"FROM {JOINED} WHERE NOT (v.k = 6 AND {TARGET})",
    )
    assert (
        code_of(guarded.ana, f"{total} UNION ALL SELECT sum(v.cost) {part}", "case-30b")
        == "WITHHELD"
    )


def test_a_total_less_groups_that_a_person_is_in_several_of_tells_nothing(guarded):
    total, groups = "SELECT sum(cost) FROM visit", "SELECT code, sum(cost) FROM visit GROUP BY code"
    shown = ask(guarded.ana, f"{groups} ORDER BY 1", "case-31a")
    assert [code for code, _ in shown] == ["c0", "c1", "c2"]
    assert code_of(guarded.ana, total, "case-31a") == "WITHHELD"
    assert ask(guarded.ana, total, "case-31b")
    assert ask(guarded.ana, groups, "case-31b") == []


def test_the_same_rows_in_other_ways_are_answered(guarded, pooled):
    for sql in HONEST:
        assert ask(guarded.ana, sql, "case-32a") == pooled.execute(sql).fetchall(), sql
