"""Arrow from a hostile pod: refused before it costs memory, and never a crash."""

import datetime
import decimal
import struct
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podsql.errors import IntegrityError
from podsql.relay.arrow_guard import MESSAGE_LIMIT, GuardedReader, read_guarded

DAY = datetime.datetime(2024, 2, 29, 12, 30)
EVERY_TYPE = pa.table(
    {
        **{f"u{bits}": pa.array([1, None, 3], f"uint{bits}") for bits in (8, 16, 32, 64)},
        **{f"i{bits}": pa.array([1, None, 3], f"int{bits}") for bits in (8, 16, 32, 64)},
        **{f"f{bits}": pa.array([1.0, None, 3.0], f"float{bits}") for bits in (16, 32, 64)},
        "flag": pa.array([True, None, False]),
        "text": pa.array(["a", None, "ccc"]),
        "long_text": pa.array(["a", None, "ccc"], pa.large_string()),
        "bytes": pa.array([b"a", None, b"ccc"]),
        "long_bytes": pa.array([b"a", None, b"ccc"], pa.large_binary()),
        "d128": pa.array([decimal.Decimal("1.5"), None, None], pa.decimal128(38, 2)),
        "d256": pa.array([decimal.Decimal("1.5"), None, None], pa.decimal256(60, 2)),
        "date32": pa.array([DAY, None, None], pa.date32()),
        "date64": pa.array([DAY, None, None], pa.date64()),
        "time32": pa.array([DAY.time(), None, None], pa.time32("ms")),
        "time64": pa.array([DAY.time(), None, None], pa.time64("us")),
        "stamp": pa.array([DAY, None, None], pa.timestamp("us")),
        "zoned": pa.array([DAY, None, None], pa.timestamp("ns", "Europe/Zurich")),
        "span": pa.array([DAY - DAY, None, None], pa.duration("us")),
        "interval": pa.array([(1, 2, 3), None, None], pa.month_day_nano_interval()),
        "list": pa.array([[1, None], None, []]),
        "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "structs": pa.array([[{"q": 1}], None, []]),
        "lists": pa.array([{"q": [1, 2]}, None, {"q": None}]),
        "required": pa.array([1, 2, 3]),
    }
)


def required(table: pa.Table, name: str) -> pa.Table:
    """The table with one column that promises to hold no NULL."""
    at = table.schema.get_field_index(name)
    schema = table.schema.set(at, table.schema.field(at).with_nullable(False))
    return pa.table(table.columns, schema=schema)


EVERY_TYPE = required(EVERY_TYPE, "required")


def stream(*batches: pa.RecordBatch | pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as out:
        for batch in batches:
            out.write(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def one(values: object, kind: pa.DataType | None = None) -> pa.RecordBatch:
    return pa.record_batch([pa.array(values, kind)], names=["c"])


def read(data: bytes, schema: pa.Schema | None = None, rows: int = 10_000) -> pa.Table:
    return read_guarded(data, schema=schema, max_rows=rows, max_bytes=1 << 24)


def refused(data: bytes, schema: pa.Schema | None = None, rows: int = 10_000) -> str:
    with pytest.raises(IntegrityError) as failure:
        read(data, schema, rows)
    assert failure.value.code == "BAD_RESULT"
    return failure.value.message


def patched(data: bytes, old: bytes, new: bytes, which: int = -1) -> bytes:
    """The stream with one occurrence of ``old`` forged; the last one unless told."""
    places = []
    at = data.find(old)
    while at >= 0:
        places.append(at)
        at = data.find(old, at + 1)
    at = places[which]
    return data[:at] + new + data[at + len(old) :]


def test_every_listed_type_comes_back_equal() -> None:
    data = stream(EVERY_TYPE.slice(0, 2), EVERY_TYPE.slice(2))
    assert read(data, EVERY_TYPE.schema).equals(EVERY_TYPE)
    assert read(stream(EVERY_TYPE.slice(0, 0))).num_rows == 0


def test_a_table_without_batches_still_has_its_schema() -> None:
    table = read(stream(EVERY_TYPE.slice(0, 0)))
    assert table.schema.equals(EVERY_TYPE.schema)


DATA = stream(EVERY_TYPE.slice(0, 2), EVERY_TYPE.slice(2))


@settings(max_examples=30)
@given(st.lists(st.integers(0, len(DATA)), max_size=12))
def test_pieces_cut_anywhere_give_the_same_batches(cuts: list[int]) -> None:
    reader = GuardedReader(schema=None, max_rows=3, max_bytes=len(DATA))
    edges = [0, *sorted(cuts), len(DATA)]
    batches = [batch for start, end in pairwise(edges) for batch in reader.feed(DATA[start:end])]
    reader.finish()
    assert pa.Table.from_batches(batches, reader.schema).equals(EVERY_TYPE)
    assert reader.rows == 3


def test_a_batch_is_given_as_soon_as_its_last_byte_is_there() -> None:
    reader = GuardedReader(schema=None, max_rows=9, max_bytes=1 << 20)
    data = stream(one([1, 2]), one([3]))
    seen = [[batch.num_rows for batch in reader.feed(data[at : at + 1])] for at in range(len(data))]
    assert [rows for rows in seen if rows] == [[2], [1]]


def test_schema_metadata_is_dropped() -> None:
    batch = one([1]).replace_schema_metadata({b"pandas": b"{}"})
    assert read(stream(batch), batch.schema).schema.metadata is None


def test_a_stream_that_stops_anywhere_is_refused() -> None:
    data = stream(one([1, 2, 3]))
    for size in range(len(data)):
        refused(data[:size])
    assert "after the end" in refused(data + b"\x00")


def test_a_reader_that_refused_stays_refused() -> None:
    reader = GuardedReader(schema=None, max_rows=1, max_bytes=1 << 20)
    with pytest.raises(IntegrityError):
        reader.feed(stream(one([1, 2, 3])))
    with pytest.raises(IntegrityError, match="earlier"):
        reader.feed(stream(one([1])))
    with pytest.raises(IntegrityError, match="stops"):
        reader.finish()


def test_attack_73_more_than_promised_or_another_schema_is_refused() -> None:
    data = stream(one([1, 2]), one([3, 4]))
    assert read(data, rows=4).num_rows == 4
    assert "rows" in refused(data, rows=3)
    with pytest.raises(IntegrityError, match="bytes"):
        read_guarded(data, schema=None, max_rows=9, max_bytes=len(data) - 1)
    for other in (
        pa.schema([("d", pa.int64())]),
        pa.schema([("c", pa.int32())]),
        pa.schema([("c", pa.int64()), ("d", pa.int64())]),
        pa.schema([pa.field("c", pa.int64(), nullable=False)]),
    ):
        assert "schema" in refused(data, other)


# -- attack 71 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [False, True], ids=["32-bit", "64-bit"])
@pytest.mark.parametrize("forged", [2**31 - 1, 100_000, -1, -(2**31)])
def test_attack_71_forged_offsets_are_refused_and_crash_nothing(wide: bool, forged: int) -> None:
    values = ["abc", "defg", "h"]
    form = "<4q" if wide else "<4i"
    data = stream(one(values, pa.large_string() if wide else pa.string()))
    offsets = struct.pack(form, 0, 3, 7, 8)
    assert data.count(offsets) == 1
    for place in (1, 2, 3):
        numbers = [0, 3, 7, 8]
        numbers[place] = forged
        message = refused(patched(data, offsets, struct.pack(form, *numbers)))
        assert "validate" in message


def test_attack_71_forged_list_offsets_are_refused() -> None:
    data = stream(one([[1, 2], [3]]))
    assert "validate" in refused(
        patched(data, struct.pack("<3i", 0, 2, 3), struct.pack("<3i", 0, 2, 9))
    )


def test_attack_71_text_that_is_not_utf8_is_refused() -> None:
    assert "validate" in refused(patched(stream(one(["abcd"])), b"abcd", b"ab\xff\xfe"))


SMALL = stream(pa.table({"t": ["abc", None, "d"], "n": [[1, 2], None, []], "x": [1.5, None, 2.0]}))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_attack_71_any_forged_bytes_are_refused_or_harmless(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, value in changes:
        data[at] = value
    try:
        table = read(bytes(data))
    except IntegrityError:
        return
    # Both walk every value that the offsets point to.
    assert len(stream(table)) > 0
    assert table.take(list(range(table.num_rows))[::-1]).num_rows == table.num_rows <= 10_000


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_attack_71_junk_metadata_is_refused(junk: bytes) -> None:
    junk += bytes(-len(junk) % 8)
    refused(b"\xff\xff\xff\xff" + struct.pack("<i", len(junk)) + junk)


# -- attack 72 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_attack_72_a_compression_bomb_is_refused_before_it_opens(codec: str) -> None:
    data = stream(one([0] * 1_000_000, pa.int64()), compression=codec)
    assert len(data) < 100_000
    assert "compressed" in refused(data, rows=10**7)


def hostile_columns() -> Iterator[tuple[str, pa.Array, str]]:
    yield "null rows for free", pa.nulls(10_000_000), "null"
    ends = pa.array([2**31 - 1], pa.int32())
    yield "run-end rows", pa.RunEndEncodedArray.from_arrays(ends, pa.array(["x"])), "run-end"
    yield "dictionary", pa.array(["x", "x"]).dictionary_encode(), "dictionary"
    yield "text view", pa.array(["x"], pa.string_view()), "text view"
    yield "binary view", pa.array([b"x"], pa.binary_view()), "binary view"
    yield "list view", pa.array([[1]], pa.list_view(pa.int64())), "list view"
    yield "large list", pa.array([[1]], pa.large_list(pa.int64())), "large list"
    yield "no-width rows", pa.array([b""] * 9, pa.binary(0)), "fixed-size binary"
    yield "no-width list", pa.array([[]] * 9, pa.list_(pa.int64(), 0)), "fixed-size list"
    yield "empty struct", pa.array([{}] * 9, pa.struct([])), "struct without"
    union = pa.UnionArray.from_dense(
        pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]
    )
    yield "union", union, "union"
    yield "null in a list", pa.array([[None]], pa.list_(pa.null())), "null"
    deep = pa.list_(pa.list_(pa.list_(pa.int64())))
    yield "deep lists", pa.array([[[[1]]]], deep), "nesting"
    mapped = pa.map_(pa.string(), pa.list_(pa.struct([("a", pa.int64())])))
    yield "deep map", pa.array([[("k", [{"a": 1}])]], mapped), "nesting"
    yield "uuid", pa.array([b"x" * 16], pa.uuid()), "metadata"
    opaque = pa.opaque(pa.int64(), "name", "vendor")
    yield "extension", pa.ExtensionArray.from_storage(opaque, pa.array([1])), "metadata"


COLUMNS = {name: (column, word) for name, column, word in hostile_columns()}


@pytest.mark.parametrize("name", COLUMNS)
def test_attack_72_an_unlisted_type_is_refused_at_the_schema(name: str) -> None:
    column, word = COLUMNS[name]
    batch = pa.record_batch([column], names=["c"])
    data = stream(batch)
    assert word in refused(data, rows=2**40)
    # The schema alone is enough: no batch is waited for.
    (size,) = struct.unpack_from("<i", data, 4)
    reader = GuardedReader(schema=None, max_rows=2**40, max_bytes=2**40)
    with pytest.raises(IntegrityError, match=word):
        reader.feed(data[: 8 + size])


def test_attack_72_metadata_on_a_column_is_refused() -> None:
    field = pa.field("c", pa.int64(), metadata={"ARROW:extension:name": "x"})
    batch = pa.record_batch([pa.array([1])], schema=pa.schema([field]))
    assert "metadata" in refused(stream(batch))


def test_attack_72_no_columns_carry_no_rows() -> None:
    assert "no columns" in refused(stream(pa.record_batch([], schema=pa.schema([]))))


def test_attack_72_claimed_rows_that_cost_no_bytes_are_refused() -> None:
    rows, many = struct.pack("<q", 77), struct.pack("<q", 9_999)
    data = stream(one(list(range(100, 177)), pa.int64()))
    assert data.count(rows) == 2
    assert "length" in refused(patched(data, rows, many, 0)) or "length" in refused(
        patched(data, rows, many, 1)
    )
    assert "fit" in refused(patched(patched(data, rows, many, 0), rows, many))
    for kind in (pa.bool_(), pa.string(), pa.int8()):
        assert "fit" in refused(stream(one([None] * 77, kind)).replace(rows, many))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((0, 24), (0, 2**40)),
        ((0, 24), (-8, 24)),
        ((0, 24), (2**63 - 8, 24)),
        ((0, 24), (16, 24)),
        ((0, 24), (0, -1)),
        ((0, 24), (1, 23)),
        ((0, 24), (0, 8)),
    ],
    ids=["too long", "before", "wraps", "beyond", "negative", "unaligned", "too short"],
)
def test_attack_72_buffers_outside_the_body_are_refused(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    data = stream(one([1, 2, 3]))
    assert "fit" in refused(patched(data, struct.pack("<qq", *old), struct.pack("<qq", *new)))


def test_attack_72_two_columns_may_not_share_their_bytes() -> None:
    data = stream(pa.record_batch([pa.array([1, 2, 3]), pa.array([4, 5, 6])], names=["a", "b"]))
    pyarrow_writes = [struct.pack("<qq", start, 24) for start in (24, 32, 64)]
    second = next(pair for pair in pyarrow_writes if pair in data)
    assert "fit" in refused(patched(data, second, struct.pack("<qq", 0, 24)))


def test_a_required_column_holds_no_nulls() -> None:
    data = stream(required(pa.table({"c": [1, 2, 3]}), "c"))
    node = struct.pack("<qq", 3, 0)
    assert "nulls" in refused(patched(data, node, struct.pack("<qq", 3, 1)))
    data = stream(one([1, None, 3]))
    for count in (-1, 4):
        forged = patched(data, struct.pack("<qq", 3, 1), struct.pack("<qq", 3, count))
        assert "nulls" in refused(forged)
    assert "validate" in refused(patched(data, struct.pack("<qq", 3, 1), struct.pack("<qq", 3, 2)))


def test_a_message_over_the_limit_is_refused_by_its_claim_alone() -> None:
    data = stream(one(list(range(1000))))
    (size,) = struct.unpack_from("<i", data, 4)
    body = 8000
    metadata_end = data.index(b"\xff\xff\xff\xff", 8 + size)
    (batch_size,) = struct.unpack_from("<i", data, metadata_end + 4)
    head = data[: metadata_end + 8 + batch_size]
    for claim in (MESSAGE_LIMIT, 2**62, -8):
        reader = GuardedReader(schema=None, max_rows=9999, max_bytes=2**40)
        forged = patched(head, struct.pack("<q", body), struct.pack("<q", claim), 0)
        with pytest.raises(IntegrityError):
            reader.feed(forged)


def test_a_reader_holds_no_more_than_has_arrived() -> None:
    batch = one(list(range(1_000_000)))
    data = stream(batch)
    reader = GuardedReader(schema=None, max_rows=10**7, max_bytes=2**40)
    tracemalloc.start()
    assert list(reader.feed(data[:2000])) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ARROW1\x00\x00" + bytes(64),
        b"\xff\xff\xff\xff" + struct.pack("<i", -8),
        b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1),
        b"\xff\xff\xff\xff" + struct.pack("<i", 12) + bytes(12),
        b"\xff\xff\xff\xff" + bytes(4),
        struct.pack("<i", 64) + bytes(64),
    ],
    ids=["nothing", "a file", "negative", "huge", "unaligned", "end first", "old framing"],
)
def test_what_is_no_stream_is_refused(data: bytes) -> None:
    refused(data)


def test_messages_out_of_order_are_refused() -> None:
    data = stream(one([1]))
    (size,) = struct.unpack_from("<i", data, 4)
    schema, rest = data[: 8 + size], data[8 + size :]
    assert "order" in refused(schema + data)
    assert "order" in refused(rest)


@pytest.mark.parametrize("zone", ["../../etc/passwd\x1b", "x y", "z" * 65])
def test_a_time_zone_that_is_no_name_is_refused(zone: str) -> None:
    assert "column type" in refused(stream(one([DAY], pa.timestamp("us", zone))))


@pytest.mark.parametrize("kind", [pa.decimal128(5, -2), pa.decimal128(5, 6), pa.decimal32(5, 2)])
def test_a_decimal_of_odd_scale_or_width_is_refused(kind: pa.DataType) -> None:
    assert "column type" in refused(stream(one([None], kind)))


def test_names_are_short_text() -> None:
    assert "too long" in refused(stream(pa.record_batch([pa.array([1])], names=["n" * 1025])))
    data = stream(pa.record_batch([pa.array([1])], names=["name"]))
    assert "not text" in refused(patched(data, b"name", b"n\xff\xfee"))


def test_metadata_of_an_older_version_is_refused() -> None:
    assert "version" in refused(stream(one([1]), metadata_version=pa.ipc.MetadataVersion.V4))
