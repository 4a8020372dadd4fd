"""The demo's model: late arrivals, trained over three airports and beside it on the pooled rows."""

from dataclasses import dataclass
from typing import Any, Final

from podsql.driver import Connection
from podsql.engine.pooled import Pooled
from podsql.engine.training.fitted import estimates
from podsql.engine.training.pooled_fit import area_under_roc, fit_pooled

FEATURES: Final = ("distance", "hour", "month IN (6, 7, 12)")
NAMES: Final = ("distance", "hour", "busy_month")
TARGET: Final = "arr_delay > 15"
SOURCE: Final = "FROM flights WHERE arr_delay IS NOT NULL"
SQL: Final = (
    "TRAIN MODEL late USING logistic_regression PREDICT late FROM (SELECT "
    + ", ".join(
        sql if sql == name else f"{sql} AS {name}"
        for sql, name in zip(FEATURES, NAMES, strict=True)
    )
    + f", {TARGET} AS late {SOURCE})"
)
RELATIVE: Final = 1e-8
"""Coefficients and standard errors are equal within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """``rows``: term, estimate and standard error, and the pooled fit's two."""

    rows: tuple[tuple[Any, ...], ...]
    area: float
    pooled_area: float

    @property
    def equal(self) -> bool:
        """Whether every number is the pooled fit's."""
        return all(_close(a, c) and _close(b, d) for _, a, b, c, d in self.rows) and _close(
            self.area, self.pooled_area
        )


def compare(connection: Connection, pooled: Pooled) -> Trained:
    """Describe the model that ``SQL`` trained, beside the fit of all rows in one database."""
    described = connection.execute("DESCRIBE MODEL late").fetchall()
    fitted = connection.bench.shelf.get("late").fitted
    whole = fit_pooled(pooled, "logistic_regression", SOURCE, FEATURES, TARGET)
    return Trained(
        rows=tuple(
            (row[0], row[1], row[2], one.estimate, one.std_error)
            for row, one in zip(described, estimates(whole), strict=True)
        ),
        area=area_under_roc(pooled, fitted, SOURCE, FEATURES, TARGET),
        pooled_area=area_under_roc(pooled, whole, SOURCE, FEATURES, TARGET),
    )


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= RELATIVE * max(abs(one), abs(other))
