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
from podsql.analyst.training.curves import describe_curves, fit_curves, plan_curves
from podsql.analyst.training.detaching import order_detached, wants_detached
from podsql.analyst.training.evaluating import evaluate
from podsql.analyst.training.explaining import explained, explained_curves
from podsql.analyst.training.fitting import prepare, summary
from podsql.analyst.training.local_tables import explain_local, predict_local
from podsql.analyst.training.running import begin
from podsql.analyst.training.shelf import Kept, Shelf, read_model, write_model
from podsql.analyst.writing import require_free
from podsql.engine.training.describing import described
from podsql.engine.training.fitted import Curves, Estimate
from podsql.errors import Error
from podsql.planner.training.orders import (
    DescribeModel,
    DropModel,
    Evaluate,
    ExplainPredict,
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
        case Train(family="kaplan_meier"):
            return answer_of(summary(fit_curves(order, statement, bench)))
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
        case ExplainTrain(train=Train(family="kaplan_meier") as train):
            lines = _bound_anew(statement, lambda: explained_curves(plan_curves(train, statement)))
            return answer_of(pa.table({"explain": lines}))
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
            merger = bench.borrow_merger()
            found = _bound_anew(statement, lambda: predict_local(order, statement, merger, shelf))
            bench.return_merger(merger)
            return answer_of(found)
        case ExplainPredict():
            found = _bound_anew(statement, lambda: explain_local(order.predict, statement, shelf))
            return answer_of(found)


def _bound_anew(statement: Statement, work: Callable[[], T]) -> T:
    """The work, once more where a pod has moved on since it made its offer, or has given a right."""
    kept = statement.federation.holds(statement.purpose, statement.project)
    try:
        return work()
    except Error as fault:
        given = kept and fault.code in ("UNKNOWN_TABLE", "UNKNOWN_COLUMN")
        if fault.code != "STALE_OFFER" and not given:
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
    """One row a term; of a model with noise two more, of what it tells of one privacy unit; of curves one a
    step."""
    if isinstance(kept.fitted.parameters, Curves):
        return describe_curves(kept.fitted.parameters)
    rows = described(kept.fitted)
    if kept.privacy is not None:
        said = kept.privacy
        rows += (Estimate(term="(epsilon)", estimate=said.epsilon),)
        rows += (Estimate(term="(delta)", estimate=said.delta),)
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
