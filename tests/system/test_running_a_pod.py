"""Scenarios A1-A3 of the reference system's users: a pod from a CSV file, from one file, and asked."""

import json
import subprocess
import sys

import duckdb
import pytest

import podsql
from podsql.demo.stage import Stage
from podsql.errors import Error

POLICY = """
version = 1
name = "census"
people = "*"
[output]
min_units = 5
[tables."main.census".columns]
person = { roles = ["entity_key"] }
age = { roles = ["measure", "filter"] }
occupation = { roles = ["dimension", "filter"], values = ["clerk", "nurse", "farmer"] }
target = { roles = ["dimension", "filter"] }
"""
"""``fnlwgt`` is ignored: a column that is not listed does not exist."""


def write_census(path):
    """600 people; one occupation has three, whose name must not be seen before it is asked for."""
    with duckdb.connect() as base:
        base.execute(
            "CREATE TABLE census AS SELECT i AS person, 20 + i * 7 % 50 AS age, i * 31 % 997 AS fnlwgt,"
            " CASE WHEN i < 3 THEN 'lighthouse keeper' ELSE ['clerk', 'nurse', 'farmer'][1 + i % 3] END"
            " AS occupation, i % 4 = 0 AS target FROM range(600) r(i)"
        )
        base.execute(f"COPY census TO '{path}' (HEADER)")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    home = tmp_path_factory.mktemp("census")
    csv = home / "census.csv"
    write_census(csv)
    section = {
        "path": str(csv),
        "privacy_unit": "person",
        "columns": {"occupation": "VARCHAR", "target": "BOOLEAN"},
    }
    stage = Stage(home=home, pods={"bureau": {"census": section}}, service=False, policy=POLICY)
    stage.build()
    yield stage, csv
    stage.close()


@pytest.fixture
def connection(running):
    stage, _ = running
    with podsql.connect(stage.analyst) as connection:
        yield connection


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "podsql", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a1_the_pod_is_online_and_its_table_has_types_and_no_values(connection):
    pods = connection.execute("SHOW PODS").fetchall()
    assert [(row[0], row[1]) for row in pods] == [("bureau", "ready")]
    described = connection.execute("DESCRIBE census").fetchall()
    columns = {row[0]: row[1] for row in described}
    assert columns["occupation"] == "VARCHAR"
    assert columns["target"] == "BOOLEAN"
    assert "fnlwgt" not in columns
    shown = str(described) + str(connection.execute("SHOW TABLES").fetchall())
    assert "lighthouse" not in shown


def test_a1_the_ignored_column_cannot_be_asked_for(connection):
    with pytest.raises(Error) as caught:
        connection.execute("SELECT avg(fnlwgt) FROM census")
    assert caught.value.code == "UNKNOWN_COLUMN"


def test_a2_one_file_is_checked_without_a_network_and_served_by_one_command(running):
    stage, csv = running
    config = stage.home / "bureau" / "pod.toml"
    told = run("pod", "check", "--config", config, "--json")
    assert told.returncode == 0, told.stderr
    assert "census" in told.stdout
    broken = stage.home / "bureau" / "broken.toml"
    for before, after in ((str(csv), f"{csv}.gone"), ("privacy_unit", "privacy_units")):
        broken.write_text(config.read_text().replace(before, after))
        told = run("pod", "check", "--config", broken, "--json")
        assert told.returncode != 0
        assert ("privacy_unit" in told.stdout + told.stderr) is (before == "privacy_unit")


def test_a3_one_pod_is_asked_and_equals_the_local_engine(running, connection):
    stage, csv = running
    sql = "SELECT occupation, avg(age) AS mean FROM census GROUP BY occupation ORDER BY occupation"
    local = duckdb.sql(sql.replace("census", f"read_csv('{csv}')")).fetchall()
    expected = [row for row in local if row[0] != "lighthouse keeper"]
    cursor = connection.execute(sql)
    assert cursor.fetchall() == expected
    assert cursor.withheld == 1
    told = run("sql", sql, "--federation", stage.analyst, "--format", "json")
    assert told.returncode == 0, told.stderr
    assert [tuple(row.values()) for row in json.loads(told.stdout)] == expected
