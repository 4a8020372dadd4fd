"""The DB-API cursor: one statement at a time, and the rows of its answer.

Rule to keep: ``statement_id`` is there before anything is waited for, and ``description`` before
the first row, so that whoever watches from another thread can name, describe and cancel it.
"""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from podsql import errors
from podsql.analyst.answering import Answer
from podsql.analyst.commands import run
from podsql.analyst.explaining import ExplainForm, columns_of, explain
from podsql.analyst.statement import Outcome, Statement
from podsql.analyst.training.curve_picture import draw_curves
from podsql.analyst.training.curves import COLUMNS as CURVES
from podsql.analyst.training.picture import draw_evaluation
from podsql.analyst.training.predictions import with_predictions
from podsql.errors import error
from podsql.fetching import Flow, Remaining, described
from podsql.planner.named_parameters import by_place
from podsql.planner.plan import Plan
from podsql.planner.rights_orders import RightsOrder
from podsql.planner.statements import Explain, Query, classify, no_plan

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

    from podsql.driver import Connection

Parameters = Sequence[object] | Mapping[str, object]
"""Values of ``?`` in order, or of ``$name`` and ``:name`` by name."""


class Cursor:
    """A statement and its rows. After ``execute``: ``pods``, ``release``, ``withheld``, ``receipt``."""

    lastrowid = None
    """Rows of a federation have no identity (PEP 249, optional)."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.arraysize = 1
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._closed = False
        self._remaining: Remaining | None = None
        self._statement: Statement | None = None
        self._starting = threading.Lock()
        self._early_cancel = False

    def _reset(self) -> None:
        self.description = None
        self.rowcount = -1
        remaining, self._remaining = self._remaining, None
        if remaining is not None:
            remaining.close()

    # -- running -------------------------------------------------------------------------------

    def execute(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        timeout: float | None = None,
        statement_id: bytes | None = None,
    ) -> Self:
        """Run ``sql`` over the federation.

        ``parameters`` fill ``?`` in order; a mapping fills ``$name`` and ``:name``. ``timeout`` is in
        seconds and holds until the last row is fetched.
        """
        self._open()
        self._reset()
        with self._starting:
            self._statement = None
        statement = self._new_statement(sql, parameters, timeout, statement_id)
        with self._starting:
            self._statement = statement
            early, self._early_cancel = self._early_cancel, False
        if early:
            statement.cancel()
        try:
            self._deliver(run(classify(statement.sql), statement, self.connection.bench), statement)
        except KeyboardInterrupt:
            statement.cancel()
            raise
        return self

    def _deliver(self, answer: Answer, statement: Statement) -> None:
        self.rowcount = answer.rows
        if answer.schema is None:
            return
        self.description = described(answer.fields)
        self._remaining = Remaining(
            answer.schema,
            [field.type for field in answer.fields],
            Flow(answer.batches, statement.cancel_pods, lambda: statement.cancelled),
        )

    def _new_statement(
        self,
        sql: str,
        parameters: Parameters,
        timeout: float | None,
        statement_id: bytes | None,
    ) -> Statement:
        if timeout is None:
            timeout = self.connection.timeout
        if not (math.isfinite(timeout) and timeout > 0):
            raise error("ARGUMENT", "a timeout is a number of seconds above 0")
        if isinstance(parameters, Mapping):
            sql, parameters = by_place(sql, parameters)
        elif isinstance(parameters, str | bytes):
            raise error("PARAMETERS", "parameters are a sequence or a mapping, not one text")
        statement = Statement(
            federation=self.connection.federation,
            sql=with_predictions(sql, self.connection.bench.shelf),
            parameters=tuple(parameters),
            purpose=self.connection.purpose,
            project=self.connection.project,
            timeout=timeout,
            on_progress=self.connection.on_progress,
        )
        if statement_id is not None:
            if len(statement_id) != 16:
                raise error("ARGUMENT", "a statement id has 16 bytes")
            statement.statement_id = statement_id
        return statement

    def executemany(self, sql: str, parameters: Sequence[Parameters]) -> Self:
        """Run ``sql`` once per row of ``parameters``; the last answer stays.

        ``rowcount`` is the total where every run has one.
        """
        self._open()
        total = 0
        for row in parameters:
            self.execute(sql, row)
            total = -1 if -1 in (total, self.rowcount) else total + self.rowcount
        self.rowcount = total
        return self

    def cancel(self) -> None:
        """Stop the statement at the pods; from any thread. Its thread gets CANCELLED.

        While ``execute`` begins, and before the first one, it is that one that is cancelled.
        """
        with self._starting:
            statement = self._statement
            self._early_cancel = statement is None
        if statement is not None:
            statement.cancel()

    def describe(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """What ``description`` of a SELECT would be. Nothing runs and no budget is spent.

        Pods are asked for their offers only. STATEMENT for what is no SELECT.
        """
        self._open()
        statement = self._new_statement(sql, parameters, None, None)
        if not isinstance(classify(statement.sql), Query):
            raise error("STATEMENT", "only a SELECT is described without being run")
        return described(columns_of(statement, self.connection.bench))

    def explain(
        self,
        sql: str,
        parameters: Parameters = (),
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
    def query_id(self) -> str | None:
        """``statement_id`` as tools show it: 32 hexadecimal digits."""
        return self.statement_id.hex() if self.statement_id else None

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

    @property
    def rownumber(self) -> int | None:
        """How many rows were fetched as tuples: the index of the next; None without an answer."""
        return self._remaining.number if self._remaining else None

    # -- fetching ------------------------------------------------------------------------------

    def _left(self) -> Remaining:
        self._open()
        if self._remaining is None:
            raise errors.ProgrammingError("no result to fetch", code="ARGUMENT")
        return self._remaining

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        return self._left().row()

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next ``size`` rows (default ``arraysize``)."""
        left = self._left()
        rows: list[tuple[Any, ...]] = []
        for _ in range(self.arraysize if size is None else size):
            row = left.row()
            if row is None:
                break
            rows.append(row)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All remaining rows."""
        return self._left().rows()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def fetch_record_batch(self) -> "pa.RecordBatchReader":
        """The remaining rows as a reader with bounded memory; it ends with the cursor."""
        return self._left().reader()

    def fetch_arrow_table(self) -> "pa.Table":
        """The remaining rows as one Arrow table."""
        return self._left().table()

    def arrow(self) -> "pa.Table":
        """``fetch_arrow_table``."""
        return self.fetch_arrow_table()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The remaining rows for any library that takes Arrow (``polars.DataFrame(cursor)``).

        Of two columns of one name, the later is ``name_1`` here and in ``df`` and ``pl``.
        """
        return self._left().frame().__arrow_c_stream__(requested_schema)

    def df(self) -> "pandas.DataFrame":
        """The remaining rows as a pandas frame."""
        return self._left().frame().read_all().to_pandas()

    def pl(self) -> "polars.DataFrame":
        """The remaining rows as a polars frame."""
        import polars

        frame = polars.from_arrow(self._left().frame().read_all())
        assert isinstance(frame, polars.DataFrame)
        return frame

    # -- the rest of PEP 249 ---------------------------------------------------------------------

    def setinputsizes(self, sizes: Sequence[object]) -> None:
        """Does nothing (PEP 249 allows it)."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing (PEP 249 allows it)."""

    def close(self) -> None:
        """Close, idempotent; a statement whose rows are still on their way ends at the pods."""
        if not self._closed:
            self._closed = True
            self._reset()

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
