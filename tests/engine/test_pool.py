"""What both pools promise: the answer of DuckDB, one end for every job, bounded pieces."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from podsql.engine.job import Chunk, Failed, Finished, Started
from podsql.engine.limits import PIECE_BYTES, Limits
from podsql.engine.pool import WorkerPool
from podsql.engine.snapshot import TableSource, build_snapshot
from podsql.errors import OperationalError

ENDLESS = "SELECT count(*) FROM range(900000) a, range(900000) b WHERE (a.range * b.range) % 7 = 1"
PLENTY = "SELECT range AS a, range * 2 AS b, range + 7 AS c FROM range({rows})"


def test_an_aggregate_equals_the_one_duckdb_computes(engine, visits: pa.Table) -> None:
    con = duckdb.connect()
    con.register("visits", visits)
    sql = "SELECT age % 7 AS g, count(*) AS n, sum(age) AS s FROM {} GROUP BY g ORDER BY g"
    expected = con.sql(sql.format("visits")).to_arrow_table()
    assert engine.run(sql.format("clinic.visits")).table().to_pylist() == expected.to_pylist()


def test_an_in_place_table_answers_with_its_declared_type(engine, visits: pa.Table) -> None:
    table = engine.run("SELECT age FROM clinic.live ORDER BY visit_id").table()
    assert table.schema.field("age").type == pa.int64()
    assert table["age"].to_pylist() == visits["age"].to_pylist()


def test_events_are_started_then_chunks_then_one_end(engine) -> None:
    events = engine.run("SELECT 1 AS a").events
    assert [type(e) for e in events] == [Started, Chunk, Finished]
    assert pa.ipc.read_schema(pa.py_buffer(events[0].schema)).names == ["a"]
    assert events[-1] == Finished(1, 0)


def test_an_empty_result_still_has_its_schema(engine) -> None:
    table = engine.run("SELECT age FROM clinic.visits WHERE false").table()
    assert (table.num_rows, table.schema.names) == (0, ["age"])


def test_the_guard_drops_and_counts_rows_that_are_not_true(engine) -> None:
    sql = (
        "SELECT range AS a, CASE range % 3 WHEN 0 THEN true WHEN 1 THEN false END AS _ok"
        " FROM range(10)"
    )
    running = engine.run(sql, guard=True)
    assert running.table().to_pydict() == {"a": [0, 3, 6, 9]}
    assert running.withheld == 6


def test_a_guarded_statement_without_guard_column_fails(engine) -> None:
    assert engine.run("SELECT 1 AS a, 2 AS b", guard=True).code == "POD_FAILED"


def test_inputs_of_earlier_stages_are_relations_of_the_statement_only(engine) -> None:
    keys = pa.table({"k": pa.array(range(60_000), pa.int64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, keys.schema) as writer:
        writer.write_table(keys)
    stream = sink.getvalue().to_pybytes()
    sql = "SELECT count(*) AS n FROM clinic.visits SEMI JOIN stage_1 ON visit_id = k"
    assert engine.run(sql, inputs=(("stage_1", stream),)).table()["n"].to_pylist() == [1000]
    assert engine.run(sql).code == "POD_FAILED"


def test_a_large_result_arrives_in_pieces_of_a_mebibyte_and_complete(engine) -> None:
    running = engine.run(PLENTY.format(rows=400_000))
    sizes = [len(event.data) for event in running.events if isinstance(event, Chunk)]
    assert max(sizes) <= PIECE_BYTES
    assert len(sizes) > 5
    table = running.table()
    assert table["b"].to_pylist() == [2 * a for a in range(400_000)]


@pytest.mark.parametrize("limit", [{"max_rows": 999}, {"max_bytes": 4000}])
def test_a_result_over_its_limit_fails(engine, limit: dict[str, int]) -> None:
    assert engine.run("SELECT visit_id FROM clinic.visits", **limit).code == "RESULT_TOO_BIG"


def test_a_cancelled_statement_ends_and_its_place_is_free(engine) -> None:
    running = engine.begin(ENDLESS)
    engine.loop.later(0.2, running.handle.cancel)
    engine.loop.until(lambda: running.over)
    assert running.code == "CANCELLED"
    assert engine.run("SELECT 1 AS a").code == "FINISHED"


def test_a_cancelled_statement_in_the_queue_never_runs(engine) -> None:
    first = [engine.begin(ENDLESS, owner=str(i)) for i in range(2)]
    waiting = engine.begin("SELECT 1", owner="late")
    waiting.handle.cancel()
    assert waiting.events == [Failed("CANCELLED", waiting.events[-1].message)]
    for running in first:
        running.handle.cancel()
    engine.loop.until(lambda: all(running.over for running in first))


def test_a_statement_ends_at_its_deadline(engine) -> None:
    assert engine.run(ENDLESS, seconds=0.3).code == "TIMEOUT"


def test_cancel_after_the_end_changes_nothing(engine) -> None:
    running = engine.run("SELECT 1 AS a")
    before = list(running.events)
    running.handle.cancel()
    engine.run("SELECT 1 AS a")
    assert running.events == before


def test_a_paused_job_delivers_nothing_and_everything_after_resume(engine) -> None:
    chunks = []

    def hear(event: object) -> None:
        if isinstance(event, Chunk):
            chunks.append(event)
            if len(chunks) == 1:
                running.handle.pause()

    running = engine.begin(PLENTY.format(rows=400_000), on_event=hear)
    engine.loop.until(lambda: chunks)
    other = engine.run("SELECT count(*) AS n FROM range(3000000)", owner="other")
    assert other.code == "FINISHED"
    assert len(chunks) == 1
    running.handle.resume()
    engine.loop.until(lambda: running.over)
    assert running.table().num_rows == 400_000


def test_a_paused_job_still_ends_at_its_deadline(engine) -> None:
    running = engine.begin(PLENTY.format(rows=2_000_000), seconds=0.5)
    running.handle.pause()
    engine.loop.until(lambda: running.over)
    assert running.code == "TIMEOUT"


def test_owners_take_turns_however_many_statements_one_queues(engine) -> None:
    ended: list[str] = []
    greedy = [
        engine.begin(
            "SELECT sum(range) FROM range(30000000)",
            owner="greedy",
            on_event=lambda e: ended.append("greedy") if isinstance(e, Finished) else None,
        )
        for _ in range(20)
    ]
    modest = engine.begin(
        "SELECT 1",
        owner="modest",
        on_event=lambda e: ended.append("modest") if isinstance(e, Finished) else None,
    )
    engine.loop.until(lambda: modest.over and all(g.over for g in greedy))
    assert len(ended) == 21
    assert ended.index("modest") < 15


def test_a_full_queue_answers_busy(snapshot, request: pytest.FixtureRequest) -> None:
    helpers = request.config.pluginmanager.get_plugin(str(Path(__file__).parent / "conftest.py"))
    for opened in helpers.open_engine(WorkerPool, snapshot, limits=Limits(queue=1), size=1):
        running = [opened.begin(ENDLESS), opened.begin("SELECT 1")]
        with pytest.raises(OperationalError) as caught:
            opened.begin("SELECT 1")
        assert caught.value.code == "BUSY"
        for one in running:
            one.handle.cancel()
        opened.loop.until(lambda running=running: all(one.over for one in running))


def test_an_engine_killed_from_outside_fails_its_job_and_is_replaced(
    processes, pids: Callable[[], list[int]]
) -> None:
    running = processes.begin(ENDLESS)
    processes.loop.later(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids()])
    processes.loop.until(lambda: running.over)
    assert running.code == "POD_FAILED"
    heard: list[bool] = []
    processes.loop.later(0.2, lambda: heard.append(True))
    processes.loop.until(lambda: heard)
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


def test_the_fork_parent_killed_is_started_again(processes) -> None:
    running = processes.begin(ENDLESS)
    process = processes.pool._parent._process
    processes.loop.later(0.3, process.kill)
    processes.loop.until(lambda: running.over)
    assert running.code == "POD_FAILED"
    restarted: list[bool] = []
    processes.loop.later(1.6, lambda: restarted.append(True))
    processes.loop.until(lambda: restarted)
    assert processes.run("SELECT 1 AS a").code == "FINISHED"


def test_a_refresh_serves_the_new_snapshot_while_an_old_statement_ends(
    processes, tmp_path: Path, visits: pa.Table
) -> None:
    source = tmp_path / "t.csv"
    source.write_text("x\n1\n2\n")
    new = build_snapshot([TableSource(name="main.t", path=str(source))], [], tmp_path / "state")
    old = processes.begin(PLENTY.format(rows=400_000), owner="old")
    old.handle.pause()
    processes.pool.warm(new.path, new.datasets)
    fresh = type(processes)(processes.pool, processes.loop, new)
    assert fresh.run("SELECT sum(x) AS s FROM t").table()["s"].to_pylist() == [3]
    old.handle.resume()
    processes.loop.until(lambda: old.over)
    assert old.table().num_rows == 400_000
    processes.pool.warm(processes.snapshot.path, processes.snapshot.datasets)


def test_a_large_result_is_bounded_in_memory_at_both_ends(
    processes, pids: Callable[[], list[int]]
) -> None:
    received = 0
    peaks = []

    def hear(event: object) -> None:
        nonlocal received
        if isinstance(event, Chunk):
            received += len(event.data)
            if received % (64 << 20) < PIECE_BYTES:
                peaks.extend(resident_mb(pid) for pid in [os.getpid(), *pids()])
            running.events.clear()

    before = resident_mb(os.getpid())
    running = processes.begin(PLENTY.format(rows=11_000_000), on_event=hear)
    processes.loop.until(lambda: running.over)
    assert running.code == "FINISHED"
    assert received > 250 << 20
    assert max(peaks) < before + 150


def resident_mb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 >> 20
