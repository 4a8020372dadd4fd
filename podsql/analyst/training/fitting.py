"""``TRAIN MODEL``: bind, plan the design, ask round after round until the fit is done, keep it.

Rule to keep: rows without a value are an error unless the statement says to drop them, and a model
is kept only when its last round is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from podsql.analyst.federation import Bound
from podsql.analyst.statement import Statement, missing_pods
from podsql.analyst.training.rounds import Rounds
from podsql.analyst.training.shelf import Column, Kept, Shelf, checked_name
from podsql.engine.merge import Merger
from podsql.engine.training import fitting as rounds
from podsql.engine.training.fitted import Coefficients, Fitted
from podsql.engine.training.fitting import Fitting, Round
from podsql.engine.training.registry import begin, model
from podsql.errors import error
from podsql.planner.fragment import Feature
from podsql.planner.training.designing import Design, DesignColumn, plan_design
from podsql.planner.training.orders import Train, options_of

SETTINGS: Final = frozenset({"missing"})
"""What the closing WITH of TRAIN MODEL takes beside what every statement does."""
ROUND_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A statement that is ready for its first round."""

    order: Train
    bound: Bound
    design: Design
    fit: Fitting[Any]
    drops: bool
    seconds: float


def prepare(order: Train, statement: Statement, shelf: Shelf) -> Prepared:
    """Bind and plan; asks pods only for offers."""
    checked_name(order.model)
    options = options_of(order.settings, SETTINGS)
    missing = order.settings.get("missing", "refuse")
    if missing not in ("refuse", "drop"):
        raise error("OPTION", "option 'missing' takes 'refuse' or 'drop'")
    statement.purpose = options.purpose or statement.purpose
    seconds = options.timeout or max(statement.timeout, ROUND_SECONDS)
    statement.deadline = time.monotonic() + seconds
    bound = statement.federation.bind(
        statement.purpose, statement.project, deadline=statement.deadline
    )
    if bound.missing and options.pods is None:
        raise missing_pods(bound.missing)
    few, many = model(order.family).targets
    if not few <= len(order.targets) <= many:
        wanted = f"{few}" if few == many else f"at least {few}"
        raise error("STATEMENT", f"{order.family} takes PREDICT of {wanted} columns")
    design = plan_design(
        order.sql,
        order.targets,
        bound.training,
        pods=options.pods,
        parameters=statement.parameters,
    )
    fit = begin(
        order.family, columns_of(design), numbers_of(order), start=_start(order, design, shelf)
    )
    return Prepared(
        order=order,
        bound=bound,
        design=design,
        fit=fit,
        drops=missing == "drop",
        seconds=seconds,
    )


def train(
    prepared: Prepared,
    statement: Statement,
    merger: Merger,
    shelf: Shelf,
    on_round: Callable[[rounds.Progress], None] = lambda _: None,
) -> Kept:
    """All rounds; the model is on the shelf at the end."""
    design, fit = prepared.design, prepared.fit
    asked = Rounds(statement, merger, prepared.bound, design, seconds=prepared.seconds)
    if design.references:
        _require_domain(asked, design)
    while (wanted := fit.next_round()) is not None:
        if statement.cancelled:
            raise error("CANCELLED", "the statement was cancelled")
        sums = asked.sums(wanted)
        _require_values(sums, drops=prepared.drops)
        fit.take(sums)
        on_round(fit.progress)
    kept = _kept(prepared, statement, fit.result(), asked)
    shelf.put(kept)
    return kept


def summary(kept: Kept) -> pa.Table:
    """The answer of TRAIN MODEL: one row."""
    fitted = kept.fitted
    return pa.table(
        {
            "model": [kept.name],
            "family": [fitted.method],
            "n": [fitted.n],
            "dropped": [fitted.dropped],
            "rounds": [fitted.rounds],
            "deviance": pa.array([fitted.metrics.get("deviance")], pa.float64()),
            "pods": [", ".join(kept.pods)],
        }
    )


def columns_of(design: Design) -> rounds.Design:
    """The design as the fit knows it: names and kinds."""

    def named(columns: tuple[DesignColumn, ...]) -> tuple[Feature, ...]:
        return tuple(Feature(one.name, "", one.indicator) for one in columns)

    return rounds.Design(features=named(design.features), targets=named(design.targets))


def numbers_of(order: Train) -> dict[str, float | int | bool]:
    """The family's options: all of them are numbers or flags."""
    found: dict[str, float | int | bool] = {}
    for name, value in order.options.items():
        if isinstance(value, str | tuple):
            raise error("OPTION", f"option {name!r} of {order.family} takes a number")
        found[name] = value
    return found


def _start(order: Train, design: Design, shelf: Shelf) -> tuple[float, ...]:
    """Where the rounds begin: the estimates of an earlier model of the same columns."""
    if not order.earlier:
        return ()
    earlier = shelf.get(order.earlier).fitted
    names = tuple(one.name for one in design.features)
    if not isinstance(earlier.parameters, Coefficients) or earlier.terms != names:
        raise error(
            "MODEL_STATE",
            f"model {order.earlier!r} is not one of these columns",
            hint="begin at a model of the same columns, or without FROM MODEL",
        )
    return earlier.parameters.estimates


def _require_values(sums: dict[str, float], *, drops: bool) -> None:
    if sums["dropped"] and not drops:
        raise error(
            "DATA",
            f"{int(sums['dropped'])} of {int(sums['n'] + sums['dropped'])} rows have a column "
            "without a value",
            hint="WITH (missing = 'drop') trains without them; or choose rows, or coalesce",
        )


def _require_domain(asked: Rounds, design: Design) -> None:
    """Every row is of one declared level of each category: an unknown one would pass for the first."""
    sums = asked.sums(Round(family="moments"), references=True)
    levels = [one for one in design.features if one.level is not None]
    counts: dict[str, float] = {}
    for place, one in enumerate((*levels, *design.references)):
        counts[one.of] = counts.get(one.of, 0.0) + sums[f"s{place}"]
    for name, count in counts.items():
        if count != sums["n"]:
            raise error(
                "DATA",
                f"column {name!r} holds values that are not declared",
                hint="the custodians must declare them; or choose rows with WHERE",
            )


def _kept(prepared: Prepared, statement: Statement, fitted: Fitted, asked: Rounds) -> Kept:
    design = prepared.design

    def kept(columns: tuple[DesignColumn, ...]) -> tuple[Column, ...]:
        return tuple(Column(one.name, one.of, one.indicator, one.level) for one in columns)

    return Kept(
        name=checked_name(prepared.order.model),
        fitted=fitted,
        select=design.select,
        features=kept(design.features),
        targets=kept(design.targets),
        references=kept(design.references),
        pods=design.pods,
        data_versions=dict(sorted(asked.versions.items())),
        federation=statement.federation.membership.federation,
        purpose=statement.purpose,
        project=statement.project,
        trained=time.time_ns() // 1_000_000,
    )
