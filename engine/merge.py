"""Run a plan's final SQL over what the pods released, in the analyst's own locked DuckDB.

Gathered tables arrive in wire form; here each stage becomes one relation of its declared types,
``_pod`` first, pods in name order. Answers leave in wire form too: HUGEINT as decimal128(38,0),
ENUM and UUID as text. Rule to keep: one connection, kept; nothing stays registered after a run.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import duckdb
import pyarrow as pa
from msgspec.structs import replace as structs_replace

from podsql.engine.lock import NO_SURPRISES
from podsql.errors import Error, error
from podsql.planner.fragment import Field, Fragment, Literal
from podsql.planner.plan import Plan, Stage, variance, with_relations
from podsql.planner.settings import PINNED_SETTINGS
from podsql.planner.wire_types import wire_type

Gathered = Mapping[str, Mapping[str, pa.Table]]
_PARSED: Final = 128
"""Statements kept parsed; a parse is bound afresh at every run, so it holds no rows."""

_NARROW_ROWS = 100_000
_SHUT = (
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET lock_configuration = true",
)


class Lane:
    """One kept, locked connection and the statements it has parsed."""

    def __init__(self, *settings: str) -> None:
        self.connection = duckdb.connect()
        for statement in (*NO_SURPRISES, *PINNED_SETTINGS, *settings, *_SHUT):
            self.connection.execute(statement)
        self._parsed: OrderedDict[str, duckdb.Statement] = OrderedDict()
        self._ticket: object = None

    @contextmanager
    def until(self, deadline: float | None, ticket: object = None) -> Iterator[None]:
        """End what runs within: TIMEOUT at ``deadline`` (monotonic), CANCELLED by ``stop``.

        Lanes are lent to one statement after another, so only the one that runs can be ended.
        """
        own = object() if ticket is None else ticket
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self.stop(own)

        timer = None
        self._ticket = own
        if deadline is not None:
            timer = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
            timer.daemon = True
            timer.start()
        try:
            yield
        except duckdb.InterruptException:
            if late.is_set():
                raise error("TIMEOUT", "the statement ran out of time") from None
            raise error("CANCELLED", "the statement was cancelled") from None
        finally:
            self._ticket = None
            if timer is not None:
                timer.cancel()

    def stop(self, ticket: object) -> None:
        """End what runs for ``ticket``, if it does; from any thread."""
        if self._ticket is ticket:
            self.connection.interrupt()

    def fetch(self, sql: str) -> pa.Table:
        """The answer of one SELECT."""
        try:
            return self.connection.sql(self._statement(sql)).to_arrow_table()
        except duckdb.InterruptException:
            raise
        except duckdb.Error as fault:
            raise fault_of(fault) from None

    def _statement(self, sql: str) -> duckdb.Statement:
        known = self._parsed.get(sql)
        if known is None:
            (known,) = self.connection.extract_statements(sql)
            self._parsed[sql] = known
            if len(self._parsed) > _PARSED:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(sql)
        return known


class Merger:
    """Not for two threads at once: a connection's statements follow one another."""

    def __init__(self) -> None:
        # Waking threads costs more than they bring to the few rows most merges have.
        self._narrow = Lane("SET threads = 1")
        self._wide: Lane | None = None
        self._schemas: dict[tuple[str, ...], pa.Schema] = {}

    def close(self) -> None:
        """Give the connections up."""
        self._narrow.connection.close()
        if self._wide is not None:
            self._wide.connection.close()

    def _lane(self, gathered: Gathered) -> Lane:
        rows = sum(table.num_rows for by_pod in gathered.values() for table in by_pod.values())
        if rows <= _NARROW_ROWS:
            return self._narrow
        if self._wide is None:
            self._wide = Lane()
        return self._wide

    def run(
        self,
        plan: Plan,
        gathered: Gathered,
        *,
        deadline: float | None = None,
        ticket: object = None,
    ) -> pa.Table:
        """The answer, with the names of ``plan.columns``; DATA or OVERFLOW if it cannot be had.

        ``deadline`` (monotonic): TIMEOUT after it. CANCELLED by ``stop`` with the same ``ticket``.
        """
        names: list[str] = []
        lane = self._lane(gathered)
        try:
            relations = [self._register(lane, stage, gathered, names) for stage in plan.stages]
            with lane.until(deadline, ticket):
                return self._named(plan, lane.fetch(_last_step(plan, relations)))
        finally:
            for name in names:
                lane.connection.unregister(name)

    def stop(self, ticket: object) -> None:
        """End the run of ``ticket``, if it is in progress; from any thread."""
        for lane in (self._narrow, self._wide):
            if lane is not None:
                lane.stop(ticket)

    def fill(self, stage: Stage, plan: Plan, gathered: Gathered) -> Fragment:
        """The stage's fragment with the values that earlier stages have released."""
        literals = list(stage.fragment.literals)
        for scalar in stage.scalars:
            text = self._value(scalar.sql, plan, gathered)
            literals[scalar.place] = (
                Literal("null", "") if text is None else Literal("string", text)
            )
        return structs_replace(stage.fragment, literals=tuple(literals))

    def _value(self, sql: str, plan: Plan, gathered: Gathered) -> str | None:
        names: list[str] = []
        try:
            known = [stage for stage in plan.stages if stage.name in gathered]
            relations = [self._register(self._narrow, one, gathered, names) for one in known]
            answer = self._narrow.fetch(with_relations(relations, sql))
        finally:
            for name in names:
                self._narrow.connection.unregister(name)
        value = answer[0][0].as_py()
        return None if value is None else str(value)

    def run_with_bars(
        self, plan: Plan, gathered: Gathered, variances: Mapping[str, float]
    ) -> tuple[pa.Table, dict[str, tuple[float | None, ...]]]:
        """The answer of a plan with error bars, and per column half the width of each."""
        final = plan.noisy_final
        for name, value in variances.items():
            final = final.replace(variance(name), repr(value))
        bars = [Field(f"bar{place}", "DOUBLE") for place in plan.bars]
        extended = replace(plan, final=final, columns=(*plan.columns, *bars))
        answer = self.run(extended, gathered)
        shown = len(plan.columns)
        widths = {
            plan.columns[place].name: tuple(answer[shown + at].to_pylist())
            for at, place in enumerate(plan.bars)
        }
        return answer.select(range(shown)), widths

    def stream(
        self, plan: Plan, batches: Iterable[pa.RecordBatch]
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """A pure row plan's batches under the answer's names; nothing is held back."""
        schema = pa.schema(
            [
                pa.field(f.name, found.type)
                for f, found in zip(plan.columns, self.schema(plan.columns), strict=True)
            ]
        )
        return schema, (_renamed(batch, schema) for batch in batches)

    def schema(self, fields: Sequence[Field]) -> pa.Schema:
        """The Arrow schema of fields in wire form, as DuckDB itself exports it."""
        types = tuple(wire_type(f.type) for f in fields)
        known = self._schemas.get(types)
        if known is None:
            selected = ", ".join(f"CAST(NULL AS {kind})" for kind in types)
            known = self._narrow.fetch(f"SELECT {selected} LIMIT 0").schema
            self._schemas[types] = known
        return pa.schema(
            [pa.field(f.name, found.type) for f, found in zip(fields, known, strict=True)]
        )

    def _register(self, lane: Lane, stage: Stage, gathered: Gathered, names: list[str]) -> str:
        """Register the stage's rows; the CTE that gives them their declared types."""
        schema = self.schema(stage.fields)
        parts = []
        by_pod = gathered.get(stage.name, {})
        for pod in sorted(by_pod):
            table = by_pod[pod]
            if table.schema.types != schema.types:
                raise error("BAD_RESULT", "a pod answered with other columns than asked", pod=pod)
            parts.append(_with_pod(table, schema, pod))
        empty = pa.schema([pa.field("_pod", pa.string()), *schema])
        whole = pa.concat_tables(parts) if parts else empty.empty_table()
        name = f"{stage.name}_wire"
        lane.connection.register(name, whole)
        names.append(name)
        columns = ", ".join(["_pod", *(_typed(f) for f in stage.fields)])
        return f"{stage.name} AS (SELECT {columns} FROM {name})"

    def _named(self, plan: Plan, answer: pa.Table) -> pa.Table:
        return answer.rename_columns([f.name for f in plan.columns])


def expected_schema(merger: Merger, fields: Sequence[Field]) -> pa.Schema:
    """What a pod's table of ``fields`` must look like."""
    return merger.schema(fields)


def _last_step(plan: Plan, relations: Sequence[str]) -> str:
    """The final SQL with the stages' relations in front, and its outputs in wire form."""
    final = with_relations(relations, plan.final)
    kinds = [(f.type, wire_type(f.type)) for f in plan.columns]
    if all(kind in (wire, "HUGEINT") for kind, wire in kinds):
        return final  # DuckDB itself exports HUGEINT as decimal128(38,0)
    columns = ", ".join(f"c{i}" for i in range(len(kinds)))
    casts = ", ".join(f"CAST(c{i} AS {wire})" for i, (_, wire) in enumerate(kinds))
    return f"SELECT {casts} FROM ({final}) AS answer({columns})"


def _typed(field: Field) -> str:
    wire = wire_type(field.type)
    return (
        f'"{field.name}"'
        if wire == field.type
        else f'CAST("{field.name}" AS {field.type}) AS "{field.name}"'
    )


def _with_pod(table: pa.Table, schema: pa.Schema, pod: str) -> pa.Table:
    pods = pa.repeat(pa.scalar(pod, pa.string()), table.num_rows)
    named = pa.table(list(table.columns), schema=schema)
    return named.add_column(0, pa.field("_pod", pa.string()), pods)


def _renamed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def fault_of(fault: duckdb.Error) -> Error:
    """DuckDB quotes values in its messages, so ours are our own."""
    if isinstance(fault, duckdb.OutOfRangeException) or "out of range" in str(fault).lower():
        return error("OVERFLOW", "a value of the answer is out of its type's range")
    if isinstance(fault, duckdb.OutOfMemoryException):
        return error("OUT_OF_MEMORY", "the answer does not fit the analyst's memory")
    return error("DATA", "the last step at the analyst failed on a value", hint="try TRY_CAST")
