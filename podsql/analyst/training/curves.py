"""``TRAIN MODEL … USING kaplan_meier``: survival curves of the counts that one SELECT answers.

No round is asked for: the statement of ``curve_select`` goes the way of every SELECT.
Rule to keep: curves are of all rows and of exact counts, or there are none; a count that a pod keeps to
itself ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite
from typing import Final

import pyarrow as pa

from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.analyst.training.fitting import kept_model
from podsql.analyst.training.shelf import Kept, checked_name
from podsql.analyst.training.terms import offers_of
from podsql.engine.training.fitted import Curves, Fitted
from podsql.engine.training.survival import KAPLAN_MEIER, Row, curves, log_rank
from podsql.errors import Error, error
from podsql.planner.closing import Value
from podsql.planner.training.curve_select import NEGATIVE, curve_select
from podsql.planner.training.designing import Design, DesignColumn, plan_design
from podsql.planner.training.orders import Train, options_of

MOST_BINS: Final = 200
TEST: Final = "(log-rank)"
"""What stands for the arm in the row of the test."""
COLUMNS: Final = pa.schema(
    [
        ("arm", pa.string()),
        ("time", pa.float64()),
        ("at_risk", pa.int64()),
        ("events", pa.int64()),
        ("survival", pa.float64()),
        ("std_error", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("statistic", pa.float64()),
        ("df", pa.int64()),
        ("p_value", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The curves' SELECT, as a statement of its own."""

    design: Design
    edges: tuple[float, ...]
    arms: tuple[DesignColumn, ...]
    """Conditions, and categories by their first level."""
    counting: Statement


def plan_curves(order: Train, statement: Statement) -> Planned:
    """Bind and plan; asks pods only for offers."""
    checked_name(order.model)
    edges = edges_of(order)
    if order.earlier:
        raise error("MODEL_STATE", f"{KAPLAN_MEIER} begins at no earlier model")
    if len(order.targets) != 2:
        raise error("STATEMENT", f"{KAPLAN_MEIER} takes PREDICT of a time and an event")
    options = options_of(order.settings, frozenset())
    statement.purpose = options.purpose or statement.purpose
    statement.timeout = options.timeout or statement.timeout
    design = plan_design(
        order.sql,
        order.targets,
        offers_of(statement, options.pods, statement.timeout).catalog,
        pods=options.pods,
        parameters=statement.parameters,
        every_level=True,
        alone=True,
    )
    firsts: dict[str, DesignColumn] = {}
    for one in design.features:
        firsts.setdefault(one.of, one)
        if not one.indicator:
            raise error(
                "BINDING",
                f"column {one.name!r} is a number, and tells no arms apart",
                hint="an arm is a condition, or text whose values are declared",
            )
    arms = tuple(firsts.values())
    if len(design.targets) != 2 or design.targets[0].indicator:
        raise error("BINDING", f"{KAPLAN_MEIER} takes a number for the time, and one event")
    when, happened = design.targets
    sql = curve_select(
        design.select,
        time=when.of,
        event=happened.of,
        condition=happened.indicator,
        arms=[one.of for one in arms],
        edges=edges,
    )
    if options.pods is not None:
        listed = ", ".join("'" + pod.replace("'", "''") + "'" for pod in options.pods)
        sql += f" WITH (pods = [{listed}])"
    counting = Statement(
        federation=statement.federation,
        sql=sql,
        parameters=statement.parameters,
        purpose=statement.purpose,
        project=statement.project,
        timeout=statement.timeout,
        statement_id=statement.statement_id,
    )
    return Planned(design=design, edges=edges, arms=arms, counting=counting)


def fit_curves(order: Train, statement: Statement, bench: Bench) -> Kept:
    """Count, fit and keep. WITHHELD where a pod keeps a count to itself."""
    planned = plan_curves(order, statement)
    counting = planned.counting
    statement.on_cancel = counting.cancel
    if statement.cancelled:
        raise error("CANCELLED", "the statement was cancelled")
    merger = bench.borrow_merger()
    counted = counting.rows(merger)
    bench.return_merger(merger)
    outcome = statement.outcome = counting.outcome
    if outcome.withheld:
        raise error(
            "WITHHELD",
            "too few privacy units stand behind the events of an arm in a bin, or rows lack a value",
            hint="wider bins, fewer arms; leave rows without a value out with WHERE … IS NOT NULL",
        )
    if outcome.release != "exact":
        raise error("NOT_SUPPORTED", f"the counts of the pods are {outcome.release}")
    rows = _rows(counted, planned)
    found = Curves(
        edges=planned.edges, curves=curves(rows, planned.edges[:-1]), log_rank=log_rank(rows)
    )
    fitted = Fitted(
        method=KAPLAN_MEIER,
        terms=tuple(one.of for one in planned.arms),
        targets=tuple(one.name for one in planned.design.targets),
        n=sum(one.events + one.censored for one in rows),
        dropped=0,
        rounds=1,
        parameters=found,
        metrics={},
    )
    versions = {one.pod: one.data_version for one in outcome.receipts}
    kept = kept_model(order.model, fitted, planned.design, statement, versions)
    bench.shelf.put(kept)
    return kept


def describe_curves(model: Curves) -> pa.Table:
    """A table of ``COLUMNS``: a row a step, and one of the log-rank test where arms are compared."""
    rows: list[dict[str, object]] = [
        {
            "arm": curve.arm,
            "time": step.time,
            "at_risk": step.at_risk,
            "events": step.events,
            "survival": step.survival,
            "std_error": step.std_error,
            "low": step.low,
            "high": step.high,
        }
        for curve in model.curves
        for step in curve.steps
    ]
    if model.log_rank is not None:
        test = model.log_rank
        rows.append(
            {"arm": TEST, "statistic": test.statistic, "df": test.freedom, "p_value": test.p_value}
        )
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def edges_of(order: Train) -> tuple[float, ...]:
    """Where bins begin, and the horizon; OPTION for anything but ``bins``, or ``width`` and ``horizon``."""
    given = dict(order.options)
    listed, width, horizon = (given.pop(name, None) for name in ("bins", "width", "horizon"))
    if given:
        raise _odd(f"it has no option {next(iter(given))!r}")
    if isinstance(listed, tuple) and width is None and horizon is None:
        edges = tuple(map(_number, listed))
        if len(edges) < 2 or edges[0] or list(edges) != sorted(set(edges)):
            raise _odd("the edges of bins begin at 0 and grow; the last one is the horizon")
    elif listed is None and width is not None and horizon is not None:
        step, end = _number(width), _number(horizon)
        if not 0 < step <= end:
            raise _odd("width is above 0, and horizon at least as much")
        many = ceil(min(end / step, 2.0 * MOST_BINS) - 1e-9)
        edges = (*(place * step for place in range(many)), end)
    else:
        raise _odd("it needs bins, or width and horizon")
    if len(edges) > MOST_BINS + 1:
        raise _odd(f"there are at most {MOST_BINS} bins")
    return edges


def _number(value: Value) -> float:
    try:
        found = inf if isinstance(value, bool | tuple) else float(value)
    except ValueError:
        found = inf
    if not isfinite(found):
        raise _odd("bins, width and horizon are numbers")
    return found


def _odd(text: str) -> Error:
    return error(
        "OPTION",
        f"{KAPLAN_MEIER}: {text}",
        hint="bins = [0, 30, 90, 365]; or width = 30, horizon = 365",
    )


def _rows(counted: pa.Table, planned: Planned) -> list[Row]:
    """The counts; DATA where a row is in no bin or no arm, or its event is not known."""
    found = []
    for one in counted.to_pylist():
        values = [one[f"arm{place}"] for place in range(len(planned.arms))]
        if one["bin"] is None or None in values or one["known"] != one["n"]:
            raise error(
                "DATA",
                "rows have no time or no arm, or an event that is neither so nor not so",
                hint="leave them out with WHERE … IS NOT NULL; an event is a condition, or 1 and 0",
            )
        if one["bin"] == NEGATIVE:
            raise error("DATA", "a duration is negative")
        found.append(
            Row(
                arm=_arm(values, planned),
                place=one["bin"],
                events=one["events"],
                censored=one["n"] - one["events"],
            )
        )
    if not found:
        raise error("DATA", "no row is selected")
    return found


def _arm(values: Sequence[object], planned: Planned) -> str:
    """The value of a category; a condition's name, or that with ``not``."""
    names = []
    for column, value in zip(planned.arms, values, strict=True):
        if column.level is None:
            names.append(column.name if value else f"not {column.name}")
            continue
        if value not in {one.level for one in planned.design.features if one.of == column.of}:
            raise error(
                "DATA",
                f"column {column.of!r} holds values that are not declared",
                hint="the custodians must declare them; or choose rows with WHERE",
            )
        names.append(str(value))
    return ", ".join(names)
