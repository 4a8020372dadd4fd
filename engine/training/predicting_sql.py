"""What a model says of rows, as expressions of DuckDB over those of its features.

Rule to keep: SQL is made of finite numbers and of the expressions that are given, each in parentheses;
NULL in a feature is NULL in every output.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import log, pi

from podsql.engine.training.fitted import (
    Centres,
    Classes,
    Coefficients,
    Components,
    Curves,
    Fitted,
    Network,
)
from podsql.engine.training.network_predicting import network_sql
from podsql.engine.training.predicting import no_prediction
from podsql.errors import error
from podsql.planner.training.written import number


def predict_sql(fitted: Fitted, features: Sequence[str]) -> Mapping[str, str]:
    """An expression for each of ``predicting.outputs``, by name.

    Args:
        features: one expression of a number for each of ``fitted.terms``; an indicator as 0 or 1.
    """
    if len(features) != len(fitted.terms):
        raise error(
            "ARGUMENT",
            f"the model has {len(fitted.terms)} features, not {len(features)} expressions",
        )
    x = [f"CAST(({one}) AS DOUBLE)" for one in features]
    match fitted.parameters:
        case Coefficients() as model:
            return _linear(model, x)
        case Centres() as model:
            return _nearest(model, x)
        case Components() as model:
            return {
                f"component_{c + 1}": _added(
                    f"{number(loading)} * {_placed(x[j], model.centre[j], model.scale[j])}"
                    for j, loading in enumerate(loadings)
                )
                for c, loadings in enumerate(model.loadings)
            }
        case Classes() as model:
            return _classes(model, x)
        case Network() as model:
            return network_sql(model, x)
        case Curves():
            raise no_prediction(fitted)


def _linear(model: Coefficients, x: list[str]) -> Mapping[str, str]:
    terms = [number(model.at_centre)]
    terms += [
        f"{number(slope)} * ({x[j]} - {number(model.centre[j])})"
        for j, slope in enumerate(model.slopes)
    ]
    linear = _added(terms)
    of_link = {
        "identity": linear,
        "logit": f"(1 / (1 + exp(-{linear})))",
        "log": f"exp({linear})",
        "hazard": f"exp({linear})",
    }
    return {"linear": linear, "response": of_link[model.link]}


def _nearest(model: Centres, x: list[str]) -> Mapping[str, str]:
    squares = [
        _added(
            f"power({_placed(x[j], value, model.scale[j])}, 2)" for j, value in enumerate(centre)
        )
        for centre in model.centres
    ]
    least = f"least({', '.join(squares)})"
    # an operand of CASE is compared in order: the first of equal distances is taken
    places = " ".join(f"WHEN {one} THEN {c}" for c, one in enumerate(squares))
    return {"cluster": f"(CASE {least} {places} END)", "distance": f"sqrt({least})"}


def _classes(model: Classes, x: list[str]) -> Mapping[str, str]:
    joint = [_joint(model, x, c) for c in range(len(model.classes))]
    # 1 over the sum of the odds of the others: no exponential of a joint probability vanishes alone
    shares = [f"(1 / {_added(f'exp({other} - {one})' for other in joint)})" for one in joint]
    highest = f"greatest({', '.join(joint)})"
    places = " ".join(f"WHEN {one} THEN {c + 1}" for c, one in enumerate(joint))
    named = {f"probability_{c + 1}": one for c, one in enumerate(shares)}
    return named | {"class": f"(CASE {highest} {places} END)"}


def _joint(model: Classes, x: list[str], c: int) -> str:
    constant = model.log_prior[c] - sum(log(2 * pi * one) for one in model.variances[c]) / 2
    terms = [number(constant)]
    for place, mean, variance in zip(
        model.numbers, model.means[c], model.variances[c], strict=True
    ):
        terms.append(f"{number(-0.5)} * power({x[place]} - {number(mean)}, 2) / {number(variance)}")
    for place, true, false in zip(
        model.indicators, model.log_true[c], model.log_false[c], strict=True
    ):
        # NULL is neither: CASE without ELSE
        terms.append(
            f"CASE WHEN {x[place]} = 1 THEN {number(true)} WHEN {x[place]} <> 1 THEN {number(false)} END"
        )
    return _added(terms)


def _placed(x: str, centre: float, scale: float) -> str:
    return f"(({x} - {number(centre)}) / {number(scale)})"


def _added(terms: Iterable[str]) -> str:
    return f"({' + '.join(terms)})"
