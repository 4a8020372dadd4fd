"""Temporary tables that ordinary SQL makes and changes (``scratch.name``), in the analyst's own DuckDB.

Rule to keep: nothing of it reaches a pod, and what was said of an answer goes with its rows into
whatever table they are put.
"""

import time

from podsql.analyst.answering import Answer, together
from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.errors import error
from podsql.planner.scratch import Change, MakeTable


def make_table(command: MakeTable, statement: Statement, bench: Bench) -> Answer:
    """An empty table with columns of the analyst's own."""
    if statement.parameters:
        raise error("PARAMETERS", "CREATE TABLE with columns takes no parameters")
    refuse_hiding(command.name, statement)
    bench.temporary.make(
        command.name, command.columns, replace=command.replace, if_absent=command.if_absent
    )
    return Answer(rows=-1)


def change_table(command: Change, statement: Statement, bench: Bench) -> Answer:
    """INSERT, UPDATE or DELETE; ``rows`` is how many."""
    kept = bench.temporary
    tables = kept.tables
    table = tables.get(command.name.lower())
    if table is None:
        raise error(
            "STATEMENT",
            f"{command.verb} {command.name!r}, which is none of the connection's own tables",
            hint="tables of pods are only read; CREATE TABLE scratch.name (…) makes one of your own",
        )
    read = [one.origin for name, one in tables.items() if name in command.words]
    statement.on_cancel = lambda: kept.stop(statement)
    if statement.cancelled:
        raise error("CANCELLED", "the statement was cancelled")
    changed = kept.change(
        command.name,
        command.verb,
        command.rest,
        statement.parameters,
        together([table.origin, *read]),
        seconds=statement.timeout,
        ticket=statement,
    )
    return Answer(rows=changed)


def refuse_hiding(name: str, statement: Statement) -> None:
    """A name must not mean another table than it did before."""
    deadline = time.monotonic() + statement.timeout
    bound = statement.federation.bind(statement.purpose, statement.project, deadline=deadline)
    for offered in bound.catalog.tables:
        if offered.partition(".")[2].lower() == name.lower():
            raise error(
                "CONFLICT",
                f"the pods offer a table {offered!r}, which {name!r} would hide",
                hint="choose another name",
            )
