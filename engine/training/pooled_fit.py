"""The same rounds over one database with everybody's rows: what a federated fit is compared with.

Only for places that hold all rows (the demo, benchmarks); no pod ever uses it.
"""

from collections.abc import Sequence

from podsql.engine.pooled import Pooled
from podsql.engine.training.fitted import Fitted
from podsql.engine.training.fitting import Design
from podsql.engine.training.predicting_sql import predict_sql
from podsql.engine.training.registry import begin
from podsql.planner.fragment import Feature, ModelStep
from podsql.planner.training.steps import step_fields, write_step


def fit_pooled(
    pooled: Pooled, method: str, source: str, features: Sequence[str], target: str
) -> Fitted:
    """A model of expressions over ``source`` (``FROM … [WHERE …]``), none of them NULL."""
    columns = tuple(Feature(sql, sql) for sql in features)
    design = Design(features=columns, targets=(Feature(target, target),))
    fit = begin(method, design)
    named = [f"CAST({sql} AS DOUBLE) AS x{place}" for place, sql in enumerate(features)]
    rows = f"SELECT {', '.join(named)}, CAST({target} AS DOUBLE) AS y0 {source}"
    while (asked := fit.next_round()) is not None:
        step = ModelStep(
            family=asked.family,
            source=source,
            features=columns,
            targets=design.targets,
            centre=asked.centre,
            scale=asked.scale,
            state=asked.state,
        )
        written = write_step(step, "complete")
        sums = ", ".join(sql for _, sql in written.sums)
        (found,) = pooled.rows(
            f"WITH complete AS ({rows}), placed AS ({written.relation})"
            f" SELECT count(*), 0, {sums} FROM placed"
        )
        names = [field.name for field in step_fields(step)]
        fit.take({name: float(value) for name, value in zip(names, found, strict=True)})  # type: ignore[arg-type]
    return fit.result()


def area_under_roc(
    pooled: Pooled, fitted: Fitted, source: str, features: Sequence[str], target: str
) -> float:
    """The area under the ROC curve over these rows, by ranks (Mann & Whitney 1947; ties count half)."""
    response = predict_sql(fitted, features)["response"]
    ranked = (
        f"SELECT y, rank() OVER (ORDER BY p) + (count(*) OVER (PARTITION BY p) - 1) / 2 AS r"
        f" FROM (SELECT {response} AS p, CAST({target} AS INTEGER) AS y {source})"
    )
    ((area,),) = pooled.rows(
        "SELECT (sum(r) FILTER (WHERE y = 1) - sum(y) * (sum(y) + 1) / 2)"
        f" / (sum(y) * count(*) FILTER (WHERE y = 0)) FROM ({ranked})"
    )
    return float(area)  # type: ignore[arg-type]
