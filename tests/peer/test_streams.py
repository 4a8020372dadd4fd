"""What a sender keeps of a stream, and the small state machines beside it."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import Error, error
from podsql.relay import records
from podsql.relay.calls import Served, Verdict
from podsql.relay.records import Record
from podsql.relay.streams import LAST_WINDOW, Receiving, StreamSource


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk looks like to one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_chunks_come_back_as_they_went_in_from_memory_and_from_the_spool(tmp_path):
    source = StreamSource(b"s" * 16, folder=tmp_path, memory=1000)
    chunks = [os.urandom(300) for _ in range(10)]
    for index, chunk in enumerate(chunks):
        source.append(chunk, index == 9)
    assert source.chunk(10) is None
    assert [source.chunk(index) for index in range(10)] == [
        (chunk, index == 9) for index, chunk in enumerate(chunks)
    ]
    assert source.bytes == 3000
    source.close()
    assert source.chunk(0) is None


def open_files_in(folder: str) -> list[os.stat_result]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(folder):
                found.append(os.fstat(int(fd)))
        except OSError:
            continue
    return found


def test_the_spool_is_private_has_no_name_and_is_gone_when_closed(tmp_path):
    source = StreamSource(b"s" * 16, folder=tmp_path, memory=0)
    source.append(b"x" * 100, False)
    (spool,) = open_files_in(str(tmp_path))
    assert stat.S_IMODE(spool.st_mode) == 0o600
    assert spool.st_nlink == 0
    assert not list(tmp_path.iterdir())
    source.close()
    assert not open_files_in(str(tmp_path))


def test_a_full_disk_fails_the_stream_with_its_code(tmp_path):
    source = StreamSource(b"s" * 16, folder=tmp_path, memory=0)
    source.append(b"x" * 1000, False)
    with no_file_larger_than(1500), pytest.raises(Error) as full:
        source.append(b"x" * 1000, False)
    assert full.value.code == "DISK_FULL"
    assert source.fault is full.value
    source.close()


def test_nothing_is_appended_to_an_ended_stream():
    source = StreamSource(b"s" * 16)
    source.append(b"x", True)
    with pytest.raises(Error):
        source.append(b"y", False)
    broken = StreamSource(b"t" * 16)
    broken.append(b"x", False)
    broken.fail(error("POD_FAILED", "the engine died"))
    assert broken.chunk(0) == (b"x", False)
    with pytest.raises(Error):
        broken.append(b"y", True)


@given(st.lists(st.integers(0, 80), max_size=300))
def test_a_reader_takes_every_index_once_in_order_within_its_credit(indexes):
    reading = Receiving(0.0)
    reading.open(0.0)
    taken = []
    for step, index in enumerate(indexes):
        if reading.take(index, float(step)):
            assert index < reading.until
            taken.append(index)
            if reading.consumed(1):
                reading.grant()
        assert reading.until <= reading.next + LAST_WINDOW
    assert taken == list(range(len(taken)))


def test_the_window_grows_while_the_reader_drains_and_halves_at_a_gap():
    reading = Receiving(0.0)
    reading.open(0.0)
    widths = []
    for index in range(1000):
        assert reading.take(index, 0.0)
        if reading.consumed(1):
            widths.append(reading.grant() - reading.next)
    assert max(widths) == LAST_WINDOW
    assert reading.gap(1005, 0.0)
    assert not reading.gap(1006, 0.1)
    assert reading.take(1000, 0.2)
    for index in range(1001, 1100):
        if reading.take(index, 0.2) and reading.consumed(1):
            widths.append(reading.grant() - reading.next)
    assert widths[-1] < LAST_WINDOW


@given(
    kind=st.sampled_from(list(Record)),
    ident=st.integers(0, 2**64 - 1),
    body=st.binary(max_size=9000),
)
def test_a_record_is_read_as_it_was_written_and_its_size_says_little(kind, ident, body):
    plain = records.encode(kind, ident, body)
    assert records.decode(plain) == (kind, ident, body)
    assert len(plain) in (256, 1024) or len(plain) % 4096 == 0


@given(st.sampled_from(list(Record)), st.binary(max_size=200), st.integers(0, 212))
def test_a_record_that_was_cut_is_refused(kind, body, keep):
    cut = records.encode(kind, 1, body)[: min(keep, 12 + len(body))]
    with pytest.raises(Error) as refused:
        records.decode(cut)
    assert refused.value.code == "BAD_MESSAGE"


def test_a_record_over_the_limit_is_refused():
    assert len(records.encode(1, 1, bytes(records.RECORD_LIMIT))) == records.PLAIN_LIMIT
    with pytest.raises(Error):
        records.encode(1, 1, bytes(records.RECORD_LIMIT + 1))


def test_an_id_that_fell_out_of_the_cache_is_refused_not_served_again():
    served = Served(entries=4)
    for ident in range(10):
        assert served.admit(ident) is Verdict.SERVE
        assert served.answer(ident, Record.REPLY, b"x")
    assert served.admit(9) is Verdict.ANSWERED
    assert served.reply(9) == (Record.REPLY, b"x")
    assert served.admit(0) is Verdict.FORGOTTEN
    assert served.admit(1 << 32) is Verdict.SERVE


def test_a_flood_of_open_calls_is_told_to_wait():
    served = Served(entries=4)
    assert [served.admit(ident) for ident in range(5)] == [Verdict.SERVE] * 4 + [Verdict.FULL]
    assert served.admit(0) is Verdict.WORKING
    assert not served.answer(99, Record.REPLY, b"x")


def test_large_replies_do_not_pile_up():
    served = Served(limit=1000)
    for ident in range(20):
        served.admit(ident)
        served.answer(ident, Record.REPLY, bytes(400))
    assert served.admit(19) is Verdict.ANSWERED
    assert served.admit(17) is Verdict.FORGOTTEN
