"""A federation with two policy services: an order goes to both, and each says what it did."""

import subprocess
import sys
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podsql
from podsql.demo.stage import Stage
from podsql.driver import connect

COUNT = "SELECT count(*) FROM visits"
GRANT = "GRANT SELECT ON visits TO ana WITH (release = 'rows')"


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("services")
    pq.write_table(pa.table({"id": list(range(50))}), home / "north.parquet")
    table = {"path": str(home / "north.parquet"), "privacy_unit": "id"}
    made = Stage(
        home=home,
        pods={"north": {"main.visits": table}},
        analysts=("ana", "ben"),
        granted=(),
        further=("board",),
        preset="open",
    )
    try:
        made.build()
        officer(made, "access")
        yield made
    finally:
        made.close()


def officer(stage: Stage, service: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "podsql", "policy", "officer", "ben", "--role", "approver",
         "--key", "ben", "--federation", str(stage.membership(service))],
        check=True,
        capture_output=True,
    )  # fmt: skip


def rows(con, sql: str) -> list[dict[str, object]]:
    return con.execute(sql).fetch_arrow_table().to_pylist()


def refused(con, sql: str) -> podsql.Error:
    with pytest.raises(podsql.Error) as caught:
        con.execute(sql).fetchall()
    return caught.value


def test_each_service_has_its_row_and_a_right_is_what_all_of_them_give(stage):
    with (
        connect(stage.membership("ana"), timeout=20) as ana,
        connect(stage.membership("ben"), timeout=20) as ben,
    ):
        # He is an officer at one of the two.
        first, second = rows(ben, GRANT)
        assert (first["service"], first["state"], first["note"]) == ("access", "in force", None)
        assert (second["service"], second["state"], second["id"]) == ("board", "DENIED", None)
        assert "officer" in second["note"]
        assert refused(ben, f"{GRANT[:-1]}, service = 'board')").code == "DENIED"
        assert refused(ana, COUNT).code == "UNKNOWN_TABLE"

        officer(stage, "board")
        (alone,) = rows(ben, f"{GRANT[:-1]}, service = 'board')")
        assert (alone["service"], alone["state"]) == ("board", "in force")
        assert ana.execute(COUNT).fetchall() == [(50,)]
        assert [row["service"] for row in rows(ana, "SHOW GRANTS FOR ME")] == ["access", "board"]

        # One of them is enough to take it away; the other has no such grant.
        done = rows(ben, f"REVOKE GRANT '{alone['id']}'")
        assert [(row["service"], row["state"]) for row in done] == [
            ("access", "ARGUMENT"),
            ("board", "revoked"),
        ]
        assert refused(ana, COUNT).code in ("DENIED", "UNKNOWN_TABLE")
        assert "no grant" in refused(ben, "REVOKE GRANT 'none'").message

        # Numbers of requests are each service's own.
        asked = rows(ana, "REQUEST ACCESS ON visits")
        assert [(row["service"], row["state"]) for row in asked] == [
            ("access", "open"),
            ("board", "open"),
        ]
        assert "service" in refused(ana, "WITHDRAW REQUEST 1").hint
        (gone,) = rows(ana, "WITHDRAW REQUEST 1 WITH (service = 'board')")
        assert (gone["service"], gone["state"]) == ("board", "withdrawn")
        states = {row["service"]: row["state"] for row in rows(ana, "SHOW REQUESTS")}
        assert states == {"access": "open", "board": "withdrawn"}

        # A service that is away: the others' rows, and for what is shown, an error.
        (process,) = (one for one in stage._processes if str(stage.membership("board")) in one.args)
        process.terminate()
        process.wait(20)
        found = rows(ben, f"{GRANT[:-1]}, timeout = 3)")
        assert [row["service"] for row in found] == ["access", "board"]
        assert found[0]["state"] == "in force"
        assert found[1]["state"] in ("TIMEOUT", "POD_LOST")
        assert "may have been carried out" in found[1]["note"]
        fault = refused(ana, "SHOW REQUESTS WITH (timeout = 3)")
        assert fault.code in ("TIMEOUT", "POD_LOST")
        assert "service" in fault.hint
        assert len(rows(ana, "SHOW REQUESTS WITH (service = 'access')")) == 1
