"""DB-API 2.0 (PEP 249) driver: qmark parameters, Arrow first (``cursor.py``).

Transactions do not exist over a federation: ``commit`` and ``rollback`` do nothing. A connection
may be shared by threads, a cursor may not; ``cancel`` may be called from any thread.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from podsql import errors
from podsql.analyst.bench import Bench
from podsql.analyst.explaining import ExplainForm
from podsql.analyst.federation import Federation
from podsql.analyst.meeting import Meeting
from podsql.analyst.sharing import borrow, give_back
from podsql.analyst.training.recorded import Line
from podsql.cursor import Cursor, Parameters
from podsql.errors import error
from podsql.membership import Membership, load_membership

if TYPE_CHECKING:
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
    def autocommit(self) -> bool:
        """Always True; NOT_SUPPORTED for anything else, as there are no transactions."""
        return True

    @autocommit.setter
    def autocommit(self, wanted: bool) -> None:
        if not wanted:
            raise error("NOT_SUPPORTED", "a federation has no transactions: autocommit stays on")

    @property
    def federation(self) -> Federation:
        """The open federation; InterfaceError CLOSED after ``close``."""
        if self._federation is None:
            raise error("CLOSED", "the connection is closed")
        return self._federation

    def cursor(self) -> Cursor:
        """A new cursor."""
        _ = self.federation
        return Cursor(self)

    def execute(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        timeout: float | None = None,
        statement_id: bytes | None = None,
    ) -> Cursor:
        """``cursor().execute(...)`` in one call."""
        return self.cursor().execute(sql, parameters, timeout=timeout, statement_id=statement_id)

    def attach(self, statement_id: bytes, sql: str, parameters: Parameters = ()) -> Cursor:
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
        parameters: Parameters = (),
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
