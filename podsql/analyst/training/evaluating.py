"""``EVALUATE MODEL m, … FROM (SELECT …)``: how well models foretell rows, per pod and pooled.

One round of sums, one of absolute errors where rows may leave, one of counts by bin of a logistic model, one
of each class of naive Bayes.
No weight and no row leaves a pod. Rule to keep: what a pod keeps is NULL for it and for all pods together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Final, cast

import pyarrow as pa

from podsql.analyst.statement import Statement
from podsql.analyst.training.evaluating_kinds import KINDS, kind_metrics
from podsql.analyst.training.figures import Figures, allowed_figures, figures
from podsql.analyst.training.fitting import WITHOUT_CONSTANT
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.rounds import Rounds
from podsql.analyst.training.shelf import Column, Kept, Shelf
from podsql.analyst.training.splits import evaluated_part
from podsql.analyst.training.terms import Terms, require_domain, require_values, terms_of
from podsql.engine.merge import Merger
from podsql.engine.training.evaluating import Cell, Metric, cells_of, metrics
from podsql.engine.training.fitted import Coefficients
from podsql.engine.training.fitting import Round
from podsql.errors import error
from podsql.planner.fragment import Family
from podsql.planner.masking import masking_of
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
    "linear_network": "gaussian",
    "logistic_network": "binomial",
    "poisson_regression": "poisson",
    "gamma_regression": "gamma",
}


def evaluate(order: Evaluate, statement: Statement, merger: Merger, shelf: Shelf) -> pa.Table:
    """A table of ``COLUMNS``: all metrics of each model, of each pod and of all together."""
    models = [shelf.get(name) for name in order.models]
    for kept in models:
        if kept.fitted.method not in (*_BASES, *KINDS):
            raise error(
                "NOT_SUPPORTED",
                f"model {kept.name!r} is {kept.fitted.method}, whose figures no pod sums",
                hint=f"EVALUATE MODEL takes {', '.join((*_BASES, *KINDS))}",
            )
    masking = masking_of(order.settings)
    terms = terms_of(order.settings, statement)
    designs = [_design(kept, order, terms, statement) for kept in models]
    rows: list[tuple[object, ...]] = []
    for place, (kept, design) in enumerate(zip(models, designs, strict=True)):
        asked: Rounds | MaskedRounds
        if masking is None:
            name = f"model{place}_"
            asked = Rounds(statement, merger, terms.bound, design, seconds=terms.seconds, name=name)
        else:
            asked = MaskedRounds(statement, terms.bound, design, masking, seconds=terms.seconds)
        if statement.cancelled:
            raise error("CANCELLED", "the statement was cancelled")
        measured = _metrics(kept, design, asked, terms)
        if masking is not None:
            measured = _unseen(measured, design.pods)
        for pod, found in measured.items():
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
        list(dict.fromkeys(one.of for one in kept.targets)),
        terms.bound.training,
        features=list(dict.fromkeys(one.of for one in kept.features)),
        pods=terms.pods,
        parameters=statement.parameters,
        every_level=kept.fitted.method in WITHOUT_CONSTANT,
        split=evaluated_part(order.settings, kept),
    )
    odd = kept.fitted.method in KINDS and _shape(design.targets) != _shape(kept.targets)
    if odd or _shape(design.features) != _shape(kept.features):
        raise error(
            "MODEL_STATE",
            f"the columns are not those that model {kept.name!r} was trained on",
            hint="the same kinds of columns, and categories of the same declared values",
        )
    return design


def _shape(columns: Sequence[Column | DesignColumn]) -> list[tuple[str, bool, str | None]]:
    return [(one.of.lower(), one.indicator, one.level) for one in columns]


def _metrics(
    kept: Kept, design: Design, asked: Rounds | MaskedRounds, terms: Terms
) -> dict[str, list[Metric]]:
    if any(column.level is not None for column in design.listed):
        require_domain(asked, design)
    if kept.fitted.method in KINDS:
        return kind_metrics(kept, asked, pooled=POOLED, drops=terms.drops)
    base = _BASES[kept.fitted.method]
    by_pod, pooled = figures(asked, _round(f"score_{base}", kept))
    require_values(pooled, drops=terms.drops)
    absolute, cells, all_cells = Figures(), dict[str, tuple[Cell, ...]](), None
    if base == "binomial":
        ranked = allowed_figures(asked, _round("ranks", kept))
        cells = {pod: cells_of(one) for pod, one in ranked.by_pod.items()}
        _require_outcomes(by_pod, cells, kept)
        if ranked.pooled is not None:
            all_cells = [one for pod in sorted(cells) for one in cells[pod]]
    elif _leave_by_row(design, terms):
        absolute = allowed_figures(asked, _round(f"absolute_{base}", kept))
    found = {
        pod: metrics(base, one, absolute=absolute.by_pod.get(pod), cells=cells.get(pod))
        for pod, one in by_pod.items()
    }
    found[POOLED] = metrics(base, pooled, absolute=absolute.pooled, cells=all_cells)
    return found


def _unseen(found: dict[str, list[Metric]], pods: Sequence[str]) -> dict[str, list[Metric]]:
    """With the metrics of each pod that nobody has seen, as NULL."""
    names = [one.name for one in found[POOLED] if one.name != "rate"]
    hidden = {
        pod: [Metric(name=name, value=None) for name in names] for pod in pods if pod not in found
    }
    return hidden | found


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


def _leave_by_row(design: Design, terms: Terms) -> bool:
    """Whether every pod lets rows of all tables leave: only then may absolute errors."""
    tables = [terms.bound.training.tables[name] for name in design.tables]
    return all(release == "rows" for table in tables for release in table.releases)
