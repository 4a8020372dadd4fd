"""The rows of one answer that nobody has fetched yet: as Python tuples, or as Arrow batches.

Rule to keep: no row is given twice and none is lost, in whatever order tuples and Arrow are asked
for; and rows that end early, end in an error, never as if there were no more.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, Self
from uuid import UUID

import pyarrow as pa

from podsql.errors import Error, error
from podsql.planner.fragment import Field
from podsql.planner.wire_types import decimal_parts

AT_ONCE: Final = 4096
"""So many rows are Python values at a time, however large a batch is."""

_PYTHON: Final[dict[str, Callable[[Any], Any]]] = {"HUGEINT": int, "UHUGEINT": int, "UUID": UUID}
"""Types whose wire form is not the Python value that DuckDB gives for them."""


class Flow:
    """Batches on their way from the pods. Let go of before the end, it stops them there."""

    def __init__(
        self,
        batches: Iterator[pa.RecordBatch],
        cancel: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._batches = batches
        self._cancel = cancel
        self._is_cancelled = is_cancelled
        self._ended = False
        self._fault: Error | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._fault is not None:
            raise self._fault
        if self._ended:
            raise StopIteration
        if self._is_cancelled():
            fault = self._cancelled()
            self._stop(fault)
            raise fault
        try:
            return next(self._batches)
        except StopIteration:
            self._ended = True
            raise
        except Error as met:
            # What a cancel meets on its way says nothing to anybody.
            known = self._cancelled() if self._is_cancelled() else met
            self._stop(known)
            raise known from None
        except BaseException:
            self._stop(self._cancelled())
            raise

    def close(self) -> None:
        """No more rows: whoever still reads gets CLOSED."""
        if not self._ended:
            self._stop(error("CLOSED", "the cursor was closed, or runs another statement"))

    def _cancelled(self) -> Error:
        return error("CANCELLED", "the statement was cancelled")

    def _stop(self, fault: Error) -> None:
        self._ended, self._fault = True, fault
        if isinstance(self._batches, Generator):
            self._batches.close()
        self._cancel()

    def __del__(self) -> None:
        # The relay may be gone by then, and with it whoever could be told.
        with contextlib.suppress(Error):
            self.close()


class Remaining:
    """What is left of an answer's rows. Not for two threads at once."""

    def __init__(self, schema: pa.Schema, types: Sequence[str], flow: Flow) -> None:
        self.schema = schema
        self.number = 0
        """Rows given as tuples so far."""
        self._types = types
        self._flow = flow
        self._batch: pa.RecordBatch | None = None
        """Its first rows are in ``_rows``."""
        self._rows: list[tuple[Any, ...]] = []
        self._at = 0

    def row(self) -> tuple[Any, ...] | None:
        """The next row, None at the end."""
        if self._at >= len(self._rows) and not self._refill():
            return None
        self._at += 1
        self.number += 1
        return self._rows[self._at - 1]

    def rows(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""
        found: list[tuple[Any, ...]] = []
        while self._at < len(self._rows) or self._refill():
            found.extend(self._rows[self._at :])
            self._at = len(self._rows)
        self.number += len(found)
        return found

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows that are left, batch by batch; nothing is held back.

        No generator: one that has raised would tell its next reader that the rows are all there.
        """
        batch, at = self._batch, self._at
        self._batch, self._rows, self._at = None, [], 0
        rest = [] if batch is None or at >= batch.num_rows else [batch.slice(at)]
        return chain(rest, self._flow)

    def reader(self) -> pa.RecordBatchReader:
        """The same as a reader."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def table(self) -> pa.Table:
        """The rows that are left, as one table; of the answer's schema also if there are none."""
        return pa.Table.from_batches(list(self.batches()), schema=self.schema)

    def frame(self) -> pa.RecordBatchReader:
        """The same under names that are unique, as a frame needs them."""
        names = unique_names(self.schema.names)
        if names == self.schema.names:
            return self.reader()
        fields = zip(names, self.schema, strict=True)
        schema = pa.schema([field.with_name(name) for name, field in fields])
        under = map(partial(_under, schema), self.batches())
        return pa.RecordBatchReader.from_batches(schema, under)

    def close(self) -> None:
        """Give the rest up."""
        self._flow.close()

    def _refill(self) -> bool:
        """Make the next rows Python values; False at the end."""
        left = None if self._batch is None else self._batch.slice(self._at)
        while left is None or left.num_rows == 0:
            left = next(self._flow, None)
            if left is None:
                self._batch, self._rows, self._at = None, [], 0
                return False
        self._batch = left
        self._rows = python_rows(left.slice(0, AT_ONCE), self._types)
        self._at = 0
        return True


def python_rows(batch: pa.RecordBatch, types: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of a batch as Python values; DATA for one that Python's types cannot hold."""
    try:
        columns = [column.to_pylist() for column in batch.columns]
    except (OverflowError, ValueError):
        raise error(
            "DATA", "a value is outside the range of Python's types", hint="fetch Arrow"
        ) from None
    for at, kind in enumerate(types):
        convert = _PYTHON.get(kind)
        if convert is not None:
            columns[at] = [None if value is None else convert(value) for value in columns[at]]
    if not columns:
        return [()] * batch.num_rows
    return list(zip(*columns, strict=True))


def described(fields: Sequence[Field]) -> list[tuple[Any, ...]]:
    """PEP 249's seven items of each column; ``type_code`` is the DuckDB name of the type."""
    found: list[tuple[Any, ...]] = []
    for field in fields:
        precision, scale = decimal_parts(field.type) or (None, None)
        found.append((field.name, field.type, None, None, precision, scale, None))
    return found


def unique_names(names: Sequence[str]) -> list[str]:
    """A name that was there before gets ``_1``, ``_2``, …: frames hold no name twice."""
    taken: set[str] = set()
    given = set(names)
    found = []
    for name in names:
        own, number = name, 0
        while own in taken or (number and own in given):
            number += 1
            own = f"{name}_{number}"
        taken.add(own)
        found.append(own)
    return found


def _under(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
