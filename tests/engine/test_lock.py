"""The settings of a locked DuckDB: also those of a cursor, which a thread works with."""

import re

import duckdb
import pytest

from podsql.engine.limits import Limits
from podsql.engine.lock import NO_SURPRISES, OWN, SHUT, lock, resource_settings
from podsql.planner.settings import PINNED_SETTINGS

LIMITS = Limits(threads=1, memory_mb=256, seconds=0.5)


def test_a_cursor_has_every_setting_of_its_connection(monkeypatch):
    """The zone would be the machine's, and no deadline would hold."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with duckdb.connect() as con:
        lock(con, LIMITS)
        with con.cursor() as cursor:
            for setting in (*NO_SURPRISES, *PINNED_SETTINGS, *resource_settings(LIMITS), *SHUT):
                if setting.startswith(OWN):
                    continue
                name = re.match(r"SET (\w+)", setting)[1]
                read = f"SELECT current_setting('{name}')"
                assert cursor.execute(read).fetchall() == con.execute(read).fetchall(), name


def test_a_statement_of_a_cursor_ends_at_the_deadline():
    with duckdb.connect() as con:
        lock(con, LIMITS)
        endless = (
            "SELECT count(*) FROM range(900000) a, range(900000) b WHERE a.range * b.range % 7 = 1"
        )
        with con.cursor() as cursor, pytest.raises(duckdb.InterruptException):
            cursor.execute(endless).fetchall()
