"""Writes the rows of ``PREDICT … INTO LOCAL TABLE``, once it is decided what may be told of them.

The engine sends Arrow, which a thread of its own turns into a file, a piece at a time: the engine waits
while the thread is behind. Rule to keep: what the analyst is told follows from what is told of the
count, and from nothing else about a row: also where the rows cannot be written.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final

import pyarrow as pa
from msgspec.structs import replace

from podsql.engine.job import Chunk, Event, Finished, JobHandle, OnEvent, Started
from podsql.engine.job import Failed as JobFailed
from podsql.errors import Error, error
from podsql.pod.aside import Aside
from podsql.pod.local_tables import Draft, LocalTables, TableCard
from podsql.pod.recording import entry_of
from podsql.pod.releasing import Released
from podsql.pod.requests import Ticket
from podsql.policy.audit import Audit, Entry
from podsql.policy.denial import Denial, Withheld
from podsql.policy.local_tables import LocalOrder
from podsql.relay.arrow_guard import GuardedReader

WRITERS: Final = 2
AHEAD_BYTES: Final = 8 << 20
"""Bytes that the engine may be ahead of the disk."""
TABLE_BYTES: Final = 1 << 40

Run = Callable[[Ticket, str, int, OnEvent], JobHandle]


class LocalWriting:
    """``run`` starts SQL of a ticket in an engine; without a ``store`` nothing is written."""

    def __init__(self, store: LocalTables | None, aside: Aside, *, audit: Audit, run: Run) -> None:
        self._store = store
        self._audit = audit
        self._run = run
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="local-table")
        self._aside = aside.on(self._writers)
        self._active: set[Writing] = set()

    def close(self) -> None:
        """End what is being written; nothing of it stays."""
        for writing in list(self._active):
            writing.cancel()
        self._writers.shutdown(wait=True, cancel_futures=True)

    def require_room(self, ticket: Ticket) -> None:
        """Before anything runs (any thread): the errors of ``LocalTables.require_room``."""
        order = self._order(ticket)
        self._kept().require_room(
            order.table,
            ticket.person.fingerprint,
            ticket.head.statement_id.hex(),
            overwrite=order.overwrite,
        )

    def write(self, ticket: Ticket, released: Released, then: Callable[[], None]) -> None:
        """The count is ``released``: now write the rows, and go on with ``then``."""
        order, store = self._order(ticket), self._kept()
        told = _told(released)
        if told is not None and told > store.most_rows:
            raise error(
                "RESULT_TOO_BIG",
                f"a local table has at most {store.most_rows} rows at this pod",
                hint="choose rows with WHERE",
            )
        slack = ticket.holding.gate.policy.output.round_base

        def begin(sql: str) -> Callable[[OnEvent], JobHandle]:
            return lambda on_event: self._run(ticket, sql, store.most_rows + slack, on_event)

        writing = Writing(
            draft=partial(store.draft, self._card(ticket, order)),
            keep=partial(self._keep, ticket, order),
            begin=begin(order.sql),
            # That there are so many is not told either, nor by a name that stays free.
            instead=begin(f"SELECT * FROM ({order.sql}) LIMIT 0") if told is None else None,
            failure=partial(_failure, order),
            post=self._aside.post,
        )
        ticket.job = writing
        self._active.add(writing)

        def work() -> None:
            try:
                writing.write()
            finally:
                self._active.discard(writing)

        self._aside.run(ticket, work, lambda _: then())

    def sweep(self) -> None:
        """Remove what was kept long enough (any thread)."""
        if self._store is not None:
            for card in self._store.expired(_now()):
                self._drop(self._store, card, "kept long enough")

    def remove(self, table: str) -> None:
        """The custodian removes a table (any thread)."""
        store = self._kept()
        self._drop(store, store.one(table), "by the custodian")

    def _drop(self, store: LocalTables, card: TableCard, why: str) -> None:
        self._audit.append(removal(card, why, _now()))
        store.drop(card)

    def _keep(
        self, ticket: Ticket, order: LocalOrder, draft: Draft, card: TableCard, why: str
    ) -> None:
        # The audit line stands before the table does.
        note = partial(self._note, ticket, why, card.rows, card.bytes)
        self._kept().keep(draft, card, overwrite=order.overwrite, before=note)

    def _note(self, ticket: Ticket, why: str, rows: int, size: int) -> None:
        reason = "; ".join(filter(None, (f"local table {self._order(ticket).table}", why)))
        entry = entry_of(ticket, "none" if why else "allow", reason, None, _now())
        self._audit.append(replace(entry, event="local", rows=rows, bytes=size))

    def _kept(self) -> LocalTables:
        if self._store is None:
            raise Denial("NO_LOCAL_TABLES")
        return self._store

    def _order(self, ticket: Ticket) -> LocalOrder:
        assert ticket.verdict is not None
        assert ticket.verdict.local is not None
        return ticket.verdict.local

    def _card(self, ticket: Ticket, order: LocalOrder) -> TableCard:
        head = ticket.head
        assert ticket.verdict is not None
        return TableCard(
            table=order.table,
            analyst=ticket.person.name,
            fingerprint=ticket.person.fingerprint,
            statement=ticket.statement,
            statement_id=head.statement_id.hex(),
            statement_hash=ticket.query_hash.hex(),
            model=order.model,
            purpose=head.purpose,
            project=head.project,
            tables=ticket.verdict.tables,
            columns=tuple(f"{one.name} {one.type}" for one in order.columns),
            data_version=ticket.holding.data_version,
            policy_hash=ticket.holding.gate.policy_hash,
            created=_now(),
        )


@dataclass(eq=False, kw_only=True)
class Writing:
    """One table on its way: a job of the ticket, as its engine's is. ``write`` runs on a writer."""

    draft: Callable[[], Draft]
    keep: Callable[[Draft, TableCard, str], None]
    begin: Callable[[OnEvent], JobHandle]
    instead: Callable[[OnEvent], JobHandle] | None
    """What is written where there are too many rows; None: that is told."""
    failure: Callable[[JobFailed], Error]
    post: Callable[[Callable[[], None]], None]

    def __post_init__(self) -> None:
        self._arrived: SimpleQueue[bytes | Finished | Error] = SimpleQueue()
        self._lock = threading.Lock()
        self._ahead = 0
        self._job: JobHandle | None = None
        self._stopped = False

    def cancel(self) -> None:
        """End it; the file goes."""
        with self._lock:
            self._stopped = True
        if self._job is not None:
            self._job.cancel()
        self._arrived.put(_cancelled())

    def pause(self) -> None:
        """Nothing is delivered from here."""

    def resume(self) -> None:
        """Nothing is delivered from here."""

    def write(self) -> None:
        """Rows to a file, and the file to its place."""
        try:
            self._write(self.begin, "")
        except Error as fault:
            if fault.code != "RESULT_TOO_BIG" or self.instead is None:
                raise
            self._ahead = 0
            self._write(self.instead, "too many rows: none is written")

    def _write(self, begin: Callable[[OnEvent], JobHandle], why: str) -> None:
        draft = self.draft()
        try:
            self.post(partial(self._start, begin))
            reader = GuardedReader(schema=None, max_rows=1 << 40, max_bytes=TABLE_BYTES)
            while isinstance(item := self._arrived.get(), bytes):
                for batch in reader.feed(item):
                    draft.add(batch)
                self._taken(len(item))
            if isinstance(item, Error):
                raise item
            reader.finish()
            assert reader.schema is not None
            card = draft.finish(reader.schema)
            with self._lock:
                if self._stopped:
                    raise _cancelled()
                self.keep(draft, card, why)
        finally:
            draft.close()

    # -- on the I/O thread -------------------------------------------------------------------------

    def _start(self, begin: Callable[[OnEvent], JobHandle]) -> None:
        if self._stopped:
            return
        try:
            self._job = begin(self._event)
        except Error as fault:
            self._arrived.put(fault)

    def _event(self, event: Event) -> None:
        match event:
            case Started():
                pass
            case Chunk():
                with self._lock:
                    self._ahead += len(event.data)
                    behind = self._ahead > AHEAD_BYTES
                self._arrived.put(event.data)
                if behind and self._job is not None:
                    self._job.pause()
            case Finished():
                self._arrived.put(event)
            case JobFailed():
                self._arrived.put(self.failure(event))

    def _taken(self, size: int) -> None:
        with self._lock:
            was, self._ahead = self._ahead, self._ahead - size
        if was > AHEAD_BYTES >= was - size:
            self.post(self._go_on)

    def _go_on(self) -> None:
        if self._job is not None and not self._stopped:
            self._job.resume()


def removal(card: TableCard, why: str, now: int) -> Entry:
    """The audit's line of a table that goes."""
    return Entry(
        time=now,
        event="dropped",
        reason=f"local table {card.table}; {why}",
        analyst=card.analyst,
        fingerprint=card.fingerprint,
        statement=card.statement,
        statement_id=card.statement_id,
        head_hash=card.statement_hash,
        purpose=card.purpose,
        project=card.project,
        tables=card.tables,
        rows=card.rows,
        bytes=card.bytes,
    )


def _told(released: Released) -> int | None:
    """The number that leaves; None: it is withheld."""
    if not released.rows:
        return None
    found = pa.ipc.open_stream(released.arrow).read_all()["n"][0].as_py()
    return int(found)


def _failure(order: LocalOrder, event: JobFailed) -> Error:
    """Over protected rows, told like any figure that is withheld."""
    if order.guarded and event.code in ("DATA", "OVERFLOW"):
        return Withheld(event.code)
    return error(event.code, event.message)


def _cancelled() -> Error:
    return error("CANCELLED", "the statement was cancelled")


def _now() -> int:
    return time.time_ns() // 1_000_000
