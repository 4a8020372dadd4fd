"""A file is there whole or not at all, and never replaces another unless told."""

import json
import os

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from podsql.analyst.writing import write_file
from podsql.errors import Error, error

TABLE = pa.table({"a": pa.array([1, None], pa.int64()), "b": ["x", 'y"\n']})


def read(path, form):
    match form:
        case "parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        case "csv":
            options = pyarrow.csv.ParseOptions(newlines_in_values=True)
            return pyarrow.csv.read_csv(path, parse_options=options).to_pylist()
        case "json":
            return json.loads(path.read_text())
        case _:
            with pa.ipc.open_stream(path.read_bytes()) as reader:
                return reader.read_all().to_pylist()


@pytest.mark.parametrize("form", ["parquet", "csv", "json", "arrow"])
def test_a_written_file_reads_back_equal(form, tmp_path):
    path = tmp_path / "out"
    assert write_file(TABLE.to_reader(max_chunksize=1), form, path, overwrite=False) == 2
    assert read(path, form) == TABLE.to_pylist()
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_that_is_there_stays_unless_told(tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    with pytest.raises(Error) as caught:
        write_file(TABLE.to_reader(), "csv", path, overwrite=False)
    assert caught.value.code == "FILE_EXISTS"
    assert path.read_text() == "mine"
    assert write_file(TABLE.to_reader(), "json", path, overwrite=True) == 2
    assert read(path, "json") == TABLE.to_pylist()


def batches_that_end(path, how):
    yield TABLE.to_batches()[0]
    how(path)
    yield TABLE.to_batches()[0]


def fail(path):
    raise error("POD_LOST", "gone", pod="north")


def test_a_result_that_ends_in_an_error_leaves_nothing(tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    reader = pa.RecordBatchReader.from_batches(TABLE.schema, batches_that_end(path, fail))
    with pytest.raises(Error) as caught:
        write_file(reader, "parquet", path, overwrite=True)
    assert caught.value.code == "POD_LOST"
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "out"
    between = batches_that_end(path, lambda path: path.write_text("theirs"))
    reader = pa.RecordBatchReader.from_batches(TABLE.schema, between)
    with pytest.raises(Error) as caught:
        write_file(reader, "arrow", path, overwrite=False)
    assert caught.value.code == "FILE_EXISTS"
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["", "nowhere/out", "x" * 300, "a\0b"])
def test_a_path_that_cannot_be_written_is_named(name, tmp_path):
    with pytest.raises(Error) as caught:
        write_file(TABLE.to_reader(), "csv", tmp_path / name, overwrite=True)
    assert caught.value.code == "FILE"


def test_a_type_that_the_format_cannot_hold_is_refused(tmp_path):
    nested = pa.table({"l": [[1, 2]]})
    with pytest.raises(Error) as caught:
        write_file(nested.to_reader(), "csv", tmp_path / "out", overwrite=False)
    assert caught.value.code == "NOT_SUPPORTED"
    assert os.listdir(tmp_path) == []


def test_json_is_json_whatever_the_numbers(tmp_path):
    odd = pa.table({"f": [float("nan"), float("-inf"), 1.5], "l": [[float("inf")], None, [0.0]]})
    write_file(odd.to_reader(), "json", tmp_path / "out", overwrite=False)

    def never(name):
        raise AssertionError(name)

    found = json.loads((tmp_path / "out").read_text(), parse_constant=never)
    assert [row["f"] for row in found] == ["nan", "-inf", 1.5]
    assert found[0]["l"] == ["inf"]
