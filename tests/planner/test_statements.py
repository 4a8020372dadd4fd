"""The forms around a SELECT: how each is written, and what is said of one that is not."""

import pytest

from podsql.errors import Error
from podsql.planner.plan import Options
from podsql.planner.statements import (
    Copy,
    CreateTemporary,
    Describe,
    Drop,
    Explain,
    ExplainPolicy,
    Query,
    Show,
    Summarize,
    classify,
)
from podsql.planner.tables_read import tables_read

NONE = Options()


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("SELECT 1", Query(sql="SELECT 1")),
        ("SHOW TABLES", Show(what="tables", options=NONE)),
        ("/* a;b */ show -- c\n pods ;;", Show(what="pods", options=NONE)),
        (
            "SHOW GRANTS WITH (purpose = 'a;b')",
            Show(what="grants", options=Options(purpose="a;b")),
        ),
        ('DESCRIBE main."a b"', Describe(table="main.a b", options=NONE)),
        ("desc table t WITH (timeout = 3)", Describe(table="t", options=Options(timeout=3.0))),
        ("SUMMARIZE t", Summarize(table="t", options=NONE)),
        ("EXPLAIN SELECT 1", Explain(sql="SELECT 1")),
        ("EXPLAIN ANALYZE (SELECT 1);", Explain(sql="(SELECT 1)", analyze=True)),
        ("EXPLAIN POLICY SELECT 1", ExplainPolicy(sql="SELECT 1")),
        (
            "CREATE OR REPLACE TEMP TABLE x AS SELECT ';' WITH (timeout = 2);",
            CreateTemporary(name="x", sql="SELECT ';' WITH (timeout = 2)", replace=True),
        ),
        (
            'create temporary table "X y" as FROM t',
            CreateTemporary(name="X y", sql="FROM t", replace=False),
        ),
        ("DROP TABLE IF EXISTS x", Drop(name="x", if_exists=True)),
        ("drop table x", Drop(name="x", if_exists=False)),
        (
            "COPY (SELECT ')' FROM (SELECT 1)) TO 'a.csv'",
            Copy(sql="SELECT ')' FROM (SELECT 1)", path="a.csv", form="csv", overwrite=False),
        ),
        (
            "COPY x TO 'it''s' WITH (OVERWRITE, FORMAT 'parquet')",
            Copy(sql="SELECT * FROM x", path="it's", form="parquet", overwrite=True),
        ),
        (
            "COPY \"a b\".c TO 'f' (FORMAT json, OVERWRITE false)",
            Copy(sql='SELECT * FROM "a b".c', path="f", form="json", overwrite=False),
        ),
    ],
)
def test_a_form_is_read(sql, command):
    assert classify(sql) == command


@pytest.mark.parametrize(
    ("sql", "code", "hint"),
    [
        ("SHOW", "STATEMENT", "SHOW TABLES"),
        ("SHOW tabels", "STATEMENT", "tables"),
        ("SHOW TABLES extra", "STATEMENT", "SHOW TABLES"),
        ("SHOW TABLES WITH (nonsense = 1)", "OPTION", "known"),
        ("DESCRIBE", "STATEMENT", "DESCRIBE visits"),
        ("DESCRIBE SELECT 1", "STATEMENT", "DESCRIBE visits"),
        ("DESCRIBE a.b.c", "STATEMENT", "DESCRIBE visits"),
        ("DESCRIBE a b", "STATEMENT", "DESCRIBE visits"),
        ("SUMMARIZE", "STATEMENT", "SUMMARIZE visits"),
        ("EXPLAIN", "STATEMENT", "EXPLAIN SELECT"),
        ("EXPLAIN (FORMAT json) SELECT 1", "STATEMENT", "EXPLAIN SELECT"),
        ("CREATE TABLE x AS SELECT 1", "STATEMENT", "TEMP TABLE"),
        ("CREATE TEMP VIEW x AS SELECT 1", "STATEMENT", "TEMP TABLE"),
        ("CREATE TEMP TABLE x", "STATEMENT", "TEMP TABLE"),
        ("CREATE TEMP TABLE a.x AS SELECT 1", "STATEMENT", "TEMP TABLE"),
        ("DROP VIEW x", "STATEMENT", "DROP TABLE"),
        ("DROP TABLE x, y", "STATEMENT", "DROP TABLE"),
        ("COPY x TO f.csv", "STATEMENT", "TO 'file'"),
        ("COPY x TO 'f.csv' ()", "STATEMENT", "TO 'file'"),
        ("COPY x TO 'f.csv' (OVERWRITE", "STATEMENT", "TO 'file'"),
        ("COPY x TO 'f.csv' (HEADER)", "STATEMENT", "TO 'file'"),
        ("COPY x TO 'f.csv", "STATEMENT", "TO 'file'"),
        ("COPY (SELECT 1 TO 'f.csv'", "STATEMENT", "TO 'file'"),
        ("COPY x FROM 'f.csv'", "STATEMENT", "TO 'file'"),
        ("COPY x TO 'f'", "OPTION", "FORMAT"),
        ("COPY x TO 'f' (FORMAT parket)", "OPTION", "parquet"),
        ("SHOW PODS; SHOW TABLES", "MULTI_STATEMENT", "one by one"),
        ("CREATE TEMP TABLE x AS SELECT 1; DROP TABLE x", "MULTI_STATEMENT", "one by one"),
    ],
)
def test_a_form_that_is_malformed_says_how_it_is_written(sql, code, hint):
    with pytest.raises(Error) as caught:
        classify(sql)
    assert caught.value.code == code
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1 FROM range(3) WHERE a > ? OR f(b)", set()),
        ("FROM x SELECT (SELECT max(c) FROM k) WHERE a IN (FROM m)", {"x", "k", "m"}),
        ("WITH x AS (SELECT * FROM x), y AS (FROM main.q) FROM x, y, Z", {"x", "main.q", "Z"}),
        (
            "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 2 FROM r) FROM r UNION FROM u",
            {"u"},
        ),
        ("FROM (WITH c AS (FROM a) FROM c) JOIN c ON true", {"a", "c"}),
        ("SELECT * FROM north.main.visits", {"north.main.visits"}),
    ],
)
def test_the_tables_a_select_reads_are_those_no_with_hides(sql, tables):
    assert {".".join(parts) for parts in tables_read(sql)} == tables
