"""``EVALUATE MODEL m, … FROM (SELECT …)``: how well models foretell rows, per pod and pooled.

One round of sums, one of absolute errors where rows may leave, one of counts by bin of a logistic model.
No weight and no row leaves a pod. Rule to keep: what a pod keeps is NULL for it and for all pods together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Final, cast

import pyarrow as pa

from podsql.analyst.statement import Statement
from podsql.analyst.training.rounds import Rounds, added
from podsql.analyst.training.shelf import Column, Kept, Shelf
from podsql.analyst.training.splits import evaluated_part
from podsql.analyst.training.terms import Terms, require_domain, require_values, terms_of
from podsql.engine.merge import Merger
from podsql.engine.training.evaluating import Cell, Metric, cells_of, metrics
from podsql.engine.training.fitted import Coefficients
from podsql.engine.training.fitting import Round
from podsql.errors import Error, error
from podsql.planner.fragment import Family
from podsql.planner.training.designing import Design, DesignColumn, plan_design
from podsql.planner.training.orders import Evaluate

POOLED: Final = "(pooled)"
COLUMNS: Final = pa.schema(
    [
        ("model", pa.string()),
        ("pod", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("predicted_low", pa.float64()),
        ("predicted_high", pa.float64()),
    ]
)
_BASES: Final = {
    "linear_regression": "gaussian",
    "ridge_regression": "gaussian",
    "logistic_regression": "binomial",
    "poisson_regression": "poisson",
    "gamma_regression": "gamma",
}


def evaluate(order: Evaluate, statement: Statement, merger: Merger, shelf: Shelf) -> pa.Table:
    """A table of ``COLUMNS``: all metrics of each model, of each pod and of all together."""
    models = [shelf.get(name) for name in order.models]
    for kept in models:
        if kept.fitted.method not in _BASES:
            raise error(
                "NOT_SUPPORTED",
                f"model {kept.name!r} is {kept.fitted.method}, which foretells no target row by row",
                hint=f"EVALUATE MODEL takes {', '.join(_BASES)}",
            )
    terms = terms_of(order.settings, statement)
    designs = [_design(kept, order, terms, statement) for kept in models]
    rows: list[tuple[object, ...]] = []
    for place, (kept, design) in enumerate(zip(models, designs, strict=True)):
        asked = Rounds(
            statement, merger, terms.bound, design, seconds=terms.seconds, name=f"model{place}_"
        )
        if statement.cancelled:
            raise error("CANCELLED", "the statement was cancelled")
        for pod, found in _metrics(kept, design, asked, terms).items():
            rows += [(kept.name, pod, *astuple(one)) for one in found]
    columns = list(zip(*rows, strict=True))
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, COLUMNS, strict=True)],
        schema=COLUMNS,
    )


def _design(kept: Kept, order: Evaluate, terms: Terms, statement: Statement) -> Design:
    """The model's columns, by name, of the SELECT."""
    design = plan_design(
        order.sql,
        [one.name for one in kept.targets],
        terms.bound.training,
        features=list(dict.fromkeys(one.of for one in kept.features)),
        pods=terms.pods,
        parameters=statement.parameters,
        split=evaluated_part(order.settings, kept),
    )
    if _shape(design.features) != _shape(kept.features):
        raise error(
            "MODEL_STATE",
            f"the columns are not those that model {kept.name!r} was trained on",
            hint="the same kinds of columns, and categories of the same declared values",
        )
    return design


def _shape(columns: Sequence[Column | DesignColumn]) -> list[tuple[str, bool, str | None]]:
    return [(one.of.lower(), one.indicator, one.level) for one in columns]


def _metrics(kept: Kept, design: Design, asked: Rounds, terms: Terms) -> dict[str, list[Metric]]:
    base = _BASES[kept.fitted.method]
    if any(column.level is not None for column in design.listed):
        require_domain(asked, design)
    sums = asked.by_pod(_round(f"score_{base}", kept))
    require_values(added(sums), drops=terms.drops)
    absolute: Mapping[str, Mapping[str, float] | None] = {}
    cells: dict[str, tuple[Cell, ...]] = {}
    if base == "binomial":
        ranked = _where_allowed(asked, _round("ranks", kept))
        cells = {pod: cells_of(one) for pod, one in ranked.items() if one is not None}
        _require_outcomes(sums, cells, kept)
    elif _leave_by_row(design, terms):
        absolute = _where_allowed(asked, _round(f"absolute_{base}", kept))
    found = {
        pod: metrics(base, one, absolute=absolute.get(pod), cells=cells.get(pod))
        for pod, one in sums.items()
    }
    errors = {pod: one for pod, one in absolute.items() if one is not None}
    found[POOLED] = metrics(
        base,
        added(sums),
        absolute=added(errors) if errors.keys() == sums.keys() else None,
        cells=[one for pod in sorted(cells) for one in cells[pod]]
        if cells.keys() == sums.keys()
        else None,
    )
    return found


def _require_outcomes(
    sums: Mapping[str, Mapping[str, float]], cells: Mapping[str, Sequence[Cell]], kept: Kept
) -> None:
    for pod, found in cells.items():
        if sum(one.rows for one in found) != sums[pod]["n"]:
            raise error(
                "DATA",
                f"column {kept.targets[0].name!r} holds values besides 0 and 1",
                pod=pod,
                hint="a logistic model foretells whether something is so",
            )


def _round(family: str, kept: Kept) -> Round:
    model = kept.fitted.parameters
    assert isinstance(model, Coefficients)
    slopes = [slope * scale for slope, scale in zip(model.slopes, model.scale, strict=True)]
    return Round(
        family=cast(Family, family),  # of a closed list
        centre=model.centre,
        scale=model.scale,
        state=(model.at_centre, *slopes),
    )


def _where_allowed(asked: Rounds, wanted: Round) -> Mapping[str, Mapping[str, float] | None]:
    """What pods release of a round; nothing, where a policy knows no such release."""
    try:
        return asked.where_released(wanted)
    except Error as fault:
        if fault.code != "DENIED":
            raise
        return {}


def _leave_by_row(design: Design, terms: Terms) -> bool:
    """Whether every pod lets rows of all tables leave: only then may absolute errors."""
    tables = [terms.bound.training.tables[name] for name in design.tables]
    return all(release == "rows" for table in tables for release in table.releases)
