"""What each kind of statement does: one place from a ``Command`` to its answer.

Rule to keep: a command answers with an ordinary result, or with a number of rows and none to show.
"""

import time
from pathlib import Path

import pyarrow as pa

from podsql.analyst.answering import Answer, answer_of, select, temporary_tables
from podsql.analyst.bench import Bench
from podsql.analyst.budgets import budgets_shown
from podsql.analyst.describing import (
    described,
    described_temporary,
    grants_shown,
    pods_shown,
    tables_shown,
)
from podsql.analyst.dry_run import COLUMNS, ask_policies
from podsql.analyst.explaining import explain
from podsql.analyst.federation import Bound
from podsql.analyst.ordering import give_order, show_rights
from podsql.analyst.profiling import summarize
from podsql.analyst.scratch import change_table, make_table, refuse_hiding
from podsql.analyst.statement import Statement, missing_pods
from podsql.analyst.training.commands import run_order
from podsql.analyst.training.job_commands import run_job_order
from podsql.analyst.writing import require_free, write_file
from podsql.engine.temporary import Origin
from podsql.errors import Error, error
from podsql.planner.own_names import own_name
from podsql.planner.plan import Options
from podsql.planner.rights_orders import RightsOrder, ShowRights
from podsql.planner.scratch import Change, MakeTable
from podsql.planner.statements import (
    Command,
    Copy,
    CreateTemporary,
    Describe,
    Drop,
    Explain,
    ExplainPolicy,
    Query,
    Show,
    Summarize,
)
from podsql.planner.training.job_orders import CancelJob, ResumeJob, ShowJob, ShowJobs


def run(command: Command, statement: Statement, bench: Bench) -> Answer:
    """The answer of ``command``; its SELECT, if it has one, is run as ``statement``."""
    match command:
        case Query():
            return select(statement, bench)
        case Explain():
            statement.sql = command.sql
            text = explain(statement, bench, form="text", analyze=command.analyze)
            return answer_of(pa.table({"explain": text.splitlines()}))
        case ExplainPolicy():
            statement.sql = command.sql
            if temporary_tables(statement.sql, bench):
                return answer_of(COLUMNS.empty_table())
            return answer_of(ask_policies(statement))
        case Summarize():
            return _summarize(command, statement, bench)
        case Show():
            return _show(command, statement, bench)
        case Describe():
            return _describe(command, statement, bench)
        case CreateTemporary():
            return _create(command, statement, bench)
        case Drop():
            if not bench.temporary.drop(command.name) and not command.if_exists:
                raise bench.temporary.unknown(command.name)
            return Answer(rows=0)
        case MakeTable():
            return make_table(command, statement, bench)
        case Change():
            return change_table(command, statement, bench)
        case Copy():
            return _copy(command, statement, bench)
        case RightsOrder():
            if statement.parameters:
                raise error("PARAMETERS", f"{command.words} takes no parameters")
            return answer_of(give_order(command, statement))
        case ShowRights():
            return answer_of(show_rights(command, statement))
        case ShowJobs() | ShowJob() | CancelJob() | ResumeJob():
            return run_job_order(command, statement, bench)
        case _:
            return run_order(command, statement, bench)


def _summarize(command: Summarize, statement: Statement, bench: Bench) -> Answer:
    if command.table.lower() in bench.temporary.tables:
        raise error(
            "NOT_SUPPORTED",
            f"SUMMARIZE of temporary table {command.table!r}",
            hint="SELECT the figures you need from it",
        )
    merger = bench.borrow_merger()
    found = summarize(
        command,
        statement.federation,
        merger,
        purpose=command.options.purpose or statement.purpose,
        project=statement.project,
        timeout=command.options.timeout or statement.timeout,
    )
    bench.return_merger(merger)
    return answer_of(found)


def _show(command: Show, statement: Statement, bench: Bench) -> Answer:
    try:
        return _shown(command, statement, bench)
    except Error as fault:
        if fault.code != "STALE_OFFER":
            raise
    # A pod took in new data or a new policy in between.
    return _shown(command, statement, bench)


def _shown(command: Show, statement: Statement, bench: Bench) -> Answer:
    bound = _offers(command.options, statement)
    if command.what == "pods":
        return answer_of(pods_shown(bound))
    _require_all(bound, command.options)
    if command.what == "budget":
        return answer_of(budgets_shown(statement, bound))
    if command.what == "tables":
        return answer_of(tables_shown(bound, bench.temporary.tables.values()))
    return answer_of(grants_shown(bound, statement.purpose, statement.project))


def _describe(command: Describe, statement: Statement, bench: Bench) -> Answer:
    name = own_name(command.table.split("."))
    own = bench.temporary.tables.get(name.lower()) if name else None
    if own is not None:
        return answer_of(described_temporary(own))
    bound = _offers(command.options, statement)
    _require_all(bound, command.options)
    return answer_of(described(command.table, bound))


def _offers(options: Options, statement: Statement) -> Bound:
    """What every pod offers now, not what it offered to an earlier statement."""
    known = Options(
        allow_partial=options.allow_partial, purpose=options.purpose, timeout=options.timeout
    )
    if options != known:
        raise error("OPTION", "this statement takes allow_partial, purpose and timeout only")
    statement.purpose = options.purpose or statement.purpose
    statement.federation.forget(statement.purpose, statement.project)
    deadline = time.monotonic() + (options.timeout or statement.timeout)
    bound = statement.federation.bind(statement.purpose, statement.project, deadline=deadline)
    statement.outcome.pods = tuple(bound.offers)
    statement.outcome.missing = tuple(sorted(bound.missing))
    return bound


def _require_all(bound: Bound, options: Options) -> None:
    """What only some pods offer is no full answer, unless it was asked for."""
    allowed = options.allow_partial
    if bound.missing and (allowed is None or len(bound.offers) < allowed):
        raise missing_pods(bound.missing)


def _create(command: CreateTemporary, statement: Statement, bench: Bench) -> Answer:
    kept = bench.temporary
    if command.name.lower() in kept.tables and not command.replace:
        raise kept.taken(command.name)
    refuse_hiding(command.name, statement)
    statement.sql, statement.keeps = command.sql, True
    answer = select(statement, bench)
    table = answer.table()
    outcome = statement.outcome
    origin = Origin(pods=outcome.pods, release=outcome.release, withheld=outcome.withheld)
    kept.create(command.name, answer.fields, table, origin, replace=command.replace)
    return Answer(rows=table.num_rows)


def _copy(command: Copy, statement: Statement, bench: Bench) -> Answer:
    path = Path(command.path)
    require_free(path, overwrite=command.overwrite)
    statement.sql = command.sql
    reader = select(statement, bench).reader()
    return Answer(rows=write_file(reader, command.form, path, overwrite=command.overwrite))
