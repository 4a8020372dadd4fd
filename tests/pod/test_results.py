"""A result is the same bytes however often it is asked for, inline or as a stream."""

import hashlib

import pytest

from podsql.errors import Error
from podsql.message import Signed
from podsql.messages import Accepted, Result
from podsql.pod.results import INLINE_BYTES, Output
from podsql.relay.frames import CHUNK_BYTES
from podsql.relay.sealing import ChunkOpener

EVIDENCE = Signed(kind="result", body=b"", signer=bytes(32), signature=bytes(64))


def output(folder) -> tuple[Output, list[str]]:
    said: list[str] = []
    made = Output(request_id=bytes(16), spool=folder, on_stream=lambda: said.append("stream"))
    return made, said


def test_a_small_result_travels_in_its_reply(tmp_path):
    made, said = output(tmp_path)
    made.add(b"abc")
    assert made.reply(attached=False) is None
    made.finish()
    made.evidence = EVIDENCE
    first, again = made.reply(attached=False), made.reply(attached=True)
    assert isinstance(first, Result)
    assert first == again
    assert (first.arrow, made.chunks, said) == (b"abc", 0, [])
    assert made.sha256 == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize(
    "size", [INLINE_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]
)
def test_a_large_result_is_sealed_once_and_opens_to_the_same_bytes(tmp_path, size):
    made, said = output(tmp_path)
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    for start in range(0, size, 300_000):
        made.add(data[start : start + 300_000])
    reply = made.reply(attached=False)
    assert isinstance(reply, Accepted)
    assert said == ["stream"]
    made.finish()
    opener = ChunkOpener(reply.ticket.stream, reply.ticket.key)
    assert made.source is not None
    parts = []
    for index in range(made.chunks):
        chunk = made.source.chunk(index)
        assert chunk is not None
        parts.append(opener.open(index, *chunk))
    assert b"".join(parts) == data
    assert made.sha256 == hashlib.sha256(data).digest()
    assert made.total == size
    made.close()


def test_what_is_taken_leaves_by_another_way(tmp_path):
    made, _ = output(tmp_path)
    made.add(b"abc")
    assert made.take() == b"abc"
    made.finish()
    made.evidence = EVIDENCE
    reply = made.reply(attached=False)
    assert isinstance(reply, Result)
    assert (reply.arrow, made.total, made.sha256) == (b"", 0, hashlib.sha256().digest())


def test_what_is_on_its_way_as_a_stream_is_not_taken(tmp_path):
    made, _ = output(tmp_path)
    made.add(bytes(INLINE_BYTES + 1))
    with pytest.raises(Error) as caught:
        made.take()
    assert caught.value.code == "RESULT_TOO_BIG"
    made.close()
