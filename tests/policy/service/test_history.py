"""The service's record: whoever changes a line of it, adds one or takes one out is found out."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_desk import NOW

from podsql.errors import Error
from podsql.policy.service import history
from podsql.policy.service.database import Database

FIELDS = ("time", "actor", "act", "object", "detail", "hash")


def written(path: Path, count: int = 6) -> Database:
    database = Database(path)
    with database.write() as db:
        for n in range(count):
            history.note(
                db, time=NOW + n, actor="ben", act="grant", object=f"g{n}", detail=f"to ana {n}"
            )
    return database


def tampered(path: Path, sql: str, *values: object) -> None:
    """Somebody who may write the file."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql, values)


def test_a_record_that_nobody_touched_verifies(tmp_path):
    with closing(written(tmp_path / "x.sqlite")) as database:
        assert history.verify(database) == history.epoch(database) == 6
        assert [one.object for one in history.changes(database, limit=2)] == ["g5", "g4"]
        assert [one.object for one in history.changes(database, before=3)] == ["g1", "g0"]
        assert [one.number for one in history.changes(database, search="ANA 4")] == [5]
        assert history.changes(database, search="%") == []


def test_an_empty_record_has_no_number(tmp_path):
    with closing(Database(tmp_path / "x.sqlite")) as database:
        assert (history.verify(database), history.epoch(database)) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 6),
    field=st.sampled_from(FIELDS),
    value=st.text(max_size=8) | st.integers(0, 9) | st.binary(max_size=32),
)
def test_whatever_is_changed_in_a_line_is_found(number, field, value):
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "x.sqlite"
        with closing(written(path)) as database:
            # Changes to the same value, after the column's own conversion, are none.
            before = database.read("SELECT * FROM history ORDER BY number")
            tampered(path, f"UPDATE history SET {field} = ? WHERE number = ?", value, number)
            if list(map(tuple, before)) == list(
                map(tuple, database.read("SELECT * FROM history ORDER BY number"))
            ):
                return
            with pytest.raises(Error, match=f"at act {number}"):
                history.verify(database)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_line_that_was_taken_out_is_found(tmp_path, number):
    with closing(written(tmp_path / "x.sqlite")) as database:
        tampered(database.path, "DELETE FROM history WHERE number = ?", number)
        with pytest.raises(Error, match=f"at act {number}"):
            history.verify(database)
        tampered(database.path, "UPDATE history SET number = number - 1 WHERE number > ?", number)
        with pytest.raises(Error):
            history.verify(database)


def test_lines_that_changed_places_are_found(tmp_path):
    with closing(written(tmp_path / "x.sqlite")) as database:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            tampered(database.path, "UPDATE history SET number = ? WHERE number = ?", new, old)
        with pytest.raises(Error, match="at act 2"):
            history.verify(database)


def test_only_a_restore_may_leave_numbers_out(tmp_path):
    with closing(written(tmp_path / "x.sqlite")) as database:
        with database.write() as db:
            history.note(
                db, time=NOW, actor="console", act=history.RESTORE, object="b", number=1_000_006
            )
            assert history.note(db, time=NOW, actor="ben", act="grant", object="g") == 1_000_007
        assert (history.verify(database), history.epoch(database)) == (8, 1_000_007)
        with database.write() as db:
            history.note(db, time=NOW, actor="ben", act="grant", object="g", number=2_000_000)
        with pytest.raises(Error, match="at act 1000008"):
            history.verify(database)
