"""Scenarios A15 and A16 (a view is a dataset with rights of its own), and opt-out lists, end to end."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.pod.control import send

POLICY = """
version = 1
name = "census"
people = "*"
[tables.people.columns]
id = {roles = ["entity_key", "join_key"]}
"*" = {roles = ["dimension", "filter", "measure"]}
[tables.white]
release = "rows"
rows = ["*"]
[tables.white.columns]
"*" = {}
"""
VIEW = """
[views."main.white"]
sql = "SELECT age, race, target FROM main.people WHERE race = 'White'"
"""
PEOPLE = {
    "id": list(range(600)),
    "age": [17 + i % 60 for i in range(600)],
    "race": [["White", "Black", "Asian"][i % 3] for i in range(600)],
    "occupation": [["clerk", "cook"][i % 2] for i in range(600)],
    "target": [i % 7 == 0 for i in range(600)],
}


class Clinics(Stage):
    """Pods with a policy file, a view and an opt-out list."""

    def _write_pod(self, name, tables):
        super()._write_pod(name, tables)
        path = self.home / name / "pod.toml"
        text = path.read_text().replace('preset = "standard"', 'file = "policy.toml"')
        path.write_text(text + VIEW)
        (self.home / name / "policy.toml").write_text(POLICY)
        (self.home / name / "opted_out.txt").write_text("# by letter\n0\n\n3\n7\n")


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("views")
    pods = {}
    for place, name in enumerate(("north", "south")):
        rows = pa.table(PEOPLE).take([i for i in range(600) if i % 2 == place])
        pq.write_table(rows, home / f"{name}.parquet")
        pods[name] = {
            "main.people": {
                "path": str(home / f"{name}.parquet"),
                "privacy_unit": "id",
                "opt_out": "opted_out.txt",
            }
        }
    made = Clinics(home=home, pods=pods, service=False)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def con(stage) -> Iterator[podsql.Connection]:
    with connect(stage.analyst, timeout=20) as made:
        yield made


def present(gone=(0, 3, 7)):
    return [i for i in range(600) if i not in gone]


def code_of(con, sql) -> str:
    with pytest.raises(podsql.Error) as caught:
        con.execute(sql).fetchall()
    return caught.value.code


def test_a15_a_view_is_a_dataset_of_its_own_beside_its_table(con):
    white = sum(PEOPLE["race"][i] == "White" for i in present())
    assert con.execute("SELECT count(*) FROM white").fetchall() == [(white,)]
    assert con.execute("SELECT count(*) FROM people").fetchall() == [(597,)]


def test_a16_rows_leave_the_view_that_grants_them_and_not_the_table(con):
    with pytest.raises(podsql.Error) as caught:
        con.execute("SELECT * FROM people")
    assert caught.value.code == "DENIED"
    assert "rows of 'main.people' do not leave 'north', 'south'" in caught.value.message
    cursor = con.execute("SELECT * FROM white")
    assert [column[0] for column in cursor.description] == ["age", "race", "target"]
    rows = cursor.fetchall()
    expected = [
        (PEOPLE["age"][i], "White", PEOPLE["target"][i])
        for i in present()
        if PEOPLE["race"][i] == "White"
    ]
    assert sorted(rows) == sorted(expected)
    base = con.execute("SELECT occupation, count(*) FROM people GROUP BY ALL ORDER BY 1").fetchall()
    assert base == [("clerk", 299), ("cook", 298)]
    assert code_of(con, "SELECT occupation FROM white") == "UNKNOWN_COLUMN"


def test_who_opted_out_is_in_no_table_view_or_snapshot(con, stage):
    total = sum(PEOPLE["age"][i] for i in present())
    assert con.execute("SELECT sum(age) FROM people").fetchall() == [(total,)]


def test_a_new_opt_out_holds_before_the_next_statement(con, stage):
    listed = stage.home / "north" / "opted_out.txt"
    before = listed.read_text()
    config: Path = stage.home / "north" / "pod.toml"
    try:
        listed.write_text(before + "2\n4\n")
        # Nothing runs on rows of people who have left since, not even once.
        assert code_of(con, "SELECT count(*) FROM people") == "PAUSED"
        send(config, "reload", timeout=60)
        assert con.execute("SELECT count(*) FROM people").fetchall() == [(595,)]
        for broken in ("not a number\n", None):
            if broken is None:
                listed.unlink()
            else:
                listed.write_text(broken)
            for _ in range(2):
                assert code_of(con, "SELECT count(*) FROM people") == "PAUSED"
                with pytest.raises(podsql.Error) as caught:
                    send(config, "reload", timeout=60)
                assert caught.value.code in ("SOURCE", "CONFIG")
                assert "not a number" not in caught.value.message
    finally:
        listed.write_text(before)
        send(config, "reload", timeout=60)
    assert con.execute("SELECT count(*) FROM people").fetchall() == [(597,)]


@pytest.mark.parametrize(
    "section",
    ['opt_out = "o.txt"', 'opt_out = "o.txt"\nprivacy_unit = "id"\nmode = "in_place"'],
)
def test_a_list_that_could_not_be_applied_is_refused(section):
    from podsql.pod.config import parse_pod_config

    with pytest.raises(podsql.Error, match="opt-out"):
        parse_pod_config(f'[tables.t]\npath = "t.parquet"\n{section}\n'.encode())
