"""Local tables on the pod's disk: whole or not there, one name one owner, and the custodian's acts."""

import json
import os
import subprocess
import sys
import threading
from contextlib import closing

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from served import CAROL, Served
from typer.testing import CliRunner

from podsql.cli.app import app
from podsql.errors import Error
from podsql.membership import toml_text
from podsql.pod.config import parse_pod_config
from podsql.pod.control import SOCKET, Control
from podsql.pod.daemon import _command
from podsql.pod.datasets import Place, local_tables_of
from podsql.pod.local_tables import DAY_MS, LocalTables, TableCard
from podsql.policy.audit import lines
from podsql.policy.document import preset_bytes
from podsql.policy.service.reviews import reviews

BATCH = pa.record_batch({"id": [1, 2, 3], "prediction": [0.1, 0.2, None]})


def card(table="scores", who="ana", statement="01", created=0):
    return TableCard(
        table=table,
        analyst=who,
        fingerprint=f"ps1{who}",
        statement="PREDICT …",
        statement_id=statement,
        statement_hash="",
        model="",
        purpose="",
        project="",
        tables=("main.visits",),
        columns=("id BIGINT", "prediction DOUBLE"),
        data_version="",
        policy_hash="",
        created=created,
    )


def opened(folder, tables=3):
    made = LocalTables(folder, most_rows=10, most_tables=tables, days=1)
    made.begin()
    return made


def write(store, card, *, overwrite=False, batch=BATCH):
    draft = store.draft(card)
    try:
        draft.add(batch)
        whole = draft.finish(batch.schema)
        store.keep(draft, whole, overwrite=overwrite)
        return whole
    finally:
        draft.close()


def code(store, table, who="ana", statement="02", *, overwrite=False):
    try:
        store.require_room(table, f"ps1{who}", statement, overwrite=overwrite)
    except Error as fault:
        return fault.code
    return ""


def test_a_name_has_one_owner_and_a_person_so_many_tables(tmp_path):
    store = opened(tmp_path / "local")
    write(store, card("a"))
    assert code(store, "a") == code(store, "a", "bob", overwrite=True) == "FILE_EXISTS"
    assert code(store, "a", overwrite=True) == ""
    # The same statement, asked again as another pod has moved on, finds its own.
    assert code(store, "a", statement="01") == ""
    assert code(store, "a", "bob", statement="01") == "FILE_EXISTS"
    for name in ("b", "c"):
        write(store, card(name))
    assert code(store, "d") == "QUOTA"
    assert code(store, "a", overwrite=True) == code(store, "d", "bob") == ""
    # What lies there without a card is nobody's to write over.
    (tmp_path / "local" / "d.parquet").write_bytes(b"the custodian's own")
    assert code(store, "d", "bob", overwrite=True) == "FILE_EXISTS"
    for text in ("the custodian's own", "{}"):
        (tmp_path / "local" / "e.json").write_text(text)
        assert code(store, "e", "bob", overwrite=True) == "FILE_EXISTS"
    (tmp_path / "local" / "e.json").unlink()
    assert code(store, "e", "bob") == ""
    store.begin()
    assert (tmp_path / "local" / "d.parquet").read_bytes() == b"the custodian's own"
    assert [one.table for one in store.all()] == ["a", "b", "c"]
    assert store.expired(DAY_MS - 1) == []
    for one in store.expired(DAY_MS):
        store.drop(one)
    assert [path.name for path in (tmp_path / "local").iterdir()] == ["d.parquet"]


def test_two_statements_of_one_name_do_not_both_write(tmp_path):
    store = opened(tmp_path / "local")
    first, second = store.draft(card(statement="01")), store.draft(card(who="bob", statement="02"))
    for draft in (first, second):
        draft.add(BATCH)
    store.keep(first, first.finish(BATCH.schema), overwrite=False)
    with pytest.raises(Error) as caught:
        store.keep(second, second.finish(BATCH.schema), overwrite=True)
    assert caught.value.code == "FILE_EXISTS"
    second.close()
    assert store.one("scores").analyst == "ana"
    assert len(list((tmp_path / "local").iterdir())) == 2


@pytest.fixture
def full_disk():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("rows", [10, 100_000])
def test_a_full_disk_leaves_nothing_behind(tmp_path, full_disk, rows):
    """Full while rows are written, and at the end of a small file."""
    store = opened(tmp_path / "local")
    whole = write(store, card())
    full_disk(300)
    batch = pa.record_batch({"id": [os.urandom(8).hex() for _ in range(rows)]})
    with pytest.raises(Error) as caught:
        write(store, card(), overwrite=True, batch=batch)
    assert caught.value.code == "DISK_FULL"
    assert store.all() == [whole]
    assert pq.read_table(tmp_path / "local" / "scores.parquet").to_batches() == [BATCH]
    assert len(list((tmp_path / "local").iterdir())) == 2


KILLED = """
import os, signal
from pathlib import Path
import msgspec, pyarrow as pa
from podsql.pod.local_tables import LocalTables, TableCard
store = LocalTables(Path({folder!r}), most_rows=10, most_tables=1, days=1)
store.begin()
draft = store.draft(msgspec.json.decode({card!r}, type=TableCard))
draft.add(pa.record_batch({{"id": [1, 2, 3]}}))
draft._file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pod_that_is_killed_while_it_writes_leaves_no_part_of_a_table(tmp_path):
    folder = tmp_path / "local"
    script = KILLED.format(folder=str(folder), card=msgspec.json.encode(card()))
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
    assert done.returncode == -9
    (left,) = folder.iterdir()
    assert left.name.startswith(".scores.")
    assert left.stat().st_size > 0
    store = opened(folder)
    assert list(folder.iterdir()) == []
    # Killed between the two files: the card alone is nothing.
    write(store, card())
    (folder / "scores.parquet").unlink()
    (folder / "others.json").write_text("the custodian's own")
    opened(folder)
    assert [path.name for path in folder.iterdir()] == ["others.json"]
    # A table without a card, or with the one of a table that was to take its place, has its own.
    whole = write(store, card(statement="05"))
    (folder / "scores.json").unlink()
    assert opened(folder).all() == [whole]
    (folder / "scores.json").write_text((folder / "scores.json").read_text().replace("05", "04"))
    assert opened(folder).all() == [whole]


@pytest.mark.parametrize(
    ("path", "table", "fine"),
    [
        ("scores", "visits.parquet", True),
        ("scores", "data/*.parquet", True),
        ("data/scores", "data/*.parquet", False),
        ("data", "data/visits.parquet", False),
        (".", "data/visits.parquet", False),
        ("state/scores", "visits.parquet", False),
        ("visits/scores", "visits", False),
    ],
)
def test_results_lie_where_no_table_is_read_from(tmp_path, path, table, fine):
    text = f'[tables."main.visits"]\npath = "{table}"\n[local_tables]\npath = "{path}"\n'
    config = parse_pod_config(text.encode())
    place = Place.of(config, tmp_path / "pod.toml")
    if fine:
        assert local_tables_of(config, place) is not None
        return
    with pytest.raises(Error) as caught:
        local_tables_of(config, place)
    assert caught.value.code == "CONFIG"


X = [float(i % 7) for i in range(40)] + [9.0] * 60
UNITS = [*range(40), *([40, 41, 42] * 20)]
"""Forty patients with a row each, and three with twenty."""
TABLE = {"north": pa.table({"patient": UNITS, "x": X, "y": [2 * x + 1 for x in X]})}
ASK = "PREDICT USING MODEL line FROM (SELECT patient, x FROM visits WHERE {}) INTO LOCAL TABLE {}"
LINE = "TRAIN MODEL line USING linear_regression PREDICT y FROM (SELECT x, y FROM visits)"


class Small(Served):
    """A pod that keeps small tables."""

    def _local_section(self, pod):
        return replace(super()._local_section(pod), rows=50)


@pytest.fixture
def federation(tmp_path_factory):
    """A pod that asks a policy service, under the standard rules."""
    folder = tmp_path_factory.mktemp("local")
    policy = folder / "policy.toml"
    text = preset_bytes("standard").decode().replace('"train"]', '"train", "predict"]')
    policy.write_text(text + "\n[limits]\nqueries_per_day = 1000\n")
    made = Small(pods=TABLE, policy=policy, local_tables=folder)
    made.start()
    with closing(made):
        grant = made.allow(release="sdc_local")
        with made.connect() as con:
            con.execute(LINE)
            made.model = con.bench.shelf.get("line")
        with made.orders() as orders:
            orders.revoke(CAROL, grant)
        made.folder = folder / "north"
        yield made


def predict(federation, con, *given):
    con.bench.shelf.put(federation.model)
    return [row[2:4] for row in con.execute(ASK.format(*given)).fetchall()]


def test_a_policy_service_is_asked_and_the_custodian_removes_what_was_written(federation, tmp_path):
    the_number_waits_for_a_review(federation)
    too_many_rows_are_told_only_where_their_number_is(federation)
    the_custodian_lists_and_removes(federation, tmp_path)


def the_number_waits_for_a_review(federation):
    with federation.connect() as con:
        with pytest.raises(Error) as caught:
            predict(federation, con, "x < 6", "seen")
        assert caught.value.code in ("UNKNOWN_TABLE", "DENIED")
        grant = federation.allow(review=True, release="sdc_local")
        for _ in range(2):
            with pytest.raises(Error) as caught:
                predict(federation, con, "x < 6", "seen")
            assert caught.value.code == "IN_REVIEW"
        # It is written once, and its number waits.
        assert len(federation.events("local")) == 1
        (one,) = reviews(federation.tenants["access"]._store.database, state="waiting")
        assert (one.rows, one.columns) == (1, 1)
        assert pq.read_metadata(federation.folder / "seen.parquet").num_rows == 35
        with federation.orders() as orders:
            assert orders.release(CAROL, one.id)
        assert predict(federation, con, "x < 6", "seen") == [(35, None)]
        assert len(federation.events("local")) == 1
        with federation.orders() as orders:
            orders.revoke(CAROL, grant)


def too_many_rows_are_told_only_where_their_number_is(federation):
    grant = federation.allow(release="sdc_local")
    with federation.connect() as con:
        with pytest.raises(Error) as caught:
            predict(federation, con, "true", "many")
        assert caught.value.code == "RESULT_TOO_BIG"
        # Sixty rows of three people: withheld, so that they are too many is withheld too.
        assert not list(federation.folder.glob("*many*"))
        assert predict(federation, con, "x > 8", "many") == [(None, "WITHHELD")]
        # So is whether the name is taken by now: a table of no rows is there.
        with pytest.raises(Error) as caught:
            predict(federation, con, "x < 1", "many")
        assert caught.value.code == "FILE_EXISTS"
    left = pq.read_table(federation.folder / "many.parquet")
    assert (left.num_rows, left.column_names) == (0, ["patient", "x", "prediction"])
    assert federation.events("local")[-1].entry.reason == (
        "local table many; too many rows: none is written"
    )
    with federation.orders() as orders:
        orders.revoke(CAROL, grant)


def the_custodian_lists_and_removes(federation, tmp_path):
    federation.allow(release="sdc_local")
    pod = federation.pods["north"]
    config = tmp_path / "pod.toml"
    sections = {
        "pod": {"state": str(pod.place.state)},
        'tables."main.visits"': {"path": "unused"},
        "local_tables": {"path": str(federation.folder)},
    }
    config.write_text(toml_text(sections))
    control = Control(
        pod.place / SOCKET,
        watch=pod.endpoint.watch_fd,
        unwatch=pod.endpoint.unwatch_fd,
        run=lambda command, answer: _command(pod, command, answer),
    )
    pod.endpoint.post(control.open)

    def run(*words):
        done = CliRunner().invoke(app, ["pod", "tables", *words, "--config", str(config)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    with federation.connect() as con:
        assert predict(federation, con, "x < 6", "kept_one") == [(35, None)]
        assert predict(federation, con, "x < 1", "kept_two") == [(None, "WITHHELD")]
    found = {one["table"]: one for one in json.loads(run("list", "--json"))["tables"]}
    assert (found["kept_one"]["analyst"], found["kept_one"]["rows"]) == ("ana", 35)
    assert found["kept_two"]["rows"] == 6
    assert "kept_one" in run("list")
    run("remove", "kept_one")
    assert "kept_one" not in run("list")
    with pytest.raises(Error, match="no local table"):
        run("remove", "kept_one")
    with pytest.raises(Error, match="no local table"):
        run("remove", "../policy")
    closed = threading.Event()
    pod.endpoint.post(lambda: (control.close(), closed.set()))
    assert closed.wait(30)
    pod.stop()
    run("remove", "kept_two")
    assert not list(federation.folder.glob("kept_*"))
    dropped = [
        one.entry for one in lines(pod.place / "audit.jsonl") if one.entry.event == "dropped"
    ]
    assert [(one.reason, one.rows) for one in dropped] == [
        ("local table kept_one; by the custodian", 35),
        ("local table kept_two; by the custodian", 6),
    ]
