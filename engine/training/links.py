"""What each family of generalized linear models makes of its sums: facts by closed form.

With the constant among the columns, the deviance of the model that has nothing else follows from sums
that are there anyway, so no round is spent on it. Rule to keep: log-likelihood and AIC are R's, whose
AIC counts an estimated dispersion as a parameter (gaussian, gamma).
"""

from dataclasses import dataclass
from math import exp, inf, lgamma, log, pi

import numpy as np

from podsql.engine.training.fitted import Link
from podsql.engine.training.information import Array
from podsql.engine.training.scoring import CUT, not_converged, separation
from podsql.errors import error
from podsql.planner.fragment import Family
from podsql.planner.training.written import MOST_ETA


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The targets: how many, their sum, and the sum of their logarithms (gamma)."""

    n: int
    total: float
    log_total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A round at the coefficients ``at``."""

    at: Array
    score: Array
    information: Array
    deviance: float
    pearson: float
    likelihood: float


LINKS: dict[Family, Link] = {
    "gaussian": "identity",
    "binomial": "logit",
    "poisson": "log",
    "gamma": "log",
}


def refuse_targets(family: Family, sample: Sample, rounds: int) -> None:
    """Errors that the sum of the targets shows already."""
    n, total = sample.n, sample.total
    if family == "binomial" and total in (0, n):
        raise separation(["(intercept)"])
    if family == "poisson" and total == 0:
        raise separation(["(intercept)"])
    # with the constant fitted, no fitted count is larger than the sum of all
    if family == "poisson" and total >= exp(MOST_ETA):
        raise not_converged(rounds, reason=CUT)
    if family == "gamma" and total <= 0:
        raise error("DATA", "a gamma regression needs targets above 0")
    if family == "gamma" and abs(log(total / n)) >= MOST_ETA:
        raise not_converged(rounds, reason=CUT)


def null_point(family: Family, sample: Sample) -> float:
    """The linear predictor of the model with the constant alone."""
    mean = sample.total / sample.n
    if family == "binomial":
        return log(mean / (1 - mean))
    return mean if family == "gaussian" else log(mean)


def null_deviance(family: Family, sample: Sample, point: Point) -> float:
    """The deviance of the model with the constant alone, from the sums of any round."""
    n, total = sample.n, sample.total
    mean = total / n
    if family == "binomial":
        return -2 * (total * log(mean) + (n - total) * log(1 - mean))
    if family == "gamma":
        return 2 * (n * log(mean) - sample.log_total)
    cross, fitted = point.score + point.information[0], float(point.information[0, 0])
    if family == "poisson":
        # sum y eta = at' (score + information of the constant); the sum of y ln y cancels
        half = point.deviance / 2 + float(point.at @ cross) + (total - fitted) - total * log(mean)
        return 2 * half
    # the sum of squares about the mean: of residuals, of fitted values, and of their products
    slopes, sums = point.at[1:], point.information[0, 1:]
    residual = float(point.score[0])
    inner = point.information[1:, 1:] - np.outer(sums, sums) / n
    product = float(slopes @ (point.score[1:] - residual * sums / n))
    return point.deviance - residual**2 / n + 2 * product + float(slopes @ inner @ slopes)


def log_likelihood(family: Family, sample: Sample, point: Point) -> float:
    """The maximised log-likelihood; of gaussian and gamma at R's estimate of the dispersion."""
    n = sample.n
    if family == "gaussian":
        if point.deviance <= 0:
            return inf
        return -n / 2 * (log(2 * pi * point.deviance / n) + 1)
    if family != "gamma":
        return point.likelihood
    if point.deviance <= 0:
        return inf
    shape = n / point.deviance
    return shape * point.likelihood - sample.log_total + n * (shape * log(shape) - lgamma(shape))


def refuse_cut(family: Family, sample: Sample, point: Point, rounds: int) -> None:
    """NOT_CONVERGED where linear predictors of the estimate were cut, so that it is not the maximum.

    Of a gamma model the deviance says so: it is that of the uncut predictors, or not. Of the others a
    cut changes no score by more than 1e-13.
    """
    if family != "gamma":
        return
    linear = float(point.at @ point.information[0])
    uncut = 2 * (float(point.score[0]) - sample.log_total + linear)
    size = abs(float(point.score[0])) + abs(sample.log_total) + abs(linear) + sample.n
    if abs(uncut - point.deviance) > 1e-9 * size:
        raise not_converged(rounds, reason=CUT)
