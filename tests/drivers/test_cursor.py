"""The cursor to the letter of PEP 249, and what drivers' public bug reports ask for."""

import asyncio
import datetime as dt
import gc
import os
import signal
import threading
import time
import warnings

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import podsql
from podsql.messages import Cancel, decode

SQL = "SELECT sex, count(*) AS n, avg(age) AS a FROM visits GROUP BY sex ORDER BY sex"
ANSWER = [("f", 3, 143 / 3), ("m", 2, 40.0)]
LONG = "SELECT row_id, x FROM long"
SLOW = "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.n * b.n + c.n = 7"


def code_of(call, *arguments, **named):
    with pytest.raises(podsql.Error) as caught:
        call(*arguments, **named)
    return caught.value.code


@pytest.fixture
def asked(con, monkeypatch):
    """Signed requests, as they are about to leave."""
    endpoint = con.federation.endpoint
    sent = []
    call = endpoint.call

    def noting(to, body, **named):
        if callable(body):
            sent.append(to.name)
        call(to, body, **named)

    monkeypatch.setattr(endpoint, "call", noting)
    return sent


@pytest.fixture
def cancelled(con, monkeypatch):
    """Request ids that pods are told to stop, as they leave the analyst."""
    endpoint = con.federation.endpoint
    told = []
    notify = endpoint.notify

    def noting(to, body):
        if isinstance(message := decode(body), Cancel):
            told.append(message.request_id)
        notify(to, body)

    monkeypatch.setattr(endpoint, "notify", noting)
    return told


# -- description -------------------------------------------------------------------------------


def test_description_is_there_before_the_first_row_and_after_the_last(con):
    cursor = con.cursor()
    assert cursor.description is None
    cursor.execute(SQL)
    names = [column[0] for column in cursor.description]
    assert names == ["sex", "n", "a"]
    assert all(len(column) == 7 for column in cursor.description)
    assert cursor.fetchall() == ANSWER
    assert [column[0] for column in cursor.description] == names
    cursor.execute("CREATE TEMP TABLE kept AS SELECT 1 AS one")
    assert cursor.description is None


def test_type_codes_equal_the_type_objects_of_their_kind(con):
    sql = """SELECT 'a'::VARCHAR, 1::HUGEINT, 1.5::DECIMAL(6,2), 1e0, true, DATE '2020-01-02',
                    TIMESTAMPTZ '2020-01-02 03:04:05+00', 'a'::BLOB, uuid '00000000-0000-0000-0000-000000000001'"""
    columns = con.execute(sql).description
    kinds = ["STRING", *["NUMBER"] * 4, "DATETIME", "DATETIME", "BINARY", "STRING"]
    objects = ("STRING", "NUMBER", "DATETIME", "BINARY", "ROWID")
    for column, kind in zip(columns, kinds, strict=True):
        assert [name for name in objects if column[1] == getattr(podsql, name)] == [kind]
    assert columns[2][4:6] == (6, 2)


def test_describe_tells_the_columns_and_asks_no_pod_for_rows(con):
    cursor = con.cursor()
    said = cursor.describe("SELECT sex, avg(age) AS a FROM visits WHERE age > ? GROUP BY sex", (3,))
    assert [column[:2] for column in said] == [("sex", "VARCHAR"), ("a", "DOUBLE")]
    assert (cursor.receipt, cursor.description, cursor.statement_id) == ((), None, None)
    assert code_of(cursor.describe, "SHOW PODS") == "STATEMENT"
    assert code_of(cursor.describe, "SELECT nothing FROM visits") == "UNKNOWN_COLUMN"


# -- parameters --------------------------------------------------------------------------------


def test_named_parameters_take_a_mapping(con):
    sql = "SELECT count(*) FROM visits WHERE sex = :sex AND age > $age AND age::INT > :age"
    assert con.execute(sql, {"sex": "f", "age": 40}).fetchall() == [(2,)]
    text = "SELECT ':sex $age' /* :sex */ FROM visits WHERE sex = $sex"
    assert con.execute(text, {"sex": "m"}).fetchall() == [(":sex $age",)] * 2
    con.execute("CREATE TABLE scratch.own (list INTEGER[])")
    con.execute("INSERT INTO scratch.own VALUES ([1, 2, 3])")
    own = con.execute(
        "SELECT list[1:2], list[:n], {n:$n} FROM (SELECT list, 1 AS n FROM own)", {"n": 4}
    )
    assert own.fetchall() == [([1, 2], [1], {"n": 4})]
    assert code_of(con.execute, sql, {"sex": "f"}) == "PARAMETERS"
    assert code_of(con.execute, sql, {"sex": "f", "age": 1, "more": 2}) == "PARAMETERS"
    assert code_of(con.execute, "SELECT ?", "a") == "PARAMETERS"


def test_a_percent_sign_is_no_placeholder(con):
    sql = "SELECT count(*) FROM visits WHERE sex LIKE 'f%' AND '%s' = ? AND age % 2 = 0"
    assert con.execute(sql, ("%s",)).fetchall() == [(2,)]


def test_constructors_make_values_that_can_be_bound(con):
    ticks = time.mktime((2002, 12, 25, 13, 45, 30, 0, 0, 0))
    given = (
        podsql.DateFromTicks(ticks),
        podsql.TimeFromTicks(ticks),
        podsql.TimestampFromTicks(ticks),
        podsql.Binary(b"\x00'\\x41\xff"),
    )
    found = con.execute("SELECT ?, ?, ?, ? FROM visits LIMIT 1", given).fetchone()
    assert found == given
    assert given[:3] == (
        dt.date(2002, 12, 25),
        dt.time(13, 45, 30),
        dt.datetime(2002, 12, 25, 13, 45, 30),
    )


# -- rows --------------------------------------------------------------------------------------


def test_no_rows_are_an_empty_table_with_the_whole_schema(con):
    sql = "SELECT visit_id, sex, seen FROM visits WHERE age > 999"
    full = con.execute(sql.replace("999", "0")).fetch_arrow_table().schema
    assert con.execute(sql).fetchall() == []
    assert con.execute(sql).fetch_arrow_table().schema == full
    assert list(con.execute(sql).df().columns) == full.names
    assert con.execute(sql).pl().schema == pl.from_arrow(full.empty_table()).schema


def test_no_row_is_lost_between_tuples_and_arrow(con):
    cursor = con.execute(f"{LONG} ORDER BY row_id")
    first = [cursor.fetchone(), *cursor.fetchmany(size=2)]
    assert cursor.rownumber == 3
    rest = cursor.fetch_arrow_table()
    assert [row[0] for row in first] == [0, 1, 2]
    assert rest["row_id"].to_pylist() == list(range(3, 120_000))
    assert cursor.fetchall() == []


def test_two_columns_of_one_name_stay_two(con):
    sql = "SELECT age, age, age AS age_1 FROM visits WHERE visit_id = 1"
    cursor = con.execute(sql)
    assert [column[0] for column in cursor.description] == ["age", "age", "age_1"]
    assert cursor.fetchall() == [(34, 34, 34)]
    assert con.execute(sql).arrow().column_names == ["age", "age", "age_1"]
    unique = ["age", "age_2", "age_1"]
    assert list(con.execute(sql).df().columns) == unique
    assert con.execute(sql).pl().columns == unique
    assert pl.DataFrame(con.execute(sql)).columns == unique


def test_any_library_that_takes_arrow_takes_the_cursor(con):
    sql = "SELECT visit_id, age FROM visits ORDER BY visit_id"
    table = pa.table(con.execute(sql))
    assert table.to_pydict() == {"visit_id": [1, 2, 3, 4, 5], "age": [34, 51, 47, 29, 62]}
    assert pl.DataFrame(con.execute(sql)).equals(con.execute(sql).pl())
    assert pd.DataFrame.from_arrow(con.execute(sql)).equals(con.execute(sql).df())


def test_rows_stream_past_in_batches_and_the_reader_ends_with_its_cursor(con, cancelled):
    cursor = con.execute(LONG)
    assert cursor.rowcount == -1
    reader = cursor.fetch_record_batch()
    first = reader.read_next_batch()
    assert 0 < first.num_rows < 120_000
    cursor.close()
    assert cancelled
    with pytest.raises(podsql.InterfaceError, match="CLOSED"):
        reader.read_all()


@pytest.mark.parametrize("let_go", ["close", "next statement", "garbage"])
def test_rows_that_nobody_will_fetch_are_stopped_at_the_pods(con, cancelled, let_go):
    cursor = con.execute(LONG)
    if let_go == "close":
        cursor.close()
    elif let_go == "next statement":
        assert cursor.execute(SQL).fetchall() == ANSWER
    else:
        del cursor
        gc.collect()
    assert len(cancelled) == 1
    assert con.execute(SQL).fetchall() == ANSWER
    assert len(cancelled) == 1, "an answer that has come is not cancelled"


# -- ending ------------------------------------------------------------------------------------


def test_a_statement_has_its_id_before_it_is_waited_for_and_is_cancelled_by_another_thread(con):
    cursor = con.cursor()
    ended = []

    def ask():
        ended.append(code_of(cursor.execute, SLOW, timeout=120))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: cursor.plan is not None)
    assert len(cursor.query_id) == 32
    assert bytes.fromhex(cursor.query_id) == cursor.statement_id
    cursor.cancel()
    thread.join(60)
    assert ended == ["CANCELLED"]
    assert cursor.execute(SQL).fetchall() == ANSWER


@pytest.mark.parametrize("form", ["tuples", "arrow"])
def test_rows_that_a_cancel_cuts_short_never_look_like_all_of_them(con, form):
    cursor = con.execute(LONG)
    read = cursor.fetch_record_batch().read_all if form == "arrow" else cursor.fetchall
    assert form == "arrow" or cursor.fetchone() == (0, 0)
    cursor.cancel()
    for _ in range(2):
        assert code_of(read) == "CANCELLED"
    assert con.execute(SQL).fetchall() == ANSWER


def test_a_cancel_before_the_first_statement_is_not_lost(con):
    cursor = con.cursor()
    cursor.cancel()
    assert code_of(cursor.execute, SLOW) == "CANCELLED"
    assert cursor.execute(SQL).fetchall() == ANSWER
    cursor.cancel()
    assert cursor.execute(SQL).fetchall() == ANSWER, "what has ended is not cancelled again"


def test_a_deadline_ends_a_statement_wherever_it_is(con, federation):
    assert code_of(con.execute, SLOW, timeout=1) == "TIMEOUT"
    with federation.connect(timeout=1) as hasty:
        assert code_of(hasty.execute, SLOW) == "TIMEOUT"
    for never in (0, -1, float("nan"), float("inf")):
        assert code_of(con.execute, SQL, timeout=never) == "ARGUMENT"


@pytest.fixture
def interrupts():
    """SIGINT raises, also in a test run that was started in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_statement_and_leaves_the_connection(con, asked, cancelled):
    cursor = con.cursor()

    def press():
        wait_for(lambda: asked)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        cursor.execute(SLOW, timeout=120)
    presser.join()
    assert cancelled
    assert con.execute(SQL).fetchall() == ANSWER


def wait_for(told):
    deadline = time.monotonic() + 60
    while not told():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_cursor_promises_nothing_that_it_has_not(con):
    """Tools guess what a driver can do by its attributes."""
    cursor = con.cursor()
    for absent in ("poll", "callproc", "nextset", "scroll", "execute_async"):
        assert not hasattr(cursor, absent)


# -- connections -------------------------------------------------------------------------------


def test_there_are_no_transactions_and_no_noise_about_it(con):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        con.commit()
        con.rollback()
        con.autocommit = True
    assert con.autocommit
    assert code_of(setattr, con, "autocommit", False) == "NOT_SUPPORTED"


def test_a_running_event_loop_is_no_hindrance(con):
    async def cell():
        return con.execute(SQL).fetchall()

    assert asyncio.run(cell()) == ANSWER


def test_no_error_and_no_repr_shows_a_passphrase(member_file, passphrase):
    wrong = "canary-wrong-91"
    with pytest.raises(podsql.Error) as caught:
        podsql.connect(member_file, passphrase=wrong)
    assert wrong not in f"{caught.value}{caught.value!r}"
    with podsql.connect(member_file, passphrase=passphrase) as con:
        cursor = con.execute(SQL)
        assert cursor.fetchall() == ANSWER
        with pytest.raises(podsql.Error) as caught:
            con.execute("SELECT nothing FROM visits")
        assert passphrase not in f"{con!r}{cursor!r}{caught.value}"


def test_what_is_named_wins_over_the_environment(member_file, passphrase, tmp_path, monkeypatch):
    monkeypatch.setenv("PODSQL_FEDERATION", str(tmp_path / "placeholder.toml"))
    monkeypatch.setenv("PODSQL_PASSPHRASE", "placeholder")
    assert code_of(podsql.connect) == "CONFIG"
    with podsql.connect(member_file, passphrase=passphrase) as con:
        assert con.execute(SQL).fetchall() == ANSWER
