"""How well clusters, components, classes and hazards fit other rows: what is asked, and what the sums say.

Of clusters, components and hazards the rounds are those of their training, at the model's own numbers, so
that the gate knows them. Sums add up over pods (of hazards each pod is a stratum).
Rule to keep: a number that cannot be known from the sums is None, never a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from podsql.engine.training.evaluating import Metric, Sums, share_of, wald, wilson
from podsql.engine.training.fitted import Centres, Classes, Coefficients, Components, Fitted
from podsql.engine.training.fitting import Round
from podsql.engine.training.information import Array, square


def round_of(fitted: Fitted) -> Round:
    """The round whose sums ``metrics_of`` reads."""
    match fitted.parameters:
        case Centres() as model:
            placed = (np.array(model.centres) - np.array(model.centre)) / np.array(model.scale)
            return Round("kmeans", model.centre, model.scale, tuple(placed.ravel().tolist()))
        case Components() as model:
            return Round("products", model.centre, model.scale)
        case Classes() as model:
            centre, scale = _placing(model, len(fitted.terms))
            state = _predictors(model, centre, scale).ravel()
            return Round(
                "score_classes",
                tuple(centre.tolist()),
                tuple(scale.tolist()),
                tuple(state.tolist()),
            )
        case Coefficients(link="hazard") as model:
            slopes = np.array(model.slopes) * np.array(model.scale)
            return Round("cox", model.centre, model.scale, tuple(slopes.tolist()))
        case _:
            raise AssertionError(fitted.method)


def metrics_of(fitted: Fitted, sums: Sums) -> list[Metric]:
    """All metrics of rows whose sums these are, of one pod or of several together."""
    n = round(sums["n"])
    counted = Metric(name="n", value=n)
    match fitted.parameters:
        case Centres():
            mean = share_of(sums["inertia"], n)
            return [
                counted,
                Metric(name="inertia", value=sums["inertia"]),
                Metric(name="mean_squared_distance", value=mean),
            ]
        case Components() as model:
            return [counted, *_explained(model, sums, n)]
        case Classes():
            mean, squares = share_of(sums["deviance"], 2 * n), share_of(sums["deviance2"], 4 * n)
            spread = None
            if mean is not None and squares is not None:
                spread = sqrt(max(squares - mean**2, 0.0) / n)
            return [counted, wald("log_loss", mean, spread)]
        case _:
            return [
                counted,
                Metric(name="events", value=sums["events"]),
                Metric(name="log_likelihood", value=sums["ll"]),
            ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Of one class: rows of it that were taken for it, rows of it, rows taken for it."""

    right: int
    rows: int
    taken: int

    @staticmethod
    def of(sums: Sums) -> "Hits | None":
        """From ``hits``; None where the rows taken for it and the others are counted together."""
        if sums["n0"] < 0 or sums["n1"] < 0:
            return None
        right, missed, wrong = (round(sums[name]) for name in ("p1", "p0", "n1"))
        return Hits(right=right, rows=right + missed, taken=right + wrong)


def hits_round(asked: Round, place: int) -> Round:
    """Which rows are taken for class ``place``, by the numbers of ``asked``, a round of ``score_classes``."""
    return Round("hits", asked.centre, asked.scale, (float(place), *asked.state))


def hit_metrics(classes: Sequence[str], hits: Mapping[str, Hits | None], n: int) -> list[Metric]:
    """Accuracy, then of each class the share of its rows that are taken for it, and of those taken for it that
    are of it."""
    known = [one for one in hits.values() if one is not None]
    right = None
    if len(known) == len(classes):
        right = share_of(sum(one.right for one in known), n)
    spread = None if right is None else sqrt(right * (1 - right) / n)
    found = [wald("accuracy", right, spread)]
    for name in classes:
        one = hits.get(name)
        found.append(_rate(f"recall: {name}", one.right if one else 0, one.rows if one else 0))
        found.append(_rate(f"precision: {name}", one.right if one else 0, one.taken if one else 0))
    return found


def _rate(name: str, part: int, rows: int) -> Metric:
    if not rows:
        return Metric(name=name, value=None)
    low, high = wilson(part, rows)
    return Metric(name=name, value=part / rows, low=low, high=high, n=rows)


def _explained(model: Components, sums: Sums, n: int) -> list[Metric]:
    """Variance along each kept component by that of all features, both of these rows; and what is left of a
    row's squared distance from the model's centre."""
    size = len(model.scale)
    names = [f"explained_{place + 1}" for place in range(len(model.loadings))]
    if not n:
        return [
            Metric(name=one, value=None) for one in ("explained", *names, "mean_squared_residual")
        ]
    loadings = np.array(model.loadings)
    moments = square(sums, size + 1) / n
    mean, second = moments[0, 1:], moments[1:, 1:]
    covariance = second - np.outer(mean, mean)
    along = np.einsum("ci,ij,cj->c", loadings, covariance, loadings)
    total = float(np.trace(covariance))
    shares = [float(one) / total if total > 0 else None for one in along]
    residual = float(np.trace(second) - np.einsum("ci,ij,cj->", loadings, second, loadings))
    return [
        Metric(name="explained", value=float(along.sum()) / total if total > 0 else None),
        *(Metric(name=name, value=one) for name, one in zip(names, shares, strict=True)),
        Metric(name="mean_squared_residual", value=max(residual, 0.0)),
    ]


def _placing(model: Classes, size: int) -> tuple[Array, Array]:
    """Mean and deviation of each number over the rows of the training; indicators stay as they are."""
    centre, scale = np.zeros(size), np.ones(size)
    weight = np.exp(np.array(model.log_prior))[:, None]
    means, variances = np.array(model.means), np.array(model.variances)
    mean = (weight * means).sum(axis=0)
    spread = (weight * (variances + (means - mean) ** 2)).sum(axis=0)
    places = list(model.numbers)
    centre[places], scale[places] = mean, np.sqrt(spread)
    return centre, scale


def _predictors(model: Classes, centre: Array, scale: Array) -> Array:
    """Per class: a constant, a slope of each column and one of its square; together the log-probability of a
    row with that class, as ``predicting.log_joint``."""
    size = len(centre)
    found = np.zeros((len(model.classes), 1 + 2 * size))
    found[:, 0] = model.log_prior
    numbers, indicators = np.array(model.numbers, dtype=int), np.array(model.indicators, dtype=int)
    for c in range(len(model.classes)):
        mean, variance = np.array(model.means[c]), np.array(model.variances[c])
        away, unit = centre[numbers] - mean, scale[numbers]
        found[c, 0] -= np.sum(np.log(2 * np.pi * variance) + away**2 / variance) / 2
        found[c, 1 + numbers] = -unit * away / variance
        found[c, 1 + size + numbers] = -(unit**2) / (2 * variance)
        true, false = np.array(model.log_true[c]), np.array(model.log_false[c])
        found[c, 0] += np.sum(false)
        found[c, 1 + indicators] = true - false
    return found
