"""The estimate of a generalized linear model in the raw scale, and what is said of it.

Rule to keep: the covariance is the raw one by the exact linear map of the coefficients. Under a
penalty it is that of the penalised estimate, A^-1 H A^-1 with A = H + penalty, and the degrees of
freedom that are used are the trace of A^-1 H (Hastie, Tibshirani & Friedman 2009, 3.50).
"""

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from podsql.engine.training.fitted import INTERCEPT, Coefficients, Fitted
from podsql.engine.training.fitting import Design
from podsql.engine.training.information import Array, inverse, to_raw
from podsql.engine.training.links import (
    LINKS,
    Point,
    Sample,
    log_likelihood,
    null_deviance,
    refuse_cut,
)
from podsql.engine.training.moments import Moments
from podsql.engine.training.scoring import not_converged
from podsql.errors import error
from podsql.planner.fragment import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last round: ``point``, its sums; ``at``, one last small step beyond it."""

    method: str
    family: Family
    design: Design
    l2: float
    moments: Moments
    sample: Sample
    point: Point
    at: Array
    penalty: Array
    dropped: int
    rounds: int
    trace: tuple[float, ...]


def fitted_glm(end: End) -> Fitted:
    """The fitted model; NOT_CONVERGED or DATA where there is none to be believed."""
    refuse_cut(end.family, end.sample, end.point, end.rounds)
    spread = inverse(end.point.information + np.diag(end.penalty))
    if spread is None:
        raise not_converged(end.rounds)
    point = _beyond(end) if end.family == "gaussian" else end.point
    used = float(np.trace(spread @ point.information)) if end.l2 else float(len(end.at))
    freedom = end.sample.n - used
    estimated = end.family in ("gaussian", "gamma")
    dispersion = _dispersion(end, point, freedom) if estimated else 1.0
    covariance = spread @ point.information @ spread if end.l2 else spread
    to = to_raw(np.array(end.moments.mean), np.array(end.moments.deviation))
    return Fitted(
        method=end.method,
        terms=end.design.terms,
        targets=tuple(one.name for one in end.design.targets),
        n=end.sample.n,
        dropped=end.dropped,
        rounds=end.rounds,
        parameters=Coefficients(
            link=LINKS[end.family],
            names=(INTERCEPT, *end.design.terms),
            estimates=tuple((to @ end.at).tolist()),
            covariance=tuple((dispersion * to @ covariance @ to.T).ravel().tolist()),
            dispersion=dispersion,
            freedom=freedom if estimated else None,
            penalty=end.l2,
            centre=end.moments.mean,
            scale=end.moments.deviation,
            at_centre=float(end.at[0]),
        ),
        metrics=_metrics(end, point, used, dispersion),
        trace=end.trace,
    )


def _beyond(end: End) -> Point:
    """The sum of squares after the last step, which is exact: the sum is quadratic."""
    step = end.at - end.point.at
    deviance = end.point.deviance - float(
        step @ (2 * end.point.score - end.point.information @ step)
    )
    return replace(end.point, deviance=max(deviance, 0.0))


def _dispersion(end: End, point: Point, freedom: float) -> float:
    if freedom <= 0:
        raise error(
            "DATA",
            f"{end.sample.n} rows for {len(end.at)} coefficients: their spread cannot be estimated",
            hint="give fewer columns or more rows",
        )
    return (point.deviance if end.family == "gaussian" else point.pearson) / freedom


def _metrics(end: End, point: Point, used: float, dispersion: float) -> dict[str, float]:
    null = null_deviance(end.family, end.sample, end.point)
    likelihood = log_likelihood(end.family, end.sample, point)
    found = {
        "deviance": point.deviance,
        "null_deviance": null,
        "residual_df": end.sample.n - used,
        "null_df": end.sample.n - 1.0,
        "dispersion": dispersion,
    }
    if isfinite(likelihood):  # a perfect fit of measured targets has none
        estimated = end.family in ("gaussian", "gamma")
        found |= {"log_likelihood": likelihood, "aic": 2 * (used + estimated - likelihood)}
    if end.family == "gaussian" and null > 0:
        found["r_squared"] = 1 - point.deviance / null
    return found
