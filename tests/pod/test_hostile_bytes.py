"""Bytes of a hostile peer end in BAD_MESSAGE, whatever they are."""

from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podsql.errors import Error
from podsql.messages import RequestHead, decode, decode_as

INVALID_UTF8 = msgspec.msgpack.encode(["offer?/1", "p", "x"]).replace(b"x", b"\xff")


def test_invalid_text_inside_a_message_is_a_bad_message():
    with pytest.raises(Error) as caught:
        decode(INVALID_UTF8)
    assert caught.value.code == "BAD_MESSAGE"


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_bad_message(data):
    codes = {_code(read, data) for read in (decode, partial(decode_as, RequestHead))}
    assert codes <= {"", "BAD_MESSAGE"}


def _code(read, data):
    try:
        read(data)
    except Error as fault:
        return fault.code
    return ""
