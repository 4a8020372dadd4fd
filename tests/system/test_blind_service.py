"""Attack: read the policy service's whole memory and its files. It knows who asked for which table,
and nothing of what was asked, nor of what came out."""

import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import memory, service_pid

from podsql.demo.stage import Stage
from podsql.driver import connect
from podsql.errors import Error
from podsql.membership import load_membership
from podsql.policy.service.database import Database
from podsql.policy.service.granting import make_grant
from podsql.policy.service.officers import CONSOLE
from podsql.policy.service.orders import Orders
from podsql.policy.service.pods import pods as reported
from podsql.policy.service.reviews import reviews
from podsql.policyd import store_path

TABLE = "canary_table_77"
VALUE, LITERAL, ALIAS, WORDS, SUM = (
    "canary-value-8c1f",
    "canary-literal-5d2a",
    "canary_alias_13",
    "/* canary words of a statement */",
    7_364_519_028,
)
"""The sum is one of the results."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("blind")
    path = home / "north.parquet"
    rows = {"name": [VALUE, VALUE, "b"] * 20, "x": [SUM, *range(-29, 0), *range(1, 31)]}
    rows["x"][-1] -= sum(rows["x"]) - SUM
    pq.write_table(pa.table(rows), path)
    made = Stage(home=home, pods={"north": {f"main.{TABLE}": {"path": str(path)}}}, preset="open")
    try:
        made.build()
        yield made
    finally:
        made.close()


def test_no_canary_is_in_any_byte_the_service_holds(stage):
    database = Database(store_path(stage.access))
    with connect(stage.analyst) as con:
        grouped = (
            f"SELECT name AS {ALIAS}, count(*) {WORDS} FROM {TABLE}"
            f" WHERE name <> '{LITERAL}' GROUP BY 1"
        )
        assert sorted(con.execute(grouped).fetchall()) == [("b", 20), (VALUE, 40)]
        assert con.execute(f"SELECT sum(x) FROM {TABLE}").fetchall() == [(SUM,)]
        assert len(con.execute(f"SELECT * FROM {TABLE}").fetchall()) == 60
        with pytest.raises(Error):
            con.execute(f"SELECT {ALIAS} FROM {TABLE}")
        # A result in review: the service is told its size and hash.
        orders = Orders(database, lambda: time.time_ns() // 1_000_000)
        ana = load_membership(stage.analyst).keys.identity_public
        orders.revoke(CONSOLE, stage.grants[f"main.{TABLE}"])
        now = time.time_ns() // 1_000_000
        given = make_grant(analyst=ana, now=now, tables=[TABLE], release="rows")
        orders.grant(CONSOLE, given, name="ana", review=True)
        code, deadline = "", time.monotonic() + 20
        while code != "IN_REVIEW":
            # The pod forgets its offer when it hears of the revocation: then both sides bind anew.
            assert time.monotonic() < deadline, code
            with pytest.raises(Error) as caught:
                con.execute(grouped).fetchall()
            code = caught.value.code
        assert len(reviews(database, state="waiting")) == 1
    assert [one.name for one in reported(database)] == ["north"]
    database.close()
    held = memory(service_pid(stage))
    files = b"".join(
        path.read_bytes() for path in stage.access.parent.glob("policy.sqlite*") if path.is_file()
    )
    for where in (held, files):
        # Were this not found, the search below would prove nothing.
        assert TABLE.encode() in where
        for canary in (VALUE, LITERAL, ALIAS, WORDS, str(SUM)):
            assert canary.encode() not in where
            assert canary.encode("utf-16-le") not in where
        assert SUM.to_bytes(8, "little") not in where
