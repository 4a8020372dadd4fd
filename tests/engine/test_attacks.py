"""Attacks of the DuckDB surface (numbers of the attack list) sent straight to an engine process.

Whatever the gate would have refused arrives here unfiltered: each must end in a code, with the
engine's parent alive. What the engine cannot stop and the gate must is listed in ``GATE_ONLY``.
"""

from pathlib import Path

import pytest

from podsql.engine.job import Failed

from podsql.engine.faults import MESSAGES  # isort: skip

GATE_ONLY = {
    "63": "duckdb_settings(), pragma_storage_info, duckdb_tables().sql answer under the lock",
    "57": "query_table() and the schema search path reach every table of the snapshot",
    "66": "timing and sizes are the release rules' matter",
    "67": "names and order of columns are the plan's matter",
}
"""Attack number -> what the engine lets through because the gate's allowlist is the defence."""

FILES = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('{data}/visits.parquet')",
    "SELECT * FROM read_blob('{db}')",
    "SELECT * FROM read_duckdb('{db}', table_name='visits')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "FROM '/etc/passwd'",
    "FROM 'file:///etc/passwd'",
    "FROM '~/.bashrc'",
    "FROM '{data}/../../../../../../../etc/passwd'",
    "SELECT * FROM read_text('/proc/self/environ')",
)

STATEMENTS = (
    "COPY (SELECT 1) TO '{data}/out.csv'",
    "COPY clinic.visits TO '{data}/out.parquet'",
    "EXPORT DATABASE '{data}/out'",
    "IMPORT DATABASE '{data}/out'",
    "ATTACH '{db}' AS other",
    "ATTACH ':memory:' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "UPDATE EXTENSIONS",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE TEMP VIEW visits AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SET threads = 8",
    "RESET threads",
    "SET VARIABLE v = 1",
    "USE memory",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXPLAIN SELECT 1",
    "DELETE FROM clinic.visits",
    "UPDATE clinic.visits SET age = 0",
)


def filled(sql: str, processes) -> str:
    database = processes.snapshot.path
    return sql.format(db=database, data=database.parent.parent)


@pytest.mark.parametrize("sql", FILES)
def test_attack_52_no_file_is_read(processes, sql: str) -> None:
    assert processes.run(filled(sql, processes)).code in {"POD_FAILED", "DATA"}


@pytest.mark.parametrize("sql", STATEMENTS)
def test_attack_54_only_a_select_runs(processes, sql: str) -> None:
    running = processes.run(filled(sql, processes))
    assert running.events == [Failed("POD_FAILED", MESSAGES["POD_FAILED"])]


def test_attack_53_binding_opens_no_file(processes) -> None:
    before = sorted(Path(processes.snapshot.path).parent.iterdir())
    for sql in ("DESCRIBE FROM read_csv('/etc/passwd')", "EXPLAIN FROM read_csv('/etc/passwd')"):
        assert processes.run(sql).code == "POD_FAILED"
    assert sorted(Path(processes.snapshot.path).parent.iterdir()) == before


def test_attack_55_rows_are_not_deleted_from_within_a_select(processes) -> None:
    sql = "WITH d AS (DELETE FROM clinic.visits RETURNING *) SELECT count(*) FROM d"
    assert processes.run(sql).code in ("POD_FAILED", "DATA")
    left = processes.run("SELECT count(*) AS n FROM clinic.visits").table()
    assert left["n"].to_pylist() == [1000]


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; --\nSELECT 2", "", ";", "-- x"])
def test_attack_56_exactly_one_statement_runs(processes, sql: str) -> None:
    assert processes.run(sql).code == "POD_FAILED"


def test_attack_57_a_serialized_statement_cannot_write(processes) -> None:
    sql = (
        "SELECT * FROM json_execute_serialized_sql("
        "(SELECT json_serialize_sql('SELECT * FROM read_text(''/etc/passwd'')')))"
    )
    assert processes.run(sql).code != "FINISHED"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80/x.csv",
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/x.parquet",
        "s3://bucket/x.parquet",
        "gcs://bucket/x.parquet",
        "hf://datasets/x/y.csv",
    ],
)
def test_attack_58_no_address_is_reached(processes, url: str) -> None:
    assert processes.run(f"SELECT * FROM '{url}'").code == "POD_FAILED"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list(range) FROM range(7000000000)",
        "SELECT count(DISTINCT range) FROM range(3000000000)",
        "SELECT * FROM range(7000000000) ORDER BY range DESC",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(50000)",
    ],
)
def test_attack_59_a_statement_that_wants_50_gb_ends_in_out_of_memory(processes, sql: str) -> None:
    assert processes.run(sql).code == "OUT_OF_MEMORY"
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT repeat('x', 2000000000)",
        "SELECT lpad('x', 2000000000, 'y')",
        "SELECT bitstring('1', 2000000000)",
    ],
)
def test_attack_59_one_huge_value_ends_in_a_code(processes, sql: str) -> None:
    assert processes.run(sql, seconds=0.5).code in {"OUT_OF_MEMORY", "TIMEOUT"}
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sleep_ms(8000)",
        "SELECT levenshtein(repeat('a', 60000), repeat('b', 60000))",
        "SELECT 1 WHERE " + " OR ".join(f"{i} = random()" for i in range(50_000)),
        "SELECT 1 WHERE random() IN (" + ", ".join(f"{i}.5" for i in range(200_000)) + ")",
    ],
    ids=["sleep", "levenshtein", "or-chain", "in-list"],
)
def test_attack_60_what_ignores_the_interrupt_is_killed(processes, sql: str) -> None:
    assert processes.run(sql, seconds=0.2).code in {"TIMEOUT", "POD_FAILED", "OUT_OF_MEMORY"}
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM range(400000) a, range(400000) b WHERE (a.range + b.range) % 7 = 1",
    ],
)
def test_attack_61_what_never_ends_stops_at_its_limit(processes, sql: str) -> None:
    assert processes.run(sql, seconds=0.4).code in {"TIMEOUT", "OUT_OF_MEMORY"}


@pytest.mark.parametrize(
    "sql",
    [
        "PIVOT (SELECT range AS a, range AS b FROM range(90000)) ON b USING sum(a)",
        "SELECT count(*) FROM range(9) GROUP BY CUBE (" + ", ".join(["range"] * 22) + ")",
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    ],
    ids=["pivot", "cube", "parens"],
)
def test_attack_62_shapes_that_blow_up_end_in_a_code(processes, sql: str) -> None:
    running = processes.run(sql, seconds=0.5)
    assert running.over
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


def test_attack_63_secrets_are_not_there_and_not_shown(processes) -> None:
    running = processes.run("SELECT count(*) AS n FROM duckdb_secrets()")
    assert running.code == "POD_FAILED" or running.table()["n"].to_pylist() == [0]


@pytest.mark.parametrize("name", ["sys", "os", "con", "self", "configure", "limits", "payload"])
def test_attack_64_python_variables_are_not_tables(processes, name: str) -> None:
    assert processes.run(f"SELECT * FROM {name}").code == "POD_FAILED"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST(patient AS INTEGER) FROM clinic.visits",
        "SELECT CAST(patient AS DATE) FROM clinic.live",
        "SELECT error(patient) FROM clinic.visits",
        "SELECT CAST(age + 250 AS UTINYINT) FROM clinic.visits",
        "SELECT age * 9223372036854775807 FROM clinic.visits",
        "SELECT (SELECT patient FROM clinic.visits) = 'x'",
        "SELECT json_extract(patient, '$.a') FROM clinic.visits",
        "SELECT regexp_matches(patient, patient || '(') FROM clinic.visits",
        "SELECT strptime(patient, '%Y') FROM clinic.visits",
        "SELECT canary_7f3a FROM clinic.visits",
        "SELECT map([patient, patient], [1, 2]) FROM clinic.visits",
    ],
)
def test_attack_65_an_error_is_a_code_with_our_own_words(engine, sql: str) -> None:
    last = engine.run(sql).events[-1]
    assert isinstance(last, Failed)
    assert last.message == MESSAGES[last.code]
    assert "canary" not in repr(last)


def test_attack_65_kinds_of_errors_keep_their_codes(engine) -> None:
    codes = [
        engine.run(sql).code
        for sql in (
            "SELECT CAST(patient AS INTEGER) FROM clinic.visits",
            "SELECT 9223372036854775807 + visit_id FROM clinic.visits",
            "SELECT nothing FROM clinic.visits",
            "SELECT CASE WHEN range > 900000 THEN CAST('x' || range AS INTEGER) ELSE 0 END"
            " FROM range(1000000)",
        )
    ]
    assert codes == ["DATA", "OVERFLOW", "POD_FAILED", "DATA"]
