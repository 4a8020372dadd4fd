"""What each statement around models answers."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from msgspec.structs import replace

from podsql.analyst.answering import Answer, answer_of
from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.analyst.training.detaching import order_detached, wants_detached
from podsql.analyst.training.evaluating import evaluate
from podsql.analyst.training.explaining import explained
from podsql.analyst.training.fitting import prepare, summary
from podsql.analyst.training.running import begin
from podsql.analyst.training.shelf import Kept, Shelf, read_model, write_model
from podsql.analyst.writing import require_free
from podsql.engine.training.describing import described
from podsql.errors import Error, error
from podsql.planner.training.orders import (
    DescribeModel,
    DropModel,
    Evaluate,
    ExplainTrain,
    ExportModel,
    ImportModel,
    ModelOrder,
    PredictLocal,
    ShowModels,
    Train,
)

T = TypeVar("T")


def run_order(order: ModelOrder, statement: Statement, bench: Bench) -> Answer:
    """The answer of one statement around models."""
    shelf = bench.shelf
    match order:
        case Train() if wants_detached(order):
            return answer_of(order_detached(order, statement, bench))
        case Train():
            return answer_of(summary(begin(order, statement, bench)))
        case ShowModels():
            return answer_of(_shown(shelf))
        case DescribeModel():
            return answer_of(_described(shelf.get(order.model)))
        case DropModel():
            if not shelf.drop(order.model) and not order.if_exists:
                raise shelf.unknown(order.model)
            return Answer(rows=0)
        case ExportModel():
            path = Path(order.path)
            require_free(path, overwrite=order.overwrite)
            write_model(shelf.get(order.model), path)
            return Answer(rows=1)
        case ImportModel():
            kept = read_model(Path(order.path))
            shelf.put(_renamed(kept, order.model))
            return Answer(rows=1)
        case ExplainTrain():
            lines = _bound_anew(
                statement, lambda: explained(prepare(order.train, statement, shelf), statement)
            )
            return answer_of(pa.table({"explain": lines}))
        case Evaluate():
            merger = bench.borrow_merger()
            found = _bound_anew(statement, lambda: evaluate(order, statement, merger, shelf))
            bench.return_merger(merger)
            return answer_of(found)
        case PredictLocal():
            raise error("NOT_SUPPORTED", "this statement around models is not supported yet")


def _bound_anew(statement: Statement, work: Callable[[], T]) -> T:
    """The work, once more where a pod has moved on since it made its offer."""
    try:
        return work()
    except Error as fault:
        if fault.code != "STALE_OFFER":
            raise
    statement.forget_offers()
    return work()


def _shown(shelf: Shelf) -> pa.Table:
    kept = [shelf.get(name) for name in shelf.names()]
    return pa.table(
        {
            "model": pa.array([one.name for one in kept], pa.string()),
            "family": pa.array([one.fitted.method for one in kept], pa.string()),
            "targets": pa.array([", ".join(one.fitted.targets) for one in kept], pa.string()),
            "n": pa.array([one.fitted.n for one in kept], pa.int64()),
            "pods": pa.array([", ".join(one.pods) for one in kept], pa.string()),
            "trained": pa.array(
                [datetime.fromtimestamp(one.trained / 1000, UTC) for one in kept],
                pa.timestamp("ms", "UTC"),
            ),
        }
    )


def _described(kept: Kept) -> pa.Table:
    """One row a term."""
    rows = described(kept.fitted)
    return pa.table(
        {
            "term": pa.array([row.term for row in rows], pa.string()),
            "estimate": pa.array([row.estimate for row in rows], pa.float64()),
            "std_error": pa.array([row.std_error for row in rows], pa.float64()),
            "statistic": pa.array([row.statistic for row in rows], pa.float64()),
            "p_value": pa.array([row.p_value for row in rows], pa.float64()),
        }
    )


def _renamed(kept: Kept, name: str) -> Kept:
    return replace(kept, name=name.lower())
