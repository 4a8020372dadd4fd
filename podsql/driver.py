"""DB-API 2.0 (PEP 249) driver: qmark parameters, Arrow first.

Transactions do not exist over a federation: ``commit`` and ``rollback`` do nothing. A connection
may be shared by threads, a cursor may not; ``cancel`` may be called from any thread.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, overload
from uuid import UUID

from podsql import errors
from podsql.analyst.answering import Answer
from podsql.analyst.bench import Bench
from podsql.analyst.commands import run
from podsql.analyst.explaining import ExplainForm, explain
from podsql.analyst.federation import Federation
from podsql.analyst.meeting import Meeting
from podsql.analyst.sharing import borrow, give_back
from podsql.analyst.statement import Outcome, Statement
from podsql.analyst.training.curve_picture import draw_curves
from podsql.analyst.training.curves import COLUMNS as CURVES
from podsql.analyst.training.picture import draw_evaluation
from podsql.analyst.training.predictions import with_predictions
from podsql.analyst.training.recorded import Line
from podsql.errors import error
from podsql.membership import Membership, load_membership
from podsql.planner.fragment import Field
from podsql.planner.plan import Plan
from podsql.planner.rights_orders import RightsOrder
from podsql.planner.statements import Explain, classify, no_plan

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

DEFAULT_TIMEOUT = 60.0


def connect(
    federation: "str | Path | Membership | None" = None,
    *,
    project: str = "",
    purpose: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    passphrase: str | None = None,
) -> "Connection":
    """Open a connection to a federation.

    ``federation`` is the path of a ``federation.toml`` (default: $PODSQL_FEDERATION, the working
    directory, the user's configuration). ``project`` and ``purpose`` stand in every request and in
    the custodians' audit; ``timeout`` is seconds per statement.
    Raises OperationalError (relay unreachable), IntegrityError (wrong keys, manifest, not admitted).
    """
    if not isinstance(federation, Membership):
        federation = load_membership(federation, passphrase=passphrase)
    return Connection(
        borrow(federation),
        project=project,
        purpose=purpose,
        timeout=timeout,
        models=federation.path.resolve().parent / "models",
    )


class Connection:
    """One analyst's connection and its temporary tables; ``threadsafety`` 2."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(
        self,
        federation: Federation,
        *,
        project: str = "",
        purpose: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        models: Path | None = None,
    ) -> None:
        self.project = project
        self.purpose = purpose
        self.timeout = timeout
        self._federation: Federation | None = federation
        self.bench = Bench(models)
        self.on_progress: Callable[[Line], None] | None = None
        """Called with each step of a TRAIN MODEL, in its thread."""
        self._lock = threading.Lock()

    @property
    def federation(self) -> Federation:
        """The open federation; InterfaceError CLOSED after ``close``."""
        if self._federation is None:
            raise error("CLOSED", "the connection is closed")
        return self._federation

    def cursor(self) -> "Cursor":
        """A new cursor."""
        _ = self.federation
        return Cursor(self)

    def execute(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        timeout: float | None = None,
        statement_id: bytes | None = None,
    ) -> "Cursor":
        """``cursor().execute(...)`` in one call."""
        return self.cursor().execute(sql, parameters, timeout=timeout, statement_id=statement_id)

    def attach(self, statement_id: bytes, sql: str, parameters: Sequence[object] = ()) -> "Cursor":
        """Re-attach to a statement that was sent before under ``statement_id``.

        Pods that still run it, or still hold its result, answer from there; none runs it twice.
        """
        return self.cursor().execute(sql, parameters, statement_id=statement_id)

    @overload
    def intersect(
        self,
        table: Any,
        name: str,
        *,
        key: str,
        own_key: str | None = ...,
        timeout: float | None = ...,
    ) -> int: ...
    @overload
    def intersect(
        self,
        table: Any,
        name: str,
        *,
        key: str,
        mode: Literal["count"],
        own_key: str | None = ...,
        timeout: float | None = ...,
    ) -> int: ...
    @overload
    def intersect(
        self,
        table: Any,
        name: str,
        *,
        key: str,
        mode: Literal["rows"],
        own_key: str | None = ...,
        timeout: float | None = ...,
    ) -> "pa.Table": ...
    def intersect(
        self,
        table: Any,
        name: str,
        *,
        key: str,
        mode: Literal["count", "rows"] = "count",
        own_key: str | None = None,
        timeout: float | None = None,
    ) -> "int | pa.Table":
        """Compare the keys of your own ``table`` with a pod's, by private set intersection.

        ``table`` is an Arrow table, a pandas or a polars frame, ``own_key`` its column (default:
        ``key``); ``name`` is ``table``, ``schema.table`` or ``pod.schema.table``, ``key`` its column.
        ``count``: how many of your keys the pod has. ``rows``: your rows whose keys some pod has.
        No pod learns a key of yours, you none of theirs. The custodian must have allowed
        ``intersect``. Raises PolicyError (not allowed, WITHHELD, QUOTA), ProgrammingError (unknown
        names), NotSupportedError (a count over several pods), OperationalError.
        """
        return Meeting(
            federation=self.federation,
            data=table,
            table=name,
            key=key,
            own_key=key if own_key is None else own_key,
            mode=mode,
            purpose=self.purpose,
            project=self.project,
            timeout=self.timeout if timeout is None else timeout,
        ).run()

    def explain(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        format: ExplainForm = "text",
        analyze: bool = False,
    ) -> str:
        """``cursor().explain(...)`` in one call."""
        return self.cursor().explain(sql, parameters, format=format, analyze=analyze)

    def pods(self) -> tuple[str, ...]:
        """Names of the federation's pods."""
        return tuple(card.name for card in self.federation.pods())

    def commit(self) -> None:
        """Nothing to commit."""
        _ = self.federation

    def rollback(self) -> None:
        """Nothing to roll back."""
        _ = self.federation

    def close(self) -> None:
        """Close; idempotent."""
        with self._lock:
            federation, self._federation = self._federation, None
        if federation is not None:
            give_back(federation)
            self.bench.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Cursor:
    """A statement and its rows. After ``execute``: ``pods``, ``release``, ``withheld``, ``receipt``."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._closed = False
        self._statement: Statement | None = None
        self._early_cancel = threading.Event()
        self._reset()

    def _reset(self) -> None:
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._schema: pa.Schema | None = None
        self._rows: list[tuple[Any, ...]] = []
        self._types: list[str] = []
        self._at = 0

    # -- running -------------------------------------------------------------------------------

    def execute(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        timeout: float | None = None,
        statement_id: bytes | None = None,
    ) -> Self:
        """Run ``sql`` over the federation. ``parameters`` fill ``?``; ``timeout`` is in seconds."""
        self._open()
        self._reset()
        statement = self._new_statement(sql, parameters, timeout, statement_id)
        self._statement = statement
        if self._early_cancel.is_set():
            self._early_cancel.clear()
            statement.cancel()
        try:
            self._deliver(run(classify(statement.sql), statement, self.connection.bench))
        except KeyboardInterrupt:
            statement.cancel()
            raise
        return self

    def _deliver(self, answer: Answer) -> None:
        self.rowcount = answer.rows
        if answer.schema is None:
            return
        self._schema, self._batches = answer.schema, answer.batches
        self.description = [_describe(field) for field in answer.fields]
        self._types = [field.type for field in answer.fields]

    def _new_statement(
        self,
        sql: str,
        parameters: Sequence[object],
        timeout: float | None,
        statement_id: bytes | None,
    ) -> Statement:
        statement = Statement(
            federation=self.connection.federation,
            sql=with_predictions(sql, self.connection.bench.shelf),
            parameters=tuple(parameters),
            purpose=self.connection.purpose,
            project=self.connection.project,
            timeout=self.connection.timeout if timeout is None else timeout,
            on_progress=self.connection.on_progress,
        )
        if statement_id is not None:
            if len(statement_id) != 16:
                raise error("ARGUMENT", "a statement id has 16 bytes")
            statement.statement_id = statement_id
        return statement

    def executemany(self, sql: str, parameters: Sequence[Sequence[object]]) -> Self:
        """Run ``sql`` once per row of ``parameters``; the last answer stays."""
        for row in parameters:
            self.execute(sql, row)
        return self

    def cancel(self) -> None:
        """Stop the statement at the pods; from any thread. Its thread gets CANCELLED."""
        statement = self._statement
        if statement is None:
            self._early_cancel.set()
        else:
            statement.cancel()

    def explain(
        self,
        sql: str,
        parameters: Sequence[object] = (),
        *,
        format: ExplainForm = "text",
        analyze: bool = False,
    ) -> str:
        """What the statement would do and what would leave each pod; nothing runs.

        ``format``: ``text``, ``json`` (``podsql/explain/1``) or ``svg``. With ``analyze`` it is run,
        at its price, and what each step took is added.
        """
        self._open()
        statement = self._new_statement(sql, parameters, None, None)
        command = classify(statement.sql)
        if isinstance(command, RightsOrder):
            raise no_plan(command.words)
        if isinstance(command, Explain):
            statement.sql = command.sql
        return explain(statement, self.connection.bench, form=format, analyze=analyze)

    def picture(self) -> str:
        """The rows that are left of an EVALUATE MODEL as SVG: calibration and ROC curve; of a DESCRIBE
        MODEL of survival its curves.

        ARGUMENT for another answer, and where no pod releases counts by bin.
        """
        answer = self.fetch_arrow_table()
        return draw_curves(answer) if answer.schema == CURVES else draw_evaluation(answer)

    # -- what the statement says of itself -------------------------------------------------------

    @property
    def statement_id(self) -> bytes | None:
        """16 bytes that name the running or last statement (``Connection.attach``)."""
        return self._statement.statement_id if self._statement else None

    @property
    def plan(self) -> Plan | None:
        """The last statement's plan."""
        return self._statement.plan if self._statement else None

    @property
    def outcome(self) -> Outcome:
        """Release, withheld cells, pods and receipts of the last statement."""
        return self._statement.outcome if self._statement else Outcome()

    @property
    def pods(self) -> tuple[str, ...]:
        """Pods whose data is in the answer."""
        return self.outcome.pods

    @property
    def missing(self) -> tuple[str, ...]:
        """Pods that ``allow_partial`` went on without."""
        return self.outcome.missing

    @property
    def release(self) -> str:
        """``exact``, ``bounded``, ``rounded`` or ``noised``."""
        return self.outcome.release

    @property
    def error_bars(self) -> Mapping[str, tuple[float | None, ...]]:
        """Of a noisy answer: per column, half the width of each row's 95 % interval.

        Only columns that are one aggregate have one; it covers the noise, not the sampling.
        """
        return self.outcome.bars

    @property
    def withheld(self) -> int:
        """Groups known to be withheld by a disclosure rule: at least this many."""
        return self.outcome.withheld

    @property
    def receipt(self) -> tuple[Any, ...]:
        """Per pod and stage: request id, data version, policy hash, rows, bytes."""
        return self.outcome.receipts

    # -- fetching ------------------------------------------------------------------------------

    def _source(self) -> "Iterator[pa.RecordBatch]":
        self._open()
        if self._batches is None:
            raise errors.ProgrammingError("no result to fetch", code="ARGUMENT")
        return self._batches

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        source = self._source()
        while self._at >= len(self._rows):
            batch = next(source, None)
            if batch is None:
                return None
            self._rows = _python_rows(batch, self._types)
            self._at = 0
        row = self._rows[self._at]
        self._at += 1
        return row

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next ``size`` rows (default ``arraysize``)."""
        rows: list[tuple[Any, ...]] = []
        for _ in range(self.arraysize if size is None else size):
            row = self.fetchone()
            if row is None:
                break
            rows.append(row)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All remaining rows."""
        source = self._source()
        rows = self._rows[self._at :]
        self._rows, self._at = [], 0
        for batch in source:
            rows.extend(_python_rows(batch, self._types))
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def fetch_record_batch(self) -> "pa.RecordBatchReader":
        """The remaining rows as a reader with bounded memory."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self._schema, self._source())

    def fetch_arrow_table(self) -> "pa.Table":
        """The remaining rows as one Arrow table."""
        import pyarrow as pa

        return pa.Table.from_batches(list(self._source()), schema=self._schema)

    def arrow(self) -> "pa.Table":
        """``fetch_arrow_table``."""
        return self.fetch_arrow_table()

    def df(self) -> "pandas.DataFrame":
        """The remaining rows as a pandas frame."""
        return self.fetch_arrow_table().to_pandas()

    def pl(self) -> "polars.DataFrame":
        """The remaining rows as a polars frame."""
        import polars

        frame = polars.from_arrow(self.fetch_arrow_table())
        assert isinstance(frame, polars.DataFrame)
        return frame

    # -- the rest of PEP 249 ---------------------------------------------------------------------

    def setinputsizes(self, sizes: Sequence[object]) -> None:
        """Does nothing (PEP 249 allows it)."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing (PEP 249 allows it)."""

    def close(self) -> None:
        """Close; a statement still running at the pods is cancelled."""
        if self._closed:
            return
        self._closed = True
        if self._batches is not None and hasattr(self._batches, "close"):
            self._batches.close()
        self._batches = None

    def _open(self) -> None:
        if self._closed:
            raise error("CLOSED", "the cursor is closed")
        _ = self.connection.federation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


_PYTHON: Final[dict[str, Callable[[Any], Any]]] = {"HUGEINT": int, "UHUGEINT": int, "UUID": UUID}
"""Types whose wire form is not the Python value that DuckDB gives for them."""


def _python_rows(batch: "pa.RecordBatch", types: Sequence[str]) -> list[tuple[Any, ...]]:
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


def _describe(column: Field) -> tuple[Any, ...]:
    return (column.name, column.type, None, None, None, None, None)
