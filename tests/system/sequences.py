"""Statements of test_sequences by the case they belong to; all of them ask census's tables."""

EQUIVALENT = [
    "SELECT count(*) FROM person WHERE region = 'n' AND age >= 40",
    "select COUNT( * ) from PERSON where AGE >= 40 and Region = 'n'",
    "SELECT count(*) AS how_many FROM person AS p WHERE p.age >= 40 AND p.region = 'n'",
    "SELECT count(*) FROM main.person WHERE age >= 40 AND region = 'n'",
    "SELECT count(*) FROM person WHERE (age >= 40) AND ((region = 'n'))",
    "SELECT count(*) FROM person WHERE age >= 40 AND region = 'n' AND 1 = 1",
    "SELECT count(*) FROM person WHERE NOT (age < 40) AND region = 'n'",
    "SELECT count(*) FROM person WHERE 40 <= age AND region = 'n'",
    "SELECT count(*) FROM person WHERE age >= 40.0 AND region IN ('n')",
    "SELECT count(*) FROM person WHERE age >= 40 AND age >= 40 AND region = 'n'",
    "/* again */ SELECT count(*) FROM person WHERE age >= 40 AND region = 'n'",
    "SELECT count(1) FROM person WHERE age >= 40 AND region = 'n'",
    "SELECT count(*) + 0 FROM person WHERE age >= 40 AND region = 'n'",
    "SELECT n FROM (SELECT count(*) AS n FROM person WHERE age >= 40 AND region = 'n')",
    "WITH q AS (SELECT count(*) FROM person WHERE age >= 40 AND region = 'n') FROM q",
    "SELECT count(*) FILTER (WHERE region = 'n') FROM person WHERE age >= 40",
]
"""Case 7: the same question in other words."""
SEEDED = [
    "SELECT setseed(0.5)",
    "SELECT setseed(0.1), count(*) FROM person",
    "SELECT count(*) FROM person WHERE random() < 0.5",
    "SELECT sum(age + random()) FROM person",
    "SELECT count(*) FROM person WHERE uuid() > 'a'",
    "SELECT gen_random_uuid(), count(*) FROM person",
    "SELECT count(*) FROM person TABLESAMPLE 10% REPEATABLE (7)",
    "SELECT count(*) FROM person TABLESAMPLE reservoir(20 ROWS) REPEATABLE (7)",
    "SELECT count(*) FROM person USING SAMPLE 100 ROWS (reservoir, 7)",
    "SELECT count(*) FROM person WITH (privacy = 'dp', seed = 1)",
    "SELECT count(*) FROM person WITH (privacy = 'dp', random_state = 1)",
    "PRAGMA seed(1)",
    "SET seed = 0.5",
]
"""Case 25: chance that could be steered."""
VALUES = [
    *(
        f"SELECT {call} FROM person"
        for call in (
            "any_value(name)", "first(name)", "last(name)", "mode(name)", "arg_max(name, pay)",
            "arg_min(name, pay)", "max_by(name, pay)", "list(name)", "array_agg(name)",
            "string_agg(name, ',')", "group_concat(name)", "min(name)", "max(pay)", "max(pay, 3)",
            "arg_max(name, pay, 3)", "quantile_disc(pay, 0.5)", "median(pay)", "mad(pay)",
            "approx_quantile(pay, 0.5)", "histogram(name)", "bit_xor(pay)", "product(pay)",
            "bool_or(pay > 990)", "entropy(name)", "length(any_value(name)) AS n",
            "any_value(name) FILTER (WHERE score = 3)", "max(pay) OVER ()",
            "sum(first_value(pay) OVER (ORDER BY score))", "count(*), list(name)", "name", "*",
            "DISTINCT name", "struct_pack(a := any_value(name))",
        )
    ),
    "SELECT v + 1 FROM (SELECT max(pay) AS v FROM person)",
    "SELECT sum(v) FROM (SELECT max(pay) AS v FROM person GROUP BY id)",
    "WITH m AS (SELECT mode(name) AS v FROM person) SELECT v FROM m",
    "SELECT region, list(name) FROM person GROUP BY region",
    "SELECT count(*) FROM person HAVING any_value(name) = 'x'",
    "SELECT count(*) FROM person ORDER BY any_value(name)",
    "CREATE MACRO m(x) AS any_value(x)",
]  # fmt: skip
"""Case 28: what would return a value of the data."""
REACHING_OUT = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT count(*) FROM '/etc/passwd'",
    "SELECT count(*) FROM person, read_text('/etc/passwd')",
    "SELECT count(*) FROM glob('/*')",
    "COPY person TO '/tmp/person.csv'",
    "COPY (SELECT 1) TO '/tmp/one.csv'",
    "EXPORT DATABASE '/tmp/all'",
    "ATTACH '/tmp/other.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '1GB'",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CREATE SECRET s (TYPE S3)",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "FROM duckdb_tables()",
    "SELECT * FROM information_schema.tables",
    "SELECT count(*) FROM pg_catalog.pg_tables",
    "SELECT count(*) FROM sqlite_master",
    "SELECT current_setting('memory_limit')",
    "SELECT count(*) FROM person WHERE getenv('HOME') IS NOT NULL",
    "SELECT count(*) FROM query('SELECT 1')",
    "SELECT count(*) FROM query_table('person')",
    "SELECT count(*) FROM person; DROP TABLE person",
    "DELETE FROM person",
]
"""Case 29: files, settings, catalogs, and statements that are none."""
SLOW_FOR_ONE = [
    "SELECT count(*) FROM person WHERE id = 7 AND (SELECT count(*) FROM range(99999999)) > 1",
    "SELECT count(*) FROM person WHERE CASE WHEN id = 7 THEN length(replace(name, 'c', name)) > 1 ELSE true END",
    "SELECT count(*) FROM person WHERE id BETWEEN 7 AND 7 AND regexp_matches(name, '(c*)*x')",
    "SELECT count(*) FROM person WHERE abs(id) = 7",
    "SELECT count(*) FROM person WHERE EXISTS (SELECT 1 FROM person p WHERE p.id = 7)",
    "SELECT count(*) FROM person, range(99999999) WHERE person.id = 7",
    "SELECT count(*) FROM person a JOIN person b ON a.id = 7",
    "SELECT sum(CASE WHEN id = 7 THEN length(replace(name, 'c', name)) ELSE 1 END) FROM person",
]
"""Case 27: what takes long if one unit is there."""
FAILING = [
    "SELECT count(*) FROM person WHERE CAST(name AS INTEGER) > 0",
    "SELECT count(*) FROM person WHERE CAST(name AS DATE) > DATE '2000-01-01'",
    "SELECT count(*) FROM person WHERE CAST(zip AS INTEGER) > 0 AND score = 17",
    "SELECT CAST(name AS INTEGER), count(*) FROM person GROUP BY 1",
    "SELECT count(*) FROM person WHERE CASE WHEN score = 7 THEN CAST(name AS INTEGER) ELSE 1 END = 1",
]
"""Case 26: what fails on a value at the pod."""
NEVER_RUN = [
    "SELECT count(*) FROM person WHERE error(name) IS NULL",
    "SELECT count(error(name)) FROM person",
    "SELECT sum(CAST(name AS INTEGER)) FROM person",
    "SELECT sum(pay // (score - 17)) FROM person",
    "SELECT sum(CASE WHEN score = 17 THEN CAST(name AS INTEGER) ELSE 1 END) FROM person",
    "SELECT sum(pay * 9223372036854775807) FROM person",
]
"""Case 26: what would fail on a value, and is refused before."""
