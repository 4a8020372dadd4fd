"""A SELECT's answer: from the pods or, if it reads temporary tables only, from the analyst's own DuckDB.

Rule to keep: a statement reads the one or the other. Rows of temporary tables never travel, so
what would join them with the pods' tables is refused.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from podsql.analyst.bench import Bench
from podsql.analyst.statement import Outcome, Statement
from podsql.engine.merge import Merger
from podsql.engine.temporary import Origin, Table
from podsql.errors import error
from podsql.planner.closing import split_options
from podsql.planner.fragment import Field
from podsql.planner.own_names import own_name
from podsql.planner.plan import Options
from podsql.planner.tables_read import tables_read

_LOOSER: Final = ("exact", "bounded", "rounded", "noised")


@dataclass(slots=True, kw_only=True)
class Answer:
    """A result. ``schema`` None: a statement that has no rows to show, only their number."""

    schema: pa.Schema | None = None
    fields: tuple[Field, ...] = ()
    batches: Iterator[pa.RecordBatch] = field(default_factory=lambda: iter(()))
    rows: int = -1
    """-1: not known before the end."""

    def table(self) -> pa.Table:
        """All rows that are left."""
        return pa.Table.from_batches(list(self.batches), schema=self.schema)

    def reader(self) -> pa.RecordBatchReader:
        """The rows that are left, in bounded memory."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches)


def answer_of(table: pa.Table, fields: Sequence[Field] = ()) -> Answer:
    """A whole table as an answer; without ``fields``, of the types Arrow names."""
    named = tuple(fields) or tuple(Field(f.name, str(f.type)) for f in table.schema)
    return Answer(
        schema=table.schema, fields=named, batches=iter(table.to_batches()), rows=table.num_rows
    )


def select(statement: Statement, bench: Bench) -> Answer:
    """Run ``statement``; its outcome is filled when the last row has been read."""
    tables = temporary_tables(statement.sql, bench)
    if tables:
        return _near(statement, tables, bench)
    merger = bench.borrow_merger()
    plan = statement.prepare()
    _require_wanted(statement)
    if plan.streams:
        schema, batches = statement.batches(merger)
        return Answer(
            schema=schema, fields=plan.columns, batches=_give_back(batches, merger, bench)
        )
    found = statement.rows(merger)
    bench.return_merger(merger)
    return answer_of(found, plan.columns)


def temporary_tables(sql: str, bench: Bench) -> tuple[Table, ...]:
    """The temporary tables that ``sql`` reads; none: it is for the pods.

    A temporary name hides a federated table of that name, as in any database. NOT_SUPPORTED if it
    reads both kinds, OPTION if it reads temporary tables alone and closes with options.
    """
    kept = bench.temporary.tables
    if not kept:
        return ()
    text, options = split_options(sql)
    named = tables_read(text)
    found = {parts: table for parts in named if (table := _temporary(parts, kept)) is not None}
    if not found:
        return ()
    others = sorted(".".join(parts) for parts in named if parts not in found)
    if others:
        raise error(
            "NOT_SUPPORTED",
            f"temporary table {min(t.name for t in found.values())!r} and {others[0]!r} of the pods "
            "in one statement",
            hint="CREATE TEMP TABLE of what you need from the pods, then join the temporary tables",
        )
    if options != Options():
        raise error("OPTION", "a statement over temporary tables alone takes no options")
    return tuple(found.values())


def _temporary(parts: tuple[str, ...], kept: Mapping[str, Table]) -> Table | None:
    name = own_name(parts)
    return None if name is None else kept.get(name.lower())


def _near(statement: Statement, tables: Sequence[Table], bench: Bench) -> Answer:
    start = time.perf_counter_ns()
    kept = bench.temporary
    statement.on_cancel = lambda: kept.stop(statement)
    _require_wanted(statement)
    fields, found = kept.run(
        split_options(statement.sql)[0],
        statement.parameters,
        seconds=statement.timeout,
        ticket=statement,
    )
    origin = together(table.origin for table in tables)
    statement.outcome = Outcome(
        release=origin.release,
        withheld=origin.withheld,
        pods=origin.pods,
        merge_micros=(time.perf_counter_ns() - start) // 1000,
    )
    return answer_of(found, fields)


def together(origins: Iterable[Origin]) -> Origin:
    """What is said of an answer that was made from tables of these."""
    known = tuple(origins)
    return Origin(
        release=max((o.release for o in known), key=_LOOSER.index),
        withheld=sum(o.withheld for o in known),
        pods=tuple(sorted({pod for o in known for pod in o.pods})),
    )


def _require_wanted(statement: Statement) -> None:
    if statement.cancelled:
        raise error("CANCELLED", "the statement was cancelled")


def _give_back(
    batches: Iterator[pa.RecordBatch], merger: Merger, bench: Bench
) -> Iterator[pa.RecordBatch]:
    yield from batches
    bench.return_merger(merger)
