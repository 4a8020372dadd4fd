"""Random fragments and statements for the gate: about half honest, half hostile, all from one seed.

``Grammar(random.Random(seed))`` writes text by rules over the schema below; templates hold holes
(``@n`` a number, ``@s`` a text, ``@d`` a date, ``@b`` a condition, …) that are filled at random.
Rule to keep: whatever is written follows from the ``Random`` alone, so that a try can be repeated.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podsql.planner.fragment import (
    Aggregate,
    Binned,
    Column,
    Field,
    Fragment,
    Literal,
    Noised,
    Ordering,
    Relation,
    Rows,
)

TYPES: Final = {
    "person": {
        "id": "INTEGER",
        "name": "VARCHAR",
        "age": "INTEGER",
        "region": "VARCHAR",
        "salary": "INTEGER",
        "dob": "DATE",
        "diag": "VARCHAR",
        "hosp_id": "INTEGER",
        # Its fields are named as columns are: ``info.city`` could be this, or a column of ``info``.
        "info": "STRUCT(city VARCHAR, region VARCHAR, code VARCHAR, age INTEGER, n INTEGER)",
    },
    "visit": {
        "id": "INTEGER",
        "vdate": "DATE",
        "cost": "INTEGER",
        "code": "VARCHAR",
        "region": "VARCHAR",
    },
    "site": {"hosp_id": "INTEGER", "city": "VARCHAR"},
    "secret": {"id": "INTEGER", "name": "VARCHAR", "note": "VARCHAR"},
}
HIDDEN: Final = {"person": ("name", "dob", "info"), "visit": ("region",)}
"""Columns that no policy lists; the table ``secret`` is hidden as a whole."""

VISIBLE: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "person": (
        ("region", "s", "key filter"),
        ("diag", "s", "key filter"),
        ("age", "n", "key filter measure"),
        ("hosp_id", "n", "key"),
        ("salary", "n", "measure"),
        ("id", "u", "unit"),
    ),
    "visit": (
        ("code", "s", "key filter"),
        ("vdate", "d", "key filter"),
        ("cost", "n", "measure"),
        ("id", "u", "unit"),
    ),
    "site": (("city", "s", "key filter"), ("hosp_id", "n", "key filter measure")),
}
"""Name, kind and uses of each listed column: what the policies of the fuzz allow."""

SCALARS: Final[dict[str, tuple[str, ...]]] = {
    "n": (
        "abs(@n)", "acos(sign(@n))", "acosh(1 + abs(@n))", "asin(sign(@n))", "asinh(@n)",
        "atan(@n)", "atan2(@n, @n)", "atanh(sign(@n) / 2)", "cbrt(@n)", "ceil(@n)", "ceiling(@n)",
        "coalesce(@n, @n)", "cos(@n)", "cosh(@n % 5)", "cot(1 + abs(@n))", "date_diff(@p, @d, @d)",
        "datediff(@p, @d, @d)", "day(@d)", "dayofmonth(@d)", "dayofweek(@d)", "isodow(@d)",
        "dayofyear(@d)", "degrees(@n)", "exp(@n % 9)", "extract(@e FROM @d)", "floor(@n)",
        "greatest(@n, @n)", "least(@n, @n)", "hour(@d)", "length(@s)", "ln(1 + abs(@n))",
        "log(1 + abs(@n))", "log10(2 + abs(@n))", "log(2, 3 + abs(@n))", "minute(@d)", "month(@d)",
        "nullif(@n, @n)", "pi()", "power(@n, @i)", "pow(@n, 2)", "quarter(@d)", "radians(@n)",
        "round(@n, @i)", "round(@n)", "second(@d)", "sign(@n)", "sin(@n)", "sinh(@n % 5)",
        "strpos(@s, @q)", "sqrt(abs(@n))", "tan(@n)", "tanh(@n)", "trunc(@n)", "epoch(@d)",
        "week(@d)", "weekofyear(@d)", "year(@d)", "century(@d)", "date_part(@p, @d)",
        "datepart(@p, @d)", "date_sub(@p, @d, @d)", "datesub(@p, @d, @d)", "decade(@d)",
        "divide(@n, @i)", "epoch_ns(@d)", "epoch_us(@d)", "epoch_ms(@d)", "era(@d)", "even(@n)",
        "fdiv(@n, @i)", "fmod(@n, @i)", "gcd(@n, @n)", "greatest_common_divisor(@n, @i)",
        "isoyear(@d)", "julian(@d)", "lcm(@n, @i)", "least_common_multiple(@n, @i)",
        "microsecond(@d)", "millennium(@d)", "millisecond(@d)", "round_even(@n, @i)", "strlen(@s)",
        "weekday(@d)", "yearweek(@d)", "@n // @i * @i", "@n + @n", "@n - @n", "@n * @i", "@n % @i",
        "-@n", "(@n)", "CASE WHEN @b THEN @n ELSE @n END", "if(@b, @n, @n)", "CAST(@n AS @t)",
        "@n::BIGINT", "TRY_CAST(@s AS INTEGER)", "CAST(@b AS INTEGER)",
        "CASE @s WHEN @q THEN @i WHEN @q THEN @i END", "iff(@b, @i, @i)", "ifnull(@n, @i)",
    ),
    "s": (
        "concat(@s, @q)", "concat_ws(@q, @s, @s)", "dayname(@d)", "monthname(@d)", "left(@s, @i)",
        "right(@s, @i)", "lower(@s)", "upper(@s)", "lcase(@s)", "ucase(@s)", "replace(@s, @q, @q)",
        "reverse(@s)", "split_part(@s, @q, 1)", "substring(@s, 1, @i)", "substr(@s, @i)",
        "strftime(@d, @y)", "translate(@s, @q, @q)", "trim(@s)", "ltrim(@s)", "rtrim(@s, @q)",
        "nfc_normalize(@s)", "strip_accents(@s)", "@s || @q", "regexp_replace(@s, @x, @q)",
        "regexp_extract(@s, @x)", "coalesce(@s, @q)", "nullif(@s, @q)", "greatest(@s, @q)",
        "least(@s, @s)", "CAST(@n AS VARCHAR)", "@s::TEXT",
        "CASE WHEN @b THEN @q WHEN @b THEN @s END", "if(@b, @q, @q)", "(@s)",
        "make_time(@i, @i, 1)::VARCHAR",
    ),
    "d": (
        "date_trunc(@p, @d)", "last_day(@d)", "time_bucket(INTERVAL '7 days', @d)",
        "make_date(2020, @i, 1)", "try_strptime(@s, @y)", "@d + INTERVAL 3 DAY", "(@d)",
        "@d - INTERVAL '1' MONTH", "@d + to_days(@i)", "@d + to_hours(@i)", "@d + to_weeks(@i)",
        "@d + to_months(@i)", "@d + to_years(@i)", "@d + to_seconds(@i)", "coalesce(@d, @d)",
        "@d + to_minutes(@i)", "@d + to_microseconds(@i)", "@d + to_milliseconds(@i)",
        "@d + to_quarters(@i)", "CAST(@d AS DATE)", "greatest(@d, @d)", "CAST(@d AS TIMESTAMP)",
    ),
    "b": (
        "@n = @i", "@n <> @i", "@n < @i", "@n >= @i", "@n BETWEEN @i AND @i", "@s = @q",
        "@s IN (@q, @q)", "@n IN (@i, @i, @i)", "@s LIKE @q", "@s ILIKE @q", "@s NOT LIKE @q",
        "@s LIKE @q ESCAPE '!'", "@s IS NULL", "@n IS NOT NULL", "NOT (@b)", "@b AND @b",
        "@b OR @b", "@s NOT IN (@q)", "@n IS DISTINCT FROM @i", "@d < DATE '2026-02-02'",
        "@d BETWEEN DATE '2026-01-01' AND DATE '2026-03-01'", "contains(@s, @q)", "(@b)",
        "starts_with(@s, @q)", "ends_with(@s, @q)", "prefix(@s, @q)", "suffix(@s, @q)", "true",
        "regexp_matches(@s, @x)", "regexp_full_match(@s, @x)", "@s SIMILAR TO @x", "@s ~ @x",
        "isnan(@n::DOUBLE)", "isinf(@n::DOUBLE)", "isfinite(@n::DOUBLE)", "signbit(@n::DOUBLE)",
        "coalesce(@b, false)", "CASE WHEN @b THEN @b ELSE true END", "@s IS NOT DISTINCT FROM @q",
    ),
}  # fmt: skip
"""Listed scalar functions and operators, by the kind of their result."""

CODING: Final[dict[str, tuple[str, ...]]] = {
    "n": (
        "ascii(@s)", "bit_length(@s)", "@n & @i", "@n | @i", "@n << 1", "@n >> 1", "~@n",
        "xor(@n, @i)", "factorial(abs(@n) % 9)", "jaro_winkler_similarity(@s, @q)", "unicode(@s)",
        "bit_count(@n)", "gamma(1 + abs(@n) % 9)", "hamming(@s, @s)", "jaccard(@s, @q)",
        "jaro_similarity(@s, @q)", "lgamma(1 + abs(@n))", "ord(@s)", "nextafter(@n::DOUBLE, 1.0)",
        "octet_length(@s::BLOB)",
    ),
    "s": (
        "chr(60 + @i)", "hex(@s)", "md5(@s)", "sha1(@s)", "sha256(@s)", "typeof(@n)",
        "to_base64(@s::BLOB)", "unhex(hex(@s))::VARCHAR", "regexp_escape(@s)",
    ),
    "d": (
        "strptime('2026-01-0' || @i, '%Y-%m-%d')", "to_timestamp(@n)::TIMESTAMP",
    ),
    "b": (
        "@s GLOB @q",
    ),
}  # fmt: skip
"""Listed functions that encode a value: only where rows may leave."""

AGGREGATES: Final = (
    "count(*)", "count()", "count(@c)", "count(DISTINCT @k)", "count_if(@b)", "sum(@m)", "avg(@m)",
    "var_pop(@m)", "var_samp(@m)", "variance(@m)", "stddev(@m)", "stddev_pop(@m)",
    "stddev_samp(@m)", "covar_pop(@m, @m)", "covar_samp(@m, @m)", "corr(@m, @m)",
    "regr_count(@m, @m)", "regr_avgx(@m, @m)", "regr_avgy(@m, @m)", "regr_intercept(@m, @m)",
    "regr_r2(@m, @m)", "regr_slope(@m, @m)", "regr_sxx(@m, @m)", "regr_sxy(@m, @m)",
    "regr_syy(@m, @m)", "favg(@m)", "mean(@m)", "sem(@m)", "fsum(@m)", "kahan_sum(@m)",
    "sumkahan(@m)", "sum(@m) / count(*)", "CAST(sum(@m) AS DOUBLE)", "coalesce(sum(@m), 0)",
    "round(avg(@m), 2)", "count(@c) * 2", "sum(@m) - avg(@m)", "sum(@m + @m)", "sum(@m * @f)",
)  # fmt: skip
OPEN_AGGREGATES: Final = (
    "skewness(@m)", "kurtosis(@m)", "kurtosis_pop(@m)", "min(@m)", "max(@m)", "min(@s)", "max(@d)",
    "bit_and(@n::INTEGER)", "bit_or(@n::INTEGER)", "bit_xor(@n::INTEGER)", "bool_and(@b)",
    "bool_or(@b)", "product(@m)", "sum(DISTINCT @m)", "avg(@n)",
    "sum(CASE WHEN @b THEN @n ELSE 0 END)", "max(@n) - min(@n)", "sum(@n)", "count(@s)",
)  # fmt: skip
"""Listed, but of no use under a policy with thresholds (or not listed by its document)."""
DP_AGGREGATES: Final = ("count(*)", "count(@c)", "count(DISTINCT @k)", "count_if(@b)", "sum(@m)")

FOREIGN_AGGREGATES: Final = (
    "list(@w)", "string_agg(@w, ',')", "first(@w)", "last(@w)", "any_value(@w)", "mode(@w)",
    "arg_max(@w, @m)", "arg_min(@m, @w)", "max_by(@w, @m, 3)", "median(@m)", "histogram(@w)",
    "quantile_cont(@m, 0.5)", "quantile_disc(@w, [0.1, 0.9])", "approx_count_distinct(@w)",
    "approx_top_k(@w, 3)", "approx_quantile(@m, 0.5)", "reservoir_quantile(@m, 0.5)", "mad(@m)",
    "entropy(@w)", "bitstring_agg(@n::INT)", "group_concat(@w)", "array_agg(@w ORDER BY @n)",
    "list(DISTINCT @w ORDER BY @w)", "count(DISTINCT @w)", "max(@w)", "min(@w)", "sum(@w)",
    "count(@w)", "max(p)", "histogram(p)", "list(p)", "count(DISTINCT (@w, @n))", "sum(sum(@m))",
    "count(*) FILTER (WHERE @w IS NOT NULL)", "sum(@m ORDER BY @w)", "min(@w) OVER ()",
    "sum(length(@w))", "sum(hash(@w))", "max({'a': @w})", "max([@w])",
    "map_from_entries(list((@n, @w)))", "sum(@m) OVER (PARTITION BY @w)",
    "row_number() OVER (ORDER BY @w)", "sum(DISTINCT @m)", "sum(@m, @w)", "count(@w, @n)",
    "count(DISTINCT @w, @n)", "sum()", "avg()", "corr(@m)", "first_value(@w) OVER ()",
    "arbitrary(@w)", "count_if(@w = @q)", "sum(CASE @w WHEN @q THEN 1 END)", "COUNT(p.*)",
    "count(COLUMNS(*))", "max(COLUMNS('na.*'))", "sum(COLUMNS(* EXCLUDE (id)))",
    "median(@m) FILTER (WHERE @b)", "quantile_cont(@m, 0.25)",
)  # fmt: skip

FOREIGN_SCALARS: Final = (
    "(SELECT max(@w) FROM person)", "(SELECT @w)", "EXISTS (SELECT 1 FROM secret WHERE @w = @q)",
    "{'a': @w}", "{'a': @w}.a", "[@w]", "[@w][1]", "struct_pack(a := @w)", "row(@w, 1)", "(@w, 1)",
    "list_value(@w)", "unnest([@w, @s])", "MAP {'a': @w}", "MAP([@w], [1])",
    "struct_extract(p, 'name')", "p['name']", "p.name", "(p).name", "p", "p::VARCHAR", "hash(p)",
    "to_json(p)", "row_to_json(p)", "list_transform([1, 2], LAMBDA x: x + length(@w))",
    "list_filter([@w], x -> x = @q)", "format('{}', @w)",
    "list_reduce([1, 2], LAMBDA a, b: a + b + length(@w))", "[x FOR x IN [@w]]", "printf('%s', @w)",
    "array_extract([@w], 1)", "list_extract([@w], 1)", "list_contains([@q], @w)", "@w = ANY ([@q])",
    "@w IN (SELECT name FROM secret)", "@n = (SELECT count(*) FROM secret)", "getvariable('name')",
    "current_setting('threads')", "hash(@w)", "md5(@w)", "levenshtein(@w, @q)", "repeat(@w, 3)",
    "lpad(@w, 9, @q)", "damerau_levenshtein(@w, @q)", "md5_number(@w)", "crc32(@w)", "uuid()",
    "random()", "now()", "current_date", "nextval('s')", "txid_current()", "error(@w)",
    "setseed(0.1)", "COLUMNS(*)", "COLUMNS('name')", "COLUMNS(c -> c = 'name')", "*COLUMNS(*)",
    "* EXCLUDE (id)", "*", "p.*", "* REPLACE (name AS id)", "* RENAME (name AS id)",
    "UNPACK(COLUMNS(*))", "#2", "#1", "rowid", "p.rowid", "person.rowid", "_pod", "p._pod", "$1",
    "$99", "?", "$a", ":a", "@w COLLATE NOCASE", "CAST(@w AS STRUCT(a INT))", "@w::INTEGER[]",
    "@w::JSON", "@w AT TIME ZONE 'UTC'", "TRY(@w)", "@w::ENUM('a')", "CAST(@w AS nosuch)",
    "@w::DATE", "ALIAS(@w)", "stats(@w)", "vector_type(@w)", "read_text('x')", "query('SELECT 1')",
    "pg_typeof(@w)", "typeof(@w)", "hash(@w) % 2", "grouping(@w)",
    "json_extract(to_json(p), '$.name')", "@w -> '$.a'", "@w ->> 'a'", "@w ^@ @q", "@w !~~ @q",
    "date_trunc(@w, vdate)", "date_part(@w, vdate)", "extract('year' FROM @w)",
    "regexp_matches(@s, @w)", "regexp_extract(@s, @w)", "strftime(@w, '%Y')", "age(@w)",
    "datediff('day', @w, DATE '2020-01-01')", "@w || @s", "@w = @s", "@w IS NULL", "@w LIKE @q",
    "@w BETWEEN @q AND @q", "CASE @w WHEN @q THEN 1 END", "coalesce(@w, @w)", "nullif(@w, @q)",
    "length(@w)", "lower(@w)", "upper(@w)", "year(@w)", "epoch(@w)", "lag(@w) OVER (ORDER BY id)",
    "main.lower(@w)", "system.main.lower(@w)", "lower(@w) AS name", "@w, @w", "@n ORDER BY @w",
    "@n FROM secret", "@n UNION SELECT name FROM person", "DISTINCT @w", "@s; SELECT @w", "@s /* ",
    "@s -- ", "'@s", '"@s', "$$@s$$", "E'\\x41'", "x'41'", "@s)", "(@s", "@s LIMIT 1", "DEFAULT",
    "@n ** 2", "@n ^ 2", "@n !", "@@n", "@n // 0", "1 / 0", "9223372036854775807 + @n", "@s + 1",
    "-@s", "lambda x: x", "x -> x", "@s.upper()", "@w.length()", "NOT @w", "@w IS TRUE",
    "LAST_VALUE(@w)", "INTERVAL (@n) DAY", "INTERVAL @w DAY", "INTERVAL '1 year 2 days'",
    "TIMESTAMP '2020-01-01'", "DATE 'x'", "replace(lower(@w), @q, @q)", "concat(@s, p)",
    "concat(p, @s)", "coalesce(p, p)", "greatest(p, p)", "least(p.name, @q)",
    "translate(name, @q, @q)", "trim(LEADING name FROM @s)", "position(@w IN @s)",
    "overlay(@s PLACING @w FROM 1)", "substring(@s FROM 1 FOR 2)", "@s[1:2]", "@w[1]",
    "@s IS OF (INT)",
)  # fmt: skip
"""Whole expressions that no policy of the fuzz allows, and some that end as an honest one does."""

FOREIGN_SOURCES: Final = (
    "FROM secret AS p", "FROM main.secret AS p", "FROM person AS p, secret AS x", "FROM person",
    "FROM person AS p JOIN secret AS x ON p.id = x.id",
    "FROM person AS p JOIN secret AS x USING (id)", "FROM person AS p NATURAL JOIN secret AS x",
    "FROM person AS p NATURAL JOIN visit AS v", "FROM site, person AS p",
    "FROM person AS p(a, region, b, c, d, e, f, g)", "FROM person p(region, diag)",
    "FROM person AS p, p AS q", "FROM (SELECT * FROM person) AS p", "FROM (FROM person) AS p",
    "FROM (person) AS p", "FROM (person AS p)", "FROM (SELECT name AS region, id FROM person) AS p",
    "FROM (SELECT * REPLACE (name AS region) FROM person) p",
    "FROM (SELECT id AS id, max(name) AS region FROM person GROUP BY id) AS p", "FROM p AS p",
    "FROM (SELECT id AS id, name AS region, count(*) AS n FROM person GROUP BY id, name) AS p",
    "FROM person p FULL JOIN visit v USING (id)",
    "FROM (SELECT id AS id, any_value(name) AS region FROM person GROUP BY id) AS p",
    "FROM person p RIGHT JOIN visit v USING (id)",
    "FROM (SELECT * FROM person UNION ALL SELECT * FROM person) AS p",
    "FROM person p CROSS JOIN visit v", "FROM (VALUES (1, 'n')) AS p(id, region)",
    "FROM (VALUES (1)) v(id) JOIN person AS p USING (id)",
    "FROM person AS p, LATERAL (SELECT p.name AS x) AS l",
    "FROM person p JOIN LATERAL (SELECT 1) l ON true", "FROM person AS p, unnest([p.name]) AS u(x)",
    "FROM unnest([1, 2]) AS u(id)", "FROM generate_series(1, 9) AS g(id)",
    "FROM person AS p, range(9) AS r(i)", "FROM range(9) AS p(id)",
    "FROM repeat_row(1, num_rows = 3)", "FROM query('SELECT * FROM person') AS p",
    "FROM query_table('secret') AS p", "FROM 'x.csv' AS p", "FROM read_csv('x.csv') AS p",
    "FROM duckdb_tables() AS p", "FROM duckdb_columns() AS p", "FROM sqlite_master AS p",
    "FROM information_schema.columns AS p", "FROM pragma_table_info('person') AS p",
    "FROM memory.main.person AS p", "FROM pg_catalog.pg_class AS p",
    "FROM person AS p TABLESAMPLE 10%", "FROM person AS p USING SAMPLE 5 ROWS",
    "FROM person AS p TABLESAMPLE reservoir(5)", "FROM person AT (VERSION => 1) AS p",
    "FROM person AT (TIMESTAMP => now()) p",
    "FROM person AS p ASOF JOIN visit AS v ON p.id >= v.id",
    "FROM person AS p POSITIONAL JOIN secret AS x", "FROM person AS p POSITIONAL JOIN visit AS v",
    "FROM person p SEMI JOIN secret x USING (id)", "FROM person p ANTI JOIN secret x USING (id)",
    "FROM person p JOIN visit v ON p.name = v.code",
    "FROM person p JOIN visit v ON p.id = v.id AND p.name = v.code",
    "FROM person p JOIN person q ON p.name = q.name", "FROM person p JOIN person q USING (name)",
    "FROM person p JOIN visit v USING (id, name)",
    "FROM person p LEFT JOIN visit v ON p.id = v.id AND p.dob = v.vdate",
    "FROM person p JOIN person P ON true", "FROM person p SEMI JOIN visit v ON p.name = v.code",
    "FROM person p WHERE p.name = @q", "FROM person p WHERE p IS NOT NULL",
    "FROM person p WHERE p.id IN (SELECT id FROM secret)",
    "FROM person p WHERE EXISTS (FROM secret x WHERE x.id = p.id)", "FROM person p GROUP BY region",
    "FROM person p ORDER BY name", "FROM person p LIMIT 3", "FROM person p QUALIFY true",
    "FROM person p HAVING count(*) > 1", "FROM person p WINDOW w AS (ORDER BY name)",
    "FROM person p UNION ALL FROM person p", "FROM person p; DROP TABLE person",
    "INTO x FROM person p", "WHERE true", "", "FROM", "FROM person p WHERE", ", 1 FROM person p",
    "FROM (PIVOT person ON region USING max(name)) AS p",
    "FROM person PIVOT (max(name) FOR region IN ('n'))",
    "FROM (UNPIVOT person ON name, region INTO NAME k VALUE v) AS p", "FROM (DESCRIBE person) AS p",
    "FROM (SUMMARIZE person) p", "FROM (SHOW TABLES) AS p", "FROM (TABLE person) AS p",
    "FROM ((SELECT 1)) AS p", "FROM (WITH q AS (FROM secret) FROM q) AS p", "FROM person AS region",
    "FROM person AS name", 'FROM person AS "name" WHERE name IS NOT NULL', "FROM visit AS person",
    "FROM person p JOIN site s USING (hosp_id) WHERE s = 1",
    "FROM site AS dob, person AS p WHERE dob IS NULL",
    "FROM person AS p, (SELECT name FROM p) AS x",
    "FROM person p JOIN (SELECT id AS id, count(name) AS n FROM secret GROUP BY id) x USING (id)",
    "FROM person p, visit p",
    "FROM person p JOIN visit v ON p.id = v.id JOIN secret x ON x.id = v.id",
    'FROM "main"."secret" p',
)  # fmt: skip

DRESSES: Final = (
    "@sql", "@sql", "@sql", "/* ; */ @sql -- done", "(@sql)", "SELECT * FROM (@sql) AS q",
    "FROM (@sql)", "WITH q AS (@sql) SELECT * FROM q",
    "WITH q AS MATERIALIZED (@sql) FROM q ORDER BY ALL", "@sql ORDER BY 1",
    "@sql ORDER BY ALL LIMIT 3", "@sql LIMIT 2 OFFSET 1", "SELECT count(*) FROM (@sql) AS q",
    "EXPLAIN @sql", "SELECT 1 UNION ALL (@sql)", "(@sql) EXCEPT (@sql)",
    "(@sql) INTERSECT ALL (@sql)", "@sql HAVING count(*) > 3",
    "SELECT *, row_number() OVER () FROM (@sql) AS q", "SELECT DISTINCT * FROM (@sql) q",
    "@sql WITH (privacy = 'dp')", "SELECT max(COLUMNS(*)) FROM (@sql) AS q",
    "SELECT q FROM (@sql) AS q", "@sql USING SAMPLE 3 ROWS", "TABLE person", "SELECT (@sql)",
    "SELECT [x FOR x IN (@sql)]", "SELECT * FROM person WHERE id IN (@sql)", "@sql QUALIFY true",
    "PIVOT (@sql) ON k0 USING max(a0)", "UNPIVOT (@sql) ON COLUMNS(*)", "DESCRIBE @sql",
    "SELECT * FROM (@sql) t(a, b)",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT * FROM r, (@sql) AS q",
    "COPY (@sql) TO 'x'", "CREATE TABLE x AS @sql", "@sql; @sql", "PREPARE q AS @sql",
    "SELECT * FROM (@sql) AS q, secret",
)  # fmt: skip

OVERT: Final = {
    "s": {
        "key": ("@h", "@h", "lower(@h)", "left(@h, @i)", "@h IS NULL", "@h = @q", "length(@h)"),
        "if": ("@h LIKE @q", "@h IS NOT NULL", "@h = @q", "@h IN (@q, @q)", "length(@h) > @i"),
        "sum": ("count(@h)", "count(DISTINCT @h)", "count_if(@h LIKE @q)", "max(@h)", "sum(@h)",
                "sum(@m) FILTER (WHERE @h LIKE @q)", "count(*) FILTER (WHERE @h IS NULL)"),
    },
    "d": {
        "key": ("@h", "year(@h)", "date_trunc('year', @h)", "@h IS NULL", "@h < DATE '1980-06-01'"),
        "if": ("@h > DATE '1980-06-01'", "@h IS NULL", "year(@h) = 1980"),
        "sum": ("count(@h)", "count_if(@h IS NULL)", "min(@h)", "count(DISTINCT @h)",
                "sum(@m) FILTER (WHERE @h < DATE '1980-06-01')"),
    },
    "n": {
        "key": ("@h.age", "@h.age // 10", "@h.city", "@h", "@h['age']", "@h IS NULL"),
        "if": ("@h.age > @i", "@h IS NOT NULL", "@h.city = @q"),
        "sum": ("sum(@h.age)", "avg(@h.age)", "count(@h)", "count(@h.city)", "max(@h.age)"),
    },
}  # fmt: skip
"""Uses of a hidden column ``@h``: a text, a date, a structure."""

WORDS: Final = (
    *[
        "FROM",
        "person",
        "AS",
        "p",
        ",",
        "visit",
        "v",
        "JOIN",
        "LEFT",
        "SEMI",
        "ON",
        "USING",
        "(",
        ")",
        "WHERE",
        "AND",
        "OR",
        "NOT",
        "id",
        "p.id",
        "region",
        "name",
    ],
    *[
        "p.name",
        "dob",
        "p.dob",
        "rowid",
        "p.rowid",
        "secret",
        "*",
        "1",
        "$1",
        "$2",
        "=",
        "<>",
        "+",
        "-",
        "/",
        "::",
        "INT",
        "CASE",
        "WHEN",
        "THEN",
        "END",
    ],
    *[
        "SELECT",
        "UNION",
        "ALL",
        "count(*)",
        "sum(",
        "FILTER",
        "OVER",
        "[",
        "]",
        "{",
        "}",
        ":",
        ";",
        "--",
        "/*",
        "*/",
        ".",
        "IN",
        "BETWEEN",
        "LIKE",
        "IS",
        "NULL",
    ],
    *[
        "DISTINCT",
        "GROUP",
        "BY",
        "LIMIT",
        "$",
        "?",
        "#",
        "@",
        "LAMBDA",
        "x:",
        "COLUMNS(*)",
        '"',
        "'",
        "\\",
        "EXCEPT",
        "INTERVAL",
        "day",
        "MAP",
    ],
    *[
        "VALUES",
        "date_trunc(",
        "'month'",
        "STRUCT(",
        "->",
        "=>",
        ":=",
        "**",
        "^",
        "~",
        "!~",
        "||",
        "&&",
        "...",
        "#1",
        "\xa0",
        "\u200b",
        "\ufeff",
    ],
)
TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\d+|\w+|\s+|.""", re.DOTALL)
HOLE: Final = re.compile(r"@(sql|[a-z])(?![a-z])")
ODD_NAMES: Final = (
    "_ok", "_u0", "_n0", "grouping_id", "", "a\nb", 'a"; x',
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "name", "dob", "k0", "K0", "u", "v0", "r", "g", "n", "K0", "\u200b", "sets", "ſ", "é", "rowid",
    "*", "a.b", "contributions", "_rows", "bin", "low", "e0", "f0",
)  # fmt: skip
ODD_TYPES: Final = (
    "HUGEINT", "DECIMAL(18,3)", "ENUM('a', 'b')", "UUID", "BIT", "BLOB", "TIMETZ", '"NULL"',
    "UHUGEINT", "INTEGER[]", "STRUCT(a INT)", "INTEGER) FROM secret --", "nonsense", "",
    "DECIMAL(99,1)", "INTERVAL", "DECIMAL(1,0)", "TINYINT", "BOOLEAN", "FLOAT", "TIME",
    "TIMESTAMP_NS", "MAP(INT, INT)", "JSON",
)  # fmt: skip
ODD_ALIASES: Final = (
    "name", "dob", "info", "region", "person", "visit", "site", "secret", "u", "k0", "v0", "_u0",
    "figures", "sets", "contributions", "cut", "per_unit", "checked0", "main", "memory", "rowid",
    "placed", "marked", "_rows",
)  # fmt: skip
"""Aliases that are also columns, tables, or names the gate gives."""
LOOKALIKES: Final = str.maketrans(
    {"a": "\u0430", "e": "\u0435", "m": "\uff4d", "o": "\u03bf", "b": "\u13cf"}
)


Judged = Aggregate | Rows | Noised | Binned
"""Kinds of fragment that the gate knows."""


@dataclass(frozen=True, slots=True)
class Use:
    """A table of FROM as it was written: alias, and the columns it lends."""

    alias: str
    columns: tuple[tuple[str, str, str], ...]


class Grammar:
    """One fragment or statement; make a new one for each."""

    def __init__(self, chance: random.Random, *, overt: float = 0.4) -> None:
        """``overt``: the share of hostile fragments that are honest but for a hidden column."""
        self._chance = chance
        self._overt_share = overt
        self._uses: list[Use] = []
        self._literals: list[Literal] = []
        self._role = "key"
        self._placeholders = False
        self._open = False
        """Whether everything that some policy lists may be written."""

    # -- what is handed out ------------------------------------------------------------------------

    def fragment(self) -> Fragment:
        """A fragment, hostile in about half of the cases."""
        self._placeholders = self._odds(0.6)
        self._open = self._odds(0.35)
        makers = (self._aggregate, self._rows, self._noised, self._binned)
        made: Judged = self._chance.choices(makers, (6, 3, 2, 1))[0]()
        if self._odds(0.5):
            # One plain use of a hidden column, or changes of any kind.
            rounds = (
                (self._overt,)
                if self._odds(self._overt_share)
                else (self._spoiled,) * self._pick((1, 1, 2, 3))
            )
            for change in rounds:
                made = change(made)
        return made

    def statement(self) -> str:
        """A whole statement for the planner, hostile in about half of the cases."""
        self._open = self._odds(0.4)
        source = self._source()
        keys = self._keys() if self._odds(0.8) else []
        values = [self._value() for _ in range(self._chance.randint(1, 2))]
        hostile = self._odds(0.45)
        if hostile and self._odds(0.3):
            source = self._filled(self._pick(FOREIGN_SOURCES))
        if hostile and self._odds(0.4):
            self._some(values, self._filled(self._pick(FOREIGN_AGGREGATES)))
        if hostile and self._odds(0.3):
            self._some(keys, self._filled(self._pick(FOREIGN_SCALARS)))
        outputs = [f"{key} AS k{at}" for at, key in enumerate(keys)]
        outputs += [f"{value} AS a{at}" for at, value in enumerate(values)]
        sql = f"SELECT {', '.join(outputs)} {source}"
        if keys:
            grouped = ", ".join(str(at + 1) for at in range(len(keys)))
            written = ", ".join(keys)
            forms = (grouped, grouped, written, "ALL", f"ROLLUP ({written})", f"CUBE ({written})")
            sql += f" GROUP BY {self._pick(forms)}"
            sql += self._pick(
                ("", "", "", " HAVING count(*) > 2", " ORDER BY 1", " ORDER BY ALL LIMIT 4")
            )
        if self._odds(0.15):
            sql = f"SELECT {self._any(2)} AS c, {self._any(1)} {source}{self._pick(('', ' ORDER BY 1, 2 LIMIT 5'))}"
        if hostile and self._odds(0.5):
            sql = self._mutated(sql)
        if hostile and self._odds(0.3):
            sql = self._spliced(sql)
        dress = self._pick(DRESSES) if self._odds(0.5) else "@sql"
        return dress.replace("@sql", sql)

    # -- fragments ---------------------------------------------------------------------------------

    def _aggregate(self) -> Aggregate:
        source = self._source()
        keys = self._keys() if self._odds(0.75) else []
        values = [self._value() for _ in range(self._chance.choice((1, 1, 2, 3)))]
        sets = None
        if keys and self._odds(0.15):
            places = range(len(keys))
            sets = tuple(
                tuple(place for place in places if self._odds(0.6))
                for _ in range(self._chance.randint(0, 2))
            )
            # Every key stands in one of them.
            sets += (tuple(set(places) - {place for one in sets for place in one}),)
        return Aggregate(
            source=source,
            keys=self._columns("k", keys, "VARCHAR"),
            aggregates=self._columns("a", values, "DOUBLE"),
            grouping_sets=sets,
            literals=tuple(self._literals),
        )

    def _noised(self) -> Noised:
        source = self._source()
        keys = self._keys() if self._odds(0.7) else []
        values = [
            self._filled(self._pick(DP_AGGREGATES)) for _ in range(self._chance.randint(1, 3))
        ]
        values = [self._with_filter(value) for value in values]
        return Noised(
            source=source,
            keys=self._columns("k", keys, "VARCHAR"),
            aggregates=tuple(
                Column(f"a{at}", value, "DOUBLE" if value.startswith("sum") else "BIGINT", "noised")
                for at, value in enumerate(values)
            ),
            epsilon=self._pick(("", "", "0.5", "1", "1.0", "0.01", "1e-3")),
            delta=self._pick(("", "", "1e-6", "0.000001")),
            fresh=self._odds(0.2),
            literals=tuple(self._literals),
        )

    def _binned(self) -> Binned:
        source = self._source()
        keys = self._keys() if self._odds(0.6) else []
        found = self._found("n", "measure")
        column = self._named(*self._pick(found)) if found else self._measure()
        noisy = self._odds(0.4)
        return Binned(
            source=source,
            keys=self._columns("k", keys, "VARCHAR"),
            column=Column("c", column, "DOUBLE"),
            noisy=noisy,
            epsilon=self._pick(("", "0.5", "1")) if noisy else "",
            literals=tuple(self._literals),
        )

    def _rows(self) -> Rows:
        self._open = self._open or self._odds(0.7)
        source = self._source(public=not self._open or self._odds(0.2))
        values = [self._any(self._chance.randint(0, 2)) for _ in range(self._chance.randint(1, 4))]
        places = self._chance.sample(range(len(values)), self._chance.randint(0, len(values)))
        return Rows(
            source=source,
            columns=self._columns("c", values, "VARCHAR"),
            order=tuple(Ordering(at, self._odds(0.5), self._odds(0.5)) for at in places),
            limit=self._chance.randint(0, 50) if self._odds(0.3) else None,
            literals=tuple(self._literals),
        )

    def _columns(self, letter: str, texts: Sequence[str], kind: str) -> tuple[Column, ...]:
        return tuple(Column(f"{letter}{at}", text, kind) for at, text in enumerate(texts))

    def _keys(self) -> list[str]:
        self._role = "key"
        return [
            self._any(self._chance.choice((0, 0, 1, 2)))
            for _ in range(self._chance.choice((1, 1, 2, 3)))
        ]

    def _value(self) -> str:
        pool = AGGREGATES + OPEN_AGGREGATES if self._open else AGGREGATES
        self._role = "any" if self._open else "filter"
        return self._with_filter(self._filled(self._pick(pool)))

    def _with_filter(self, call: str) -> str:
        if self._odds(0.15) and re.fullmatch(r"\w+\([^()]*\)", call):
            self._role = "filter"
            return f"{call} FILTER (WHERE {self._expression('b', 1)})"
        return call

    def _any(self, depth: int) -> str:
        return self._expression(self._pick(("s", "s", "n", "n", "d", "b")), depth)

    # -- sources -----------------------------------------------------------------------------------

    def _source(self, *, public: bool = False) -> str:
        shape = "site" if public else self._pick(
            ("person", "person", "person", "visit", "visit", "site", "person visit", "visit person",
             "person site", "person site", "person semi visit", "person anti visit", "derived",
             "derived person", "person derived", "person visit site")
        )  # fmt: skip
        text = "FROM " + self._tables(shape.split())
        if self._odds(0.55):
            self._role = "filter"
            text += f" WHERE {self._expression('b', self._chance.randint(1, 2))}"
        return text

    def _tables(self, shape: list[str]) -> str:
        text, kind = "", ""
        for word in shape:
            if word in ("semi", "anti"):
                kind = word.upper()
                continue
            before = list(self._uses)
            written, use = self._table(word)
            if not before:
                text = written
            else:
                text += self._join(before, written, use, word, kind)
            if kind:
                self._uses.remove(use)
            kind = ""
        return text

    def _join(self, before: list[Use], written: str, use: Use, word: str, kind: str) -> str:
        column = "hosp_id" if word == "site" else "id"
        kind = kind or self._pick(
            ("JOIN", "JOIN", "LEFT JOIN", "INNER JOIN", "LEFT OUTER JOIN", ",")
        )
        kind = kind if kind.endswith(("JOIN", ",")) else f"{kind} JOIN"
        on = f"{before[0].alias}.{column} = {use.alias}.{column}"
        if kind == ",":
            # An equality in WHERE would be needed; the plain form is as good.
            kind = "JOIN"
        if self._odds(0.3) and len(before) == 1:
            return f" {kind} {written} USING ({column})"
        if self._odds(0.15):
            self._role = "filter"
            on += f" AND {self._expression('b', 1)}"
        return f" {kind} {written} ON {on}"

    def _table(self, word: str) -> tuple[str, Use]:
        if word == "derived":
            return self._derived()
        letter = word[0]
        name = self._pick(
            (word, word, word, f"main.{word}", word.upper(), f'"{word}"', f'main."{word}"')
        )
        alias = self._pick(
            (letter, letter, f"{letter}1", letter.upper(), f'"{letter} q"', f'"ü{letter}"')
        )
        if self._odds(0.1):
            free = set(ODD_ALIASES) - {use.alias for use in self._uses}
            alias = self._pick(sorted(free))
        use = Use(alias, VISIBLE[word])
        self._uses.append(use)
        return f"{name} {self._pick(('AS ', ''))}{alias}", use

    def _derived(self) -> tuple[str, Use]:
        outer, self._uses = self._uses, []
        table = self._pick(("visit", "visit", "person"))
        written, use = self._table(table)
        inner = use.alias
        where = ""
        if self._odds(0.3):
            self._role = "filter"
            where = f" WHERE {self._expression('b', 1)}"
        value = self._filled(self._pick(("sum(@m)", "count(*)", "avg(@m)", "count(@c)", "sum(@m)")))
        self._uses = outer
        x, n = self._chance.sample(
            ("x", "n", "x", "n", "name", "dob", "info", "rowid", "region", "_rows"), 2
        )
        x = x if x != n else "x1"
        alias = self._pick(("d", "d", "d", "info", "name", "person"))
        if alias in {use.alias for use in self._uses}:
            alias = "d"
        made = Use(alias, (("id", "u", "unit"), (x, "n", "measure"), (n, "n", "key filter")))
        self._uses.append(made)
        outputs = f"{inner}.id AS id, {value} AS {x}, count(*) AS {n}"
        text = f"(SELECT {outputs} FROM {written}{where} GROUP BY {inner}.id) AS {alias}"
        return text, made

    # -- expressions -------------------------------------------------------------------------------

    def _expression(self, kind: str, depth: int) -> str:
        if kind != "b" and (depth <= 0 or self._odds(0.2)):
            return self._leaf(kind)
        pool = SCALARS[kind]
        if self._open and self._odds(0.2):
            pool = CODING[kind]
        if depth <= 0:
            pool = ("@n = @i", "@s = @q", "@s IS NULL", "@s LIKE @q", "@n < @i")
        return self._filled(self._pick(pool), depth - 1)

    def _leaf(self, kind: str) -> str:
        found = self._found(kind, self._role)
        if found:
            return self._named(*self._pick(found))
        fixed = {"n": "@i", "s": "@q", "d": "DATE '2026-01-15'"}
        return self._filled(fixed[kind])

    def _found(self, kind: str, role: str) -> list[tuple[Use, str]]:
        """Columns in reach of one kind (``""``: any) with one use."""
        return [
            (use, name)
            for use in self._uses
            for name, is_kind, roles in use.columns
            if kind in ("", is_kind) and (role in roles.split() or role == "any")
        ]

    def _named(self, use: Use, column: str) -> str:
        alone = sum(name == column for one in self._uses for name, _, _ in one.columns) == 1
        forms = [f"{use.alias}.{column}"] * 3 + [
            f'{use.alias}."{column}"',
            f"{use.alias}.{column.upper()}",
        ]
        if alone:
            forms += [column, column, f'"{column}"', column.title()]
        return self._pick(forms)

    def _filled(self, template: str, depth: int = 0) -> str:
        return HOLE.sub(lambda match: self._hole(match[1], depth), template)

    def _hole(self, hole: str, depth: int) -> str:
        chance = self._chance
        if hole in ("n", "s", "d", "b"):
            text = self._expression(hole, depth)
            return text if re.fullmatch(r"[\w.\"]+|\$\d+", text) else f"({text})"
        match hole:
            case "i":
                return self._number(str(chance.choice((1, 2, 3, 7, 10, 20, 30, 40))))
            case "f":
                return self._number(chance.choice(("0.5", "2", "1.25", ".1", "100")))
            case "q":
                return self._text(
                    chance.choice(
                        ("n", "s", "flu", "hiv", "c1", "city0", "%", "n%", "_", "", "it''s")
                    )
                )
            case "x":
                return self._text(chance.choice(("n", "^[a-f]", "c.", "(flu|hiv)", "x*")))
            case "p":
                return self._text(
                    chance.choice(("day", "month", "year", "week", "quarter", "decade"))
                )
            case "e":
                return chance.choice(("year", "month", "day", "dow", "quarter", "week"))
            case "y":
                return self._text(chance.choice(("%Y", "%Y-%m", "%d.%m.%Y", "%A")))
            case "t":
                return chance.choice(
                    ("BIGINT", "DOUBLE", "VARCHAR", "DECIMAL(18,2)", "HUGEINT", "INTEGER")
                )
            case "m":
                return self._measure()
            case "c":
                found = self._found("", "measure") + self._found("", "key")
                return self._named(*self._pick(found)) if found else "1"
            case "k":
                found = self._found("u", "unit") or self._found("", "key")
                return self._named(*self._pick(found)) if found else "1"
            case _:
                return self._hidden()

    def _measure(self) -> str:
        found = self._found("n", "measure")
        if not found:
            return self._number("1")
        column = self._named(*self._pick(found))
        form = self._pick(
            ("{}",) * 6
            + ("{} * @i", "({} + @i)", "CAST({} AS DOUBLE)", "-{}", "{} / @i", "{} * {}")
        )
        return self._filled(form.replace("{}", column))

    def _number(self, text: str) -> str:
        if self._placeholders and self._odds(0.6):
            self._literals.append(Literal("number", text))
            return f"${len(self._literals)}"
        return text

    def _text(self, written: str) -> str:
        """``written``: between quotes."""
        if self._placeholders and self._odds(0.6):
            self._literals.append(Literal("string", written.replace("''", "'")))
            return f"${len(self._literals)}"
        return f"'{written}'"

    # -- hostility ---------------------------------------------------------------------------------

    def _hidden(self) -> str:
        """A way to write a column the policy does not list, or nearly."""
        name = self._pick(("name", "name", "name", "dob", "dob", "info", "info.region", "v.region"))
        alias = self._pick(self._uses).alias if self._uses else "p"
        forms = (
            *(
                name,
                name,
                f"{alias}.{name}",
                f"{alias}.{name}",
                f"person.{name}",
                f"main.person.{name}",
            ),
            *(
                f'"{name}"',
                f'{alias}."{name.upper()}"',
                name.upper(),
                f'"{name} "',
                f"memory.main.person.{name}",
            ),
            *(
                f"({alias}).{name}",
                f"{alias}['{name}']",
                alias,
                f"{alias}.*",
                f"{alias}.rowid",
                "rowid",
                "note",
            ),
            *(
                name.translate(LOOKALIKES),
                f"{alias}.{name}\u200b",
                f"{name}::VARCHAR",
                f"d.{name}",
                f"x.{name}",
            ),
            *(
                f"{alias} . {name}",
                f"{alias}./**/{name}",
                f"COLUMNS('{name}')",
                f"(SELECT {name} FROM person LIMIT 1)",
            ),
        )
        return self._pick(forms)

    def _overt(self, made: Judged) -> Judged:
        """``made`` as an honest analyst would write it, if a hidden column were listed."""
        owners = [use for use in self._uses if use.columns in (VISIBLE["person"], VISIBLE["visit"])]
        if not owners:
            return self._spoiled(made)
        use = self._pick(owners)
        table = "person" if use.columns == VISIBLE["person"] else "visit"
        name = self._pick(HIDDEN[table])
        forms = OVERT[{"dob": "d", "info": "n"}.get(name, "s")]
        part = self._pick(("source", "source", *self._lists(made)))
        pool = forms["sum" if part == "aggregates" else "if" if part == "source" else "key"]
        written = self._pick(
            (f"{use.alias}.{name}", f"{use.alias}.{name}", f'{use.alias}."{name}"')
        )
        text = self._filled(self._pick(pool).replace("@h", written))
        change: dict[str, object] = {"literals": tuple(self._literals)}
        if part == "source":
            word = "AND" if " WHERE " in made.source else "WHERE"
            change[part] = f"{made.source} {word} {text}"
        elif part == "column":
            change[part] = Column("c", text, "DOUBLE")
        else:
            kind = "DOUBLE" if part == "aggregates" else "VARCHAR"
            columns = getattr(made, part)
            change[part] = (*columns[: self._pick((0, len(columns)))], Column("h", text, kind))
        return self._with(made, change)

    def _with(self, made: Judged, change: dict[str, object]) -> Judged:
        fields = {name: getattr(made, name) for name in made.__struct_fields__}
        return type(made)(**{**fields, **change})

    def _spoiled(self, made: Judged) -> Judged:
        """``made`` with one thing about it changed."""
        change: Callable[[Judged], dict[str, object]] = self._pick(
            (self._spoil_source, self._spoil_text, self._spoil_text, self._spoil_text, self._spoil_output,
             self._spoil_output, self._spoil_names, self._spoil_frame)
        )  # fmt: skip
        return self._with(made, change(made))

    def _spoil_source(self, made: Judged) -> dict[str, object]:
        source = self._filled(self._pick(FOREIGN_SOURCES))
        if self._odds(0.3):
            source = f"{made.source} AND {self._filled(self._pick(FOREIGN_SCALARS))}"
        elif self._odds(0.3):
            source = f"{made.source}, {source.removeprefix('FROM ')}"
        return {"source": source, "literals": tuple(self._literals)}

    def _spoil_text(self, made: Judged) -> dict[str, object]:
        """Splices a hidden column in, or mutates tokens of one text."""
        change = self._spliced if self._odds(0.5) else self._mutated
        part = self._pick(("source", *self._lists(made)))
        if part == "source":
            return {"source": change(made.source)}
        if part == "column":
            return {"column": self._one_changed((made.column,), change)[0]}
        return {part: self._one_changed(getattr(made, part), change)}

    def _spoil_output(self, made: Judged) -> dict[str, object]:
        part = self._pick(self._lists(made))
        pool = FOREIGN_AGGREGATES if part == "aggregates" and self._odds(0.7) else FOREIGN_SCALARS
        text = self._filled(self._pick(pool))
        if part == "column":
            return {"column": Column("c", text, "DOUBLE"), "literals": tuple(self._literals)}
        columns = self._one_changed(getattr(made, part), lambda _: text)
        if self._odds(0.3) or not columns:
            columns = (*columns, Column(f"z{len(columns)}", text, "VARCHAR"))
        return {part: columns, "literals": tuple(self._literals)}

    def _spoil_names(self, made: Judged) -> dict[str, object]:
        part = "keys" if isinstance(made, Binned) else self._pick(self._lists(made))
        columns = list(getattr(made, part))
        if columns:
            place = self._chance.randrange(len(columns))
            old = columns[place]
            name = self._pick(ODD_NAMES) if self._odds(0.5) else old.name
            kind = self._pick(ODD_TYPES) if self._odds(0.6) else old.type
            columns[place] = Column(
                name, old.sql, kind, self._pick(("rows", "additive", "extreme"))
            )
        return {part: tuple(columns)}

    def _spoil_frame(self, made: Judged) -> dict[str, object]:
        """Limits, places, literals, prices and inputs."""
        numbers = (
            "0",
            "1e309",
            "1e-320",
            "99999999999999999999999",
            ".5",
            "1.",
            "0x10",
            "1_0",
            "",
            "1e9999",
        )
        words = ("name", "'", "\\", "\n", "x" * 500, "%s", "\u0000", "\ud7ff", "-- ", "day", "year")
        literals: list[Literal] = [
            Literal("number", self._pick(numbers))
            if self._odds(0.5)
            else Literal("string", self._pick(words))
            for _ in range(self._chance.randint(0, 4))
        ]
        changes: list[dict[str, object]] = [
            {"literals": tuple(literals)},
            {"literals": tuple(self._chance.sample(made.literals, len(made.literals)))},
            {"inputs": (Relation("k", (Field("id", "INTEGER"),)),)},
        ]
        if isinstance(made, Aggregate):
            changes += [
                {
                    "grouping_sets": tuple(
                        tuple(self._chance.choices((0, 0, 1, 2, -1), k=2)) for _ in range(2)
                    )
                },
                {"grouping_sets": self._pick((((),), (), ((0,), ()), ((0, 0),), ((),) * 50))},
                {"masked": True},
                {"keys": made.aggregates, "aggregates": made.keys},
                {"keys": (*made.keys, *made.keys)},
            ]
        elif isinstance(made, Rows):
            places = (Ordering(self._pick((-1, 0, 1, 9, 2**40)), True, False),)
            changes += [
                {"limit": self._pick((-1, 2**62, 2**63 - 1, 2**64 - 1, 0))},
                {"order": places},
            ]
        else:
            prices = (
                "0",
                "-1",
                "nan",
                "inf",
                "1e-320",
                "1e-9",
                "1e308",
                "1_0",
                "x",
                " 1 ",
                "0x1",
                "\u0661",
                "1e-30",
            )
            changes += [{"epsilon": self._pick(prices)}, {"delta": self._pick(prices)}]
        return self._pick(changes)

    def _lists(self, made: Judged) -> tuple[str, ...]:
        if isinstance(made, Binned):
            return ("keys", "column", "column")
        return ("columns",) if isinstance(made, Rows) else ("keys", "aggregates", "aggregates")

    def _one_changed(
        self, columns: tuple[Column, ...], change: Callable[[str], str]
    ) -> tuple[Column, ...]:
        if not columns:
            return columns
        place = self._chance.randrange(len(columns))
        old = columns[place]
        changed = Column(old.name, change(old.sql), old.type, old.disclosure)
        return (*columns[:place], changed, *columns[place + 1 :])

    def _spliced(self, text: str) -> str:
        """With a hidden column, or a foreign expression over one, in place of a column."""
        names = "|".join(sorted({name for columns in VISIBLE.values() for name, _, _ in columns}))
        places = list(re.finditer(rf'(?:[\w"]+\.)?"?\b(?:{names})\b"?', text, re.IGNORECASE))
        if not places:
            return f"{text} {self._hidden()}"
        place = self._pick(places)
        put = self._hidden() if self._odds(0.7) else self._filled(self._pick(FOREIGN_SCALARS))
        return text[: place.start()] + put + text[place.end() :]

    def _mutated(self, text: str) -> str:
        tokens = TOKEN.findall(text)
        for _ in range(self._chance.choice((1, 1, 2, 4))):
            place = self._chance.randrange(len(tokens) + 1)
            here = tokens[place] if place < len(tokens) else ""
            other = self._pick(tokens) if tokens else ""
            put = self._pick(
                ("", here + here, other, self._pick(WORDS), f" {self._pick(WORDS)} ", f"({here})", f'"{here}"',
                 f"/* ; */{here}", f"{here}--\n", here.upper(), here.swapcase(), f"{here} {other}",
                 f"{here}\u00a0", f"(SELECT {here})", f"{here}::VARCHAR", f"NOT {here}", f"-{here}",
                 self._hidden(), here.translate(LOOKALIKES), f"{here}, {other}", f"{here}.{other}")
            )  # fmt: skip
            tokens[place : place + 1] = [put]
        return "".join(tokens)

    # -- chance ------------------------------------------------------------------------------------

    def _odds(self, share: float) -> bool:
        return self._chance.random() < share

    def _pick(self, pool: Sequence[Any]) -> Any:
        return self._chance.choice(pool)

    def _some(self, texts: list[str], put: str) -> None:
        texts[self._chance.randrange(len(texts)) if texts else 0 : 1] = [put]
