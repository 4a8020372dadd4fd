"""The driver for asyncio: the names of ``podsql.connect``, awaited.

The same core: each call runs in a thread of the connection, so the event loop is never held up and
a running loop (a notebook's) is no hindrance. Rule to keep: a task that is cancelled while it waits
stops its statement at the pods, and the cursor can be used again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar

from podsql import driver
from podsql.analyst.explaining import ExplainForm
from podsql.cursor import Cursor, Parameters
from podsql.driver import DEFAULT_TIMEOUT, Connection
from podsql.membership import Membership

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow as pa

THREADS: Final = 32
"""Calls of one connection at a time; more wait."""

P = ParamSpec("P")
T = TypeVar("T")


async def connect(
    federation: "str | Path | Membership | None" = None,
    *,
    project: str = "",
    purpose: str = "",
    timeout: float = DEFAULT_TIMEOUT,
    passphrase: str | None = None,
) -> "AsyncConnection":
    """``podsql.connect``, awaited."""
    opened = await asyncio.to_thread(
        driver.connect,
        federation,
        project=project,
        purpose=purpose,
        timeout=timeout,
        passphrase=passphrase,
    )
    return AsyncConnection(opened)


class AsyncConnection:
    """A connection whose calls are awaited. ``sync`` is the connection itself."""

    def __init__(self, connection: Connection) -> None:
        self.sync = connection
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="podsql-aio")

    def cursor(self) -> "AsyncCursor":
        """A new cursor."""
        return AsyncCursor(self, self.sync.cursor())

    async def execute(
        self, sql: str, parameters: Parameters = (), *, timeout: float | None = None
    ) -> "AsyncCursor":
        """``cursor().execute(...)`` in one call."""
        return await self.cursor().execute(sql, parameters, timeout=timeout)

    async def explain(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        format: ExplainForm = "text",
        analyze: bool = False,
    ) -> str:
        """``cursor().explain(...)`` in one call."""
        return await self.cursor().explain(sql, parameters, format=format, analyze=analyze)

    async def intersect(
        self,
        table: Any,
        name: str,
        *,
        key: str,
        mode: Literal["count", "rows"] = "count",
        own_key: str | None = None,
        timeout: float | None = None,
    ) -> "int | pa.Table":
        """``Connection.intersect``."""
        meeting: Callable[[], int | pa.Table] = partial(
            self.sync.intersect,
            table,
            name,
            key=key,
            mode=mode,
            own_key=own_key,
            timeout=timeout,
        )
        return await self.apart(meeting)

    def pods(self) -> tuple[str, ...]:
        """Names of the federation's pods."""
        return self.sync.pods()

    async def commit(self) -> None:
        """Nothing to commit."""
        self.sync.commit()

    async def rollback(self) -> None:
        """Nothing to roll back."""
        self.sync.rollback()

    async def close(self) -> None:
        """Close; idempotent."""
        await asyncio.to_thread(self.sync.close)
        self._threads.shutdown(wait=False)

    async def apart(self, call: Callable[[], T], stop: Callable[[], None] | None = None) -> T:
        """``call`` in a thread. If the task is cancelled, ``stop`` is called and its end awaited."""
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if stop is not None and not running.done():
                stop()
                await asyncio.wait([running])
            if running.done() and not running.cancelled():
                running.exception()  # what the statement ended with is of no use to anybody
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncCursor:
    """A cursor whose calls are awaited; what a statement says of itself is as on ``Cursor``."""

    def __init__(self, connection: AsyncConnection, cursor: Cursor) -> None:
        self.connection = connection
        self.sync = cursor

    async def execute(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        timeout: float | None = None,
        statement_id: bytes | None = None,
    ) -> Self:
        """``Cursor.execute``."""
        await self._run(
            self.sync.execute, sql, parameters, timeout=timeout, statement_id=statement_id
        )
        return self

    async def executemany(self, sql: str, parameters: Sequence[Parameters]) -> Self:
        """``Cursor.executemany``."""
        await self._run(self.sync.executemany, sql, parameters)
        return self

    async def describe(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """``Cursor.describe``."""
        return await self._run(self.sync.describe, sql, parameters)

    async def explain(
        self,
        sql: str,
        parameters: Parameters = (),
        *,
        format: ExplainForm = "text",
        analyze: bool = False,
    ) -> str:
        """``Cursor.explain``."""
        return await self._run(self.sync.explain, sql, parameters, format=format, analyze=analyze)

    def cancel(self) -> None:
        """``Cursor.cancel``: from any task or thread, without waiting."""
        self.sync.cancel()

    async def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        return await self._run(self.sync.fetchone)

    async def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next ``size`` rows (default ``arraysize``)."""
        return await self._run(self.sync.fetchmany, size)

    async def fetchall(self) -> list[tuple[Any, ...]]:
        """All remaining rows."""
        return await self._run(self.sync.fetchall)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        row = await self.fetchone()
        if row is None:
            raise StopAsyncIteration
        return row

    async def fetch_arrow_table(self) -> "pa.Table":
        """The remaining rows as one Arrow table."""
        return await self._run(self.sync.fetch_arrow_table)

    async def arrow(self) -> "pa.Table":
        """``fetch_arrow_table``."""
        return await self.fetch_arrow_table()

    async def df(self) -> "pandas.DataFrame":
        """The remaining rows as a pandas frame."""
        return await self._run(self.sync.df)

    async def pl(self) -> "polars.DataFrame":
        """The remaining rows as a polars frame."""
        return await self._run(self.sync.pl)

    async def close(self) -> None:
        """Close; idempotent."""
        await self.connection.apart(self.sync.close)

    async def _run(self, call: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self.connection.apart(partial(call, *arguments, **named), self.sync.cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- what the statement says of itself -------------------------------------------------------

    @property
    def arraysize(self) -> int:
        """``Cursor.arraysize``."""
        return self.sync.arraysize

    @arraysize.setter
    def arraysize(self, rows: int) -> None:
        self.sync.arraysize = rows

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """``Cursor.description``."""
        return self.sync.description

    @property
    def rowcount(self) -> int:
        """``Cursor.rowcount``."""
        return self.sync.rowcount

    @property
    def query_id(self) -> str | None:
        """``Cursor.query_id``."""
        return self.sync.query_id

    @property
    def pods(self) -> tuple[str, ...]:
        """``Cursor.pods``."""
        return self.sync.pods

    @property
    def missing(self) -> tuple[str, ...]:
        """``Cursor.missing``."""
        return self.sync.missing

    @property
    def release(self) -> str:
        """``Cursor.release``."""
        return self.sync.release

    @property
    def withheld(self) -> int:
        """``Cursor.withheld``."""
        return self.sync.withheld

    @property
    def error_bars(self) -> Mapping[str, tuple[float | None, ...]]:
        """``Cursor.error_bars``."""
        return self.sync.error_bars

    @property
    def receipt(self) -> tuple[Any, ...]:
        """``Cursor.receipt``."""
        return self.sync.receipt
