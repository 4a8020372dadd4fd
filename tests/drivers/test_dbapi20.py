"""The public compliance suite of PEP 249, over a federation's scratch tables."""

import dbapi20
import pytest

import podsql


class TestPodsql(dbapi20.DatabaseAPI20Test):
    """33 tests as published; ``nextset`` and ``setoutputsize`` are left to each driver."""

    driver = podsql
    table_prefix = "scratch.dbapi20test_"
    ddl1 = f"create table {table_prefix}booze (name varchar(20))"
    ddl2 = f"create table {table_prefix}barflys (name varchar(20), drink varchar(30))"
    xddl1 = f"drop table {table_prefix}booze"
    xddl2 = f"drop table {table_prefix}barflys"

    @pytest.fixture(autouse=True)
    def _over(self, federation):
        self.connect_args = (federation.membership(),)

    def test_nextset(self):
        """A statement has one answer; PEP 249 lets a driver leave the method out."""
        assert not hasattr(podsql.Cursor, "nextset")

    def test_setoutputsize(self):
        """It changes nothing: values are never cut."""
        with self._connect() as con, con.cursor() as cursor:
            cursor.setoutputsize(1, 0)
            assert cursor.execute("SELECT sex || ? FROM visits", ("x" * 99,)).fetchone()[0][1:] == (
                "x" * 99
            )

    def test_non_idempotent_close(self):
        """Our choice, and that of most drivers: closing twice does no harm, all else raises."""
        con = self._connect()
        con.close()
        con.close()
        with pytest.raises(con.Error):
            con.commit()
        with pytest.raises(con.Error):
            con.cursor()


def test_33_tests_are_as_published_and_three_are_ours():
    names = {name for name in dir(TestPodsql) if name.startswith("test_")}
    ours = {name for name in vars(TestPodsql) if name.startswith("test_")}
    assert len(names - ours) == 33
    assert ours == {"test_nextset", "test_non_idempotent_close", "test_setoutputsize"}
