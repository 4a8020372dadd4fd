"""``PREDICT USING MODEL m FROM (SELECT …) INTO LOCAL TABLE t``: predictions that stay at the pods.

Each pod writes a table of its own and answers with its number of rows, if that may leave. Rule to
keep: one row a pod in the answer, whatever became of it there; an error if none of them wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec
import pyarrow as pa

from podsql.analyst.dry_run import COLUMNS as POLICY_COLUMNS
from podsql.analyst.dry_run import ask_stage
from podsql.analyst.statement import Statement
from podsql.analyst.training.predictions import formula
from podsql.analyst.training.shelf import Kept, Shelf
from podsql.analyst.training.terms import Terms, terms_of
from podsql.engine.merge import Merger
from podsql.errors import Error, error
from podsql.planner.catalog import build_catalog
from podsql.planner.closing import Value
from podsql.planner.fragment import LOCAL_FIELDS
from podsql.planner.plan import Plan, Stage
from podsql.planner.training.foretelling import plan_local_table
from podsql.planner.training.orders import PredictLocal
from podsql.policy.local_tables import NAME

SETTINGS: Final = frozenset({"overwrite", "output"})
"""What the closing WITH takes beside what every statement does."""
COLUMNS: Final = pa.schema(
    [
        ("pod", pa.string()),
        ("table", pa.string()),
        ("rows", pa.int64()),
        ("reason", pa.string()),
        ("model", pa.string()),
    ]
)
"""``rows`` is NULL where it may not leave (``reason`` WITHHELD: the table is written all the same), and
where nothing was written: ``reason`` is the code of the error. ``model``: the model's hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    table: str
    model: str
    terms: Terms
    plan: Plan


def predict_local(
    order: PredictLocal, statement: Statement, merger: Merger, shelf: Shelf
) -> pa.Table:
    """A table of ``COLUMNS``. Raises a pod's error if no pod has written."""
    ready = _prepare(order, statement, shelf)
    if statement.cancelled:
        raise error("CANCELLED", "the statement was cancelled")
    plan = ready.plan
    found = statement.ask_apart(plan.stages, plan, ready.terms.bound, merger)
    faults = {pod: one for pod, one in sorted(found.items()) if isinstance(one, Error)}
    for fault in faults.values():
        # A pod that has written by now takes the same statement again.
        if fault.code in ("CANCELLED", "STALE_OFFER") or len(faults) == len(found):
            raise fault
    rows = [_row(pod, found[pod], ready) for pod in sorted(found)]
    statement.outcome.withheld = sum(row["reason"] == "WITHHELD" for row in rows)
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def explain_local(order: PredictLocal, statement: Statement, shelf: Shelf) -> pa.Table:
    """What every pod's policy would say, as ``EXPLAIN POLICY`` says it; nothing is written."""
    ready = _prepare(order, statement, shelf)
    rows = [
        row
        for stage in ready.plan.stages
        for row in ask_stage(statement, stage, ready.plan.tables, ready.terms.bound)
    ]
    return pa.Table.from_pylist(rows, schema=POLICY_COLUMNS)


def model_hash(kept: Kept) -> str:
    """BLAKE2b-256 (hex) of all that a model is but its name."""
    body = msgspec.json.encode(msgspec.structs.replace(kept, name=""), order="deterministic")
    return blake2b(body, digest_size=32, person=b"ps-model").hexdigest()


def _prepare(order: PredictLocal, statement: Statement, shelf: Shelf) -> _Prepared:
    table, kept = _name(order.table), shelf.get(order.model)
    overwrite = _flag(order.settings, "overwrite")
    output = order.settings.get("output", "")
    if not isinstance(output, str):
        raise error("OPTION", "option 'output' takes the name of one of the model's outputs")
    written = formula(kept, output)
    terms = terms_of(order.settings, statement, SETTINGS)
    # Of a table that may be read, but not for this, a pod says itself that it is denied.
    catalog = build_catalog(terms.bound.offers, "select", "predict")
    found = plan_local_table(
        order.sql, written, catalog, pods=terms.pods, parameters=statement.parameters
    )
    mark = model_hash(kept)
    stages = tuple(
        Stage(
            name=f"local_{place}",
            pods=part.pods,
            fragment=found.fragment(part, table=table, model=mark, overwrite=overwrite),
            fields=LOCAL_FIELDS,
        )
        for place, part in enumerate(found.parts)
    )
    plan = Plan(statement=statement.sql, stages=stages, final="", columns=(), tables=found.tables)
    return _Prepared(table=table, model=mark, terms=terms, plan=plan)


def _name(written: str) -> str:
    if NAME.fullmatch(written.lower()) is None:
        raise error(
            "STATEMENT", "a local table's name is a letter, then letters, digits and _, at most 63"
        )
    return written.lower()


def _flag(settings: Mapping[str, Value], name: str) -> bool:
    value = settings.get(name, False)
    if not isinstance(value, bool):
        raise error("OPTION", f"option {name!r} takes true or false")
    return value


def _row(pod: str, answer: pa.Table | Error, ready: _Prepared) -> dict[str, object]:
    rows, reason = None, None
    if isinstance(answer, Error):
        reason = answer.code
    elif answer.num_rows:
        rows = answer["n"][0].as_py()
    else:
        reason = "WITHHELD"
    return {
        "pod": pod,
        "table": ready.table,
        "rows": rows,
        "reason": reason,
        "model": ready.model,
    }
