"""Results in files: Parquet, CSV, JSON and Arrow, batch by batch.

Rule to keep: a file that somebody named is there whole, under its name, or not at all.
"""

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

import pyarrow as pa

from podsql.errors import Error, error
from podsql.planner.statements import FileFormat


def write_batches(reader: pa.RecordBatchReader, form: FileFormat, sink: IO[bytes]) -> int:
    """Write every row; their number. NOT_SUPPORTED if the format cannot hold a column's type.

    JSON is one array of objects (decimals, times and what is not finite as text), Arrow an IPC stream.
    """
    try:
        with _writer(form, sink, reader.schema) as writer:
            return _written(reader, writer)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise error(
            "NOT_SUPPORTED",
            f"a column's type cannot be written as {form}",
            hint="cast it to a plain type, or write arrow",
        ) from None


def write_file(
    reader: pa.RecordBatchReader, form: FileFormat, path: Path, *, overwrite: bool
) -> int:
    """Write a whole new file at ``path``; the number of rows. Errors of ``require_free``."""
    with _whole_file(path, overwrite=overwrite) as sink:
        return write_batches(reader, form, sink)


def require_free(path: Path, *, overwrite: bool) -> None:
    """FILE_EXISTS if there is a file and it may not be replaced, FILE if none can be made there."""
    try:
        if "\0" in str(path) or path.is_dir() or not path.parent.is_dir():
            raise error("FILE", f"{str(path)!r} is a directory, or is in none that exists")
        taken = path.exists()
    except OSError as fault:
        raise _fault(path, fault) from None
    if taken and not overwrite:
        raise _exists(path)


@contextmanager
def _whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file beside ``path`` that takes its name when all is written, and is gone otherwise."""
    require_free(path, overwrite=overwrite)
    draft = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with draft.open("xb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        if overwrite:
            draft.replace(path)
        else:
            # A link fails where the name was taken meanwhile; a rename would replace that file.
            os.link(draft, path)
    except OSError as fault:
        raise _fault(path, fault) from None
    finally:
        with suppress(OSError):
            draft.unlink()


def _fault(path: Path, fault: OSError) -> Error:
    if isinstance(fault, FileExistsError):
        return _exists(path)
    if fault.errno == errno.ENOSPC:
        return error("DISK_FULL", f"no space left for {str(path)!r}")
    return error("FILE", f"{str(path)!r} cannot be written: {(fault.strerror or '').lower()}")


def _exists(path: Path) -> Error:
    return error(
        "FILE_EXISTS", f"there is a file {str(path)!r} already", hint="COPY … TO '…' (OVERWRITE)"
    )


def _written(reader: pa.RecordBatchReader, writer: Any) -> int:
    rows = 0
    for batch in reader:
        writer.write_batch(batch)
        rows += batch.num_rows
    return rows


def _writer(form: FileFormat, sink: IO[bytes], schema: pa.Schema) -> Any:
    if form == "csv":
        import pyarrow.csv

        return pyarrow.csv.CSVWriter(sink, schema)
    if form == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.ParquetWriter(sink, schema)
    if form == "arrow":
        import pyarrow.ipc

        return pyarrow.ipc.new_stream(sink, schema)
    return _JsonWriter(sink)


class _JsonWriter:
    """One array of objects."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._between = b""

    def __enter__(self) -> "_JsonWriter":
        self._sink.write(b"[")
        return self

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            text = json.dumps(_json(row), default=_plain, allow_nan=False)
            self._sink.write(self._between + text.encode())
            self._between = b", "

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._sink.write(b"]\n")


def _json(value: Any) -> Any:
    """With NaN and the infinities as text: JSON has no numbers for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
