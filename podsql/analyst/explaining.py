"""``EXPLAIN [ANALYZE]`` of a SELECT: its plan as text, JSON or a picture; with ANALYZE, after a run.

What a run took comes from the pods' signed evidence and from the analyst's own clock.
"""

from typing import Literal, get_args

from podsql.analyst.answering import select, temporary_tables
from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.errors import error
from podsql.planner.catalog import Catalog
from podsql.planner.closing import split_options
from podsql.planner.drawing import draw
from podsql.planner.explaining import explain_text
from podsql.planner.explanation import explain_json, explanation
from podsql.planner.fragment import Field
from podsql.planner.measured import PodRun, Run, StageRun
from podsql.planner.plan import Plan

ExplainForm = Literal["text", "json", "svg"]


def explain(statement: Statement, bench: Bench, *, form: str, analyze: bool) -> str:
    """What ``statement`` does and what leaves each pod; ``analyze`` runs it and adds what it took.

    ARGUMENT for a ``form`` that is none of ``ExplainForm``.
    """
    if form not in get_args(ExplainForm):
        raise error("ARGUMENT", "no such form of EXPLAIN", hint=f"one of {get_args(ExplainForm)}")
    run = _run(statement, bench) if analyze else None
    plan, catalog = _planned(statement, bench)
    if form == "text":
        return explain_text(plan, catalog, run)
    shown = explanation(plan, catalog, run)
    return explain_json(shown) if form == "json" else draw(shown)


def columns_of(statement: Statement, bench: Bench) -> tuple[Field, ...]:
    """The columns a SELECT would answer with; pods are asked for their offers only."""
    return _planned(statement, bench)[0].columns


def _planned(statement: Statement, bench: Bench) -> tuple[Plan, Catalog]:
    if not temporary_tables(statement.sql, bench):
        plan, bound = statement.bound()
        return plan, bound.catalog
    sql, _ = split_options(statement.sql)
    plan = Plan(
        statement=statement.sql,
        stages=(),
        final=sql,
        columns=bench.temporary.describe(sql, statement.parameters),
        tables=(),
    )
    return plan, Catalog(version="", tables={}, pods=())


def _run(statement: Statement, bench: Bench) -> Run:
    """Run it to the end; its rows are counted and dropped."""
    rows = sum(batch.num_rows for batch in select(statement, bench).batches)
    outcome = statement.outcome
    return Run(
        stages=tuple(
            StageRun(
                stage=stage,
                micros=micros,
                pods=tuple(
                    PodRun(
                        pod=receipt.pod,
                        rows=receipt.rows,
                        bytes=receipt.bytes,
                        micros=receipt.micros,
                        release=receipt.release,
                    )
                    for receipt in outcome.receipts
                    if receipt.stage == stage
                ),
            )
            for stage, micros in outcome.stage_micros.items()
        ),
        merge_micros=outcome.merge_micros,
        rows=rows,
        release=outcome.release,
        withheld=outcome.withheld,
        missing=outcome.missing,
    )
