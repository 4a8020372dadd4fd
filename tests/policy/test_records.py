"""The audit log and the book of request ids, through kills, edits and clocks."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.errors import Error
from podsql.policy.audit import Audit, Entry, lines, verify
from podsql.policy.requests import KEEP_MS, RequestBook

NOW = 1_770_000_000_000


def write(path, count=3):
    audit = Audit(path, now=NOW)
    for number in range(count):
        audit.append(
            Entry(
                time=NOW + number,
                event="query",
                decision="allow",
                analyst="ana",
                statement="SELECT 'x\n'",
                rows=number,
            )
        )
    audit.close()
    return audit


def test_the_log_is_a_chain_that_verifies(tmp_path):
    audit = write(tmp_path / "a.log")
    assert verify(tmp_path / "a.log", head=audit.head) == 3
    assert [line.entry.rows for line in lines(tmp_path / "a.log")] == [0, 1, 2]
    assert oct((tmp_path / "a.log").stat().st_mode & 0o777) == "0o600"


def test_the_log_goes_on_after_a_restart(tmp_path):
    write(tmp_path / "a.log")
    audit = write(tmp_path / "a.log", 2)
    assert verify(tmp_path / "a.log", head=audit.head) == 5


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory, place, flip):
    path = tmp_path_factory.mktemp("audit") / "a.log"
    head = write(path).head
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    with pytest.raises(Error):
        verify(path, head=head)


def test_a_removed_inserted_or_reordered_line_is_noticed(tmp_path):
    path = tmp_path / "a.log"
    head = write(path).head
    one, two, three = path.read_bytes().splitlines(keepends=True)
    for changed in (
        [one, three],
        [two, three],
        [two, one, three],
        [one, two, two, three],
        [one, two],
    ):
        path.write_bytes(b"".join(changed))
        with pytest.raises(Error):
            verify(path, head=head)


def test_a_line_torn_by_a_kill_is_cut_off_and_noted(tmp_path):
    path = tmp_path / "a.log"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number":3,"prev')
    audit = Audit(path, now=NOW)
    audit.close()
    assert verify(path) == 4
    assert [line.entry.event for line in lines(path)][-1] == "recovered"


def test_a_torn_first_line_leaves_an_empty_log(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b'{"num')
    Audit(path, now=NOW).close()
    assert verify(path) == 1


@pytest.fixture
def book(tmp_path):
    book = RequestBook(tmp_path / "requests.db")
    yield book
    book.close()


def test_a_request_id_runs_once_and_attaches_afterwards(book):
    first = book.begin(b"r" * 16, b"q" * 32, NOW)
    assert (first.new, first.executed) == (True, 1)
    again = book.begin(b"r" * 16, b"q" * 32, NOW)
    assert (again.new, again.state, again.executed) == (False, "running", 1)
    book.finish(b"r" * 16, "done", b"hash")
    book.finish(b"r" * 16, "failed", b"other")
    done = book.begin(b"r" * 16, b"q" * 32, NOW)
    assert (done.new, done.state, done.result_hash, done.executed) == (False, "done", b"hash", 1)


def test_attack_48_an_id_with_another_query_is_a_conflict_also_after_a_restart(tmp_path):
    path = tmp_path / "requests.db"
    book = RequestBook(path)
    book.begin(b"r" * 16, b"q" * 32, NOW)
    book.finish(b"r" * 16, "done", b"hash")
    book.close()
    book = RequestBook(path)
    with pytest.raises(Error) as caught:
        book.begin(b"r" * 16, b"z" * 32, NOW)
    assert caught.value.code == "CONFLICT"
    assert book.begin(b"r" * 16, b"q" * 32, NOW).state == "done"
    book.close()


def test_attack_48_a_killed_process_never_runs_a_request_twice(tmp_path):
    path = tmp_path / "requests.db"
    code = (
        "import sys, os; from pathlib import Path; from podsql.policy.requests import RequestBook\n"
        "book = RequestBook(Path(sys.argv[1]))\n"
        "assert book.begin(b'r' * 16, b'q' * 32, int(sys.argv[2])).new\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), str(NOW)], check=False)
    assert done.returncode == -signal.SIGKILL
    book = RequestBook(path)
    known = book.begin(b"r" * 16, b"q" * 32, NOW)
    assert (known.new, known.state) == (False, "interrupted")
    book.close()


def test_attack_44_a_clock_that_went_back_refuses_everything_also_after_a_restart(tmp_path):
    path = tmp_path / "requests.db"
    book = RequestBook(path)
    book.begin(b"a" * 16, b"q" * 32, NOW)
    book.close()
    book = RequestBook(path)
    with pytest.raises(Error) as caught:
        book.begin(b"b" * 16, b"q" * 32, NOW - 24 * 3600 * 1000)
    assert caught.value.code == "CLOCK"
    assert book.begin(b"c" * 16, b"q" * 32, NOW - 30_000).new
    book.close()


def test_old_requests_are_forgotten_but_running_ones_are_not(book):
    book.begin(b"a" * 16, b"q" * 32, NOW)
    book.begin(b"b" * 16, b"q" * 32, NOW)
    book.finish(b"a" * 16, "done", b"")
    assert book.forget(NOW + KEEP_MS) == 0
    assert book.forget(NOW + KEEP_MS + 1) == 1
    assert book.begin(b"b" * 16, b"q" * 32, NOW).new is False
    assert os.path.exists(book_path(book))


def book_path(book):
    return book._base.execute("PRAGMA database_list").fetchone()[2]
