"""The engine process: connect, lock, restrict, then run one statement after another.

Rule to keep: it restricts itself before DuckDB sees a byte, and after any error it says a code and
ends; the parent starts another. It holds no key and knows no name of a person.
"""

import os
import resource
import socket
import threading
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import pyarrow as pa

from podsql.engine.faults import code_of
from podsql.engine.job import Dataset
from podsql.engine.limits import Limits
from podsql.engine.lock import connect_read_only, lock, prove_locked
from podsql.engine.pipe import (
    NUMBER,
    Configure,
    Done,
    Fault,
    Kind,
    Run,
    frame,
    receive_in_engine,
)
from podsql.engine.sandbox import close_descriptors, restrict
from podsql.engine.statement import run_statement
from podsql.errors import Error

_SEND_BYTES: Final = 256 * 1024
ROW_GROUP: Final = 122_880
"""Rows that one DuckDB thread takes at a time."""
"""Frames gather until a piece this long is among them."""

_encode = msgspec.msgpack.encode


def serve(pipe: socket.socket, interrupts: socket.socket) -> None:
    """Serve the parent at the other end of ``pipe`` until it closes or a statement fails."""
    close_descriptors((pipe.fileno(), interrupts.fileno()))
    try:
        first = receive_in_engine(pipe)
        if first is None:
            return
        configure = msgspec.msgpack.decode(first[1], type=Configure)
        limits = configure.limits
        if configure.torch:
            from podsql.engine.training.local_round import load

            load()  # files are closed to it afterwards
        report = restrict(
            readable=[
                *([Path(configure.database)] if configure.database else []),
                *(Path(path) for dataset in configure.datasets for path in dataset.paths),
            ],
            memory_mb=limits.memory_mb,
            cpu_seconds=int(limits.seconds * limits.threads * limits.statements) + 60,
        )
        pa.set_cpu_count(max(1, limits.threads))
        pa.set_io_thread_count(2)
        con = open_database(configure) if configure.database else None
        pipe.sendall(frame(Kind.READY, _encode(report)))
        if con is not None:
            _Statements(con, pipe, interrupts).serve()
    except Exception as fault:  # noqa: BLE001 - the process's top loop: say a code and end
        _say_fault(pipe, fault)


def open_database(configure: Configure) -> duckdb.DuckDBPyConnection:
    """The snapshot with its in-place datasets registered, locked and proved."""
    con = connect_read_only(Path(configure.database))
    for dataset in configure.datasets:
        register(con, dataset)
    lock(con, _fitting(con, configure))
    prove_locked(con, Path(configure.database))
    warm_up(con)
    return con


def _fitting(con: duckdb.DuckDBPyConnection, configure: Configure) -> Limits:
    """As many threads as the largest table can keep busy: DuckDB hands out whole row groups."""
    limits = configure.limits
    if configure.datasets:
        return limits  # their size is not known before they are read
    (largest,) = con.execute("SELECT max(estimated_size) FROM duckdb_tables()").fetchall()[0]
    useful = 1 + int(largest or 0) // ROW_GROUP
    return msgspec.structs.replace(limits, threads=min(limits.threads, useful))


def register(con: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
    """Make an in-place table visible on this connection (names are a connection's own)."""
    import pyarrow.dataset  # the fork parent has it loaded: no engine can read it any more

    files = pyarrow.dataset.dataset(list(dataset.paths), format=dataset.format)
    con.register(dataset.name, files)


def warm_up(con: duckdb.DuckDBPyConnection) -> None:
    """Pay for what a first statement loads: threads, the Arrow bridge, the writer."""
    nothing = Run(0, "SELECT 1 AS a, true AS _ok", (), True, 10, 1 << 20)
    run_statement(con, nothing, started=lambda _: None, piece=lambda _: None)


class _Statements:
    """The statements of one process, and the thread that interrupts them."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, pipe: socket.socket, interrupts: socket.socket
    ) -> None:
        self._con = con
        self._pipe = pipe
        self._interrupts = interrupts
        self._current = 0
        self._memory = os.open("/proc/self/statm", os.O_RDONLY)
        self._page_mb = resource.getpagesize() / (1 << 20)

    def serve(self) -> None:
        threading.Thread(target=self._interrupt, daemon=True).start()
        decode = msgspec.msgpack.Decoder(Run).decode
        while (message := receive_in_engine(self._pipe)) is not None:
            run = decode(message[1])
            self._current = run.number
            self._run(run)
            self._current = 0

    def _run(self, run: Run) -> None:
        """Frames gather until a full piece: a small result is one send."""
        frames: list[bytes] = []

        def started(schema: bytes) -> None:
            frames.append(frame(Kind.STARTED, schema))

        def piece(data: bytes) -> None:
            frames.append(frame(Kind.CHUNK, data))
            if len(data) > _SEND_BYTES:
                self._pipe.sendall(b"".join(frames))
                frames.clear()

        rows, withheld = run_statement(self._con, run, started=started, piece=piece)
        done = Done(rows, withheld, self._resident_mb())
        frames.append(frame(Kind.FINISHED, _encode(done)))
        self._pipe.sendall(b"".join(frames))

    def _resident_mb(self) -> int:
        return int(int(os.pread(self._memory, 100, 0).split()[1]) * self._page_mb)

    def _interrupt(self) -> None:
        while len(number := self._interrupts.recv(NUMBER.size)) == NUMBER.size:
            if NUMBER.unpack(number)[0] == self._current:
                self._con.interrupt()


def _say_fault(pipe: socket.socket, fault: Exception) -> None:
    code = fault.code if isinstance(fault, Error) else code_of(fault)
    try:
        pipe.sendall(frame(Kind.FAILED, _encode(Fault(code))))
    except OSError:
        return  # the parent is gone, and with it whoever could be told
