"""What a model says of rows: numpy over Arrow columns.

The columns of ``outputs`` by kind: a linear predictor gives ``linear`` and ``response`` (of a Cox model the
hazard beside a row at the means); clusters ``cluster`` and ``distance`` (in units of the scale);
components ``component_1``, …; classes ``probability_1``, … and ``class``, the number of the likeliest,
from 1; networks as one or the other. A row that lacks a feature has NULL in all of them.
Rule to keep: ``predicting_sql.py`` says the same by the same formulas.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from podsql.engine.training.fitted import (
    Centres,
    Classes,
    Coefficients,
    Components,
    Curves,
    Fitted,
    Network,
)
from podsql.engine.training.information import Array
from podsql.engine.training.network_predicting import network_outputs, network_predicted
from podsql.errors import Error, error


def outputs(fitted: Fitted) -> tuple[str, ...]:
    """Names of what ``predict`` gives, in order; whole numbers are ``cluster`` and ``class``.

    NOT_SUPPORTED for curves, which foretell nothing of a row.
    """
    match fitted.parameters:
        case Coefficients():
            return ("linear", "response")
        case Centres():
            return ("cluster", "distance")
        case Components(loadings=loadings):
            return tuple(f"component_{c + 1}" for c in range(len(loadings)))
        case Classes(classes=classes):
            return (*(f"probability_{c + 1}" for c in range(len(classes))), "class")
        case Network() as model:
            return network_outputs(model)
        case Curves():
            raise no_prediction(fitted)


def predict(fitted: Fitted, columns: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Table:
    """Predictions for rows.

    Args:
        columns: one of numbers or booleans for each of ``fitted.terms``, all of one length.
    """
    if len(columns) != len(fitted.terms):
        raise error(
            "ARGUMENT", f"the model has {len(fitted.terms)} features, not {len(columns)} columns"
        )
    rows = [_doubles(column) for column in columns]
    length = len(rows[0][0]) if rows else 0
    missing = np.any([lacks for _, lacks in rows], axis=0) if rows else np.zeros(0, dtype=bool)
    x = np.column_stack([values for values, _ in rows]) if rows else np.zeros((length, 0))
    found = _predicted(fitted, x)
    whole = ("cluster", "class")
    return pa.table(
        {
            name: pa.array(found[name], pa.int64() if name in whole else pa.float64(), mask=missing)
            for name in outputs(fitted)
        }
    )


def _doubles(column: pa.Array | pa.ChunkedArray) -> tuple[Array, Any]:
    """Values with 0 for NULL, and where NULL is."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    lacks = column.is_null().to_numpy(zero_copy_only=False)
    values = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
    return values, lacks


def _predicted(fitted: Fitted, x: Array) -> Mapping[str, Any]:
    match fitted.parameters:
        case Coefficients() as model:
            linear = model.at_centre + (x - np.array(model.centre)) @ np.array(model.slopes)
            return {"linear": linear, "response": response(model, linear)}
        case Centres() as model:
            scale = np.array(model.scale)
            placed = [np.sum(((x - np.array(at)) / scale) ** 2, axis=1) for at in model.centres]
            squares = np.column_stack(placed)
            return {"cluster": np.argmin(squares, axis=1), "distance": np.sqrt(squares.min(axis=1))}
        case Components() as model:
            placed = (x - np.array(model.centre)) / np.array(model.scale)
            values = placed @ np.array(model.loadings).T
            return {f"component_{c + 1}": values[:, c] for c in range(values.shape[1])}
        case Classes() as model:
            joint = log_joint(model, x)
            best = np.argmax(joint, axis=1)
            share = np.exp(joint - joint.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            found: dict[str, Any] = {
                f"probability_{c + 1}": share[:, c] for c in range(len(share.T))
            }
            return found | {"class": best + 1}
        case Network() as model:
            return network_predicted(model, x)
        case Curves():
            raise no_prediction(fitted)


def no_prediction(fitted: Fitted) -> Error:
    """NOT_SUPPORTED: the model foretells nothing of a row."""
    return error("NOT_SUPPORTED", f"a model of {fitted.method} foretells nothing of a row")


def response(model: Coefficients, linear: Array) -> Array:
    """The mean of the target (of a Cox model the relative hazard) at linear predictors."""
    if model.link == "identity":
        return linear
    with np.errstate(over="ignore"):
        if model.link == "logit":
            return np.asarray(1 / (1 + np.exp(-linear)), dtype=np.float64)
        return np.asarray(np.exp(linear), dtype=np.float64)


def log_joint(model: Classes, x: Array) -> Array:
    """Log-probability of a row's features together with each class."""
    found = np.tile(np.array(model.log_prior), (len(x), 1))
    numbers, indicators = x[:, list(model.numbers)], x[:, list(model.indicators)]
    for c in range(len(model.classes)):
        mean, variance = np.array(model.means[c]), np.array(model.variances[c])
        found[:, c] -= np.sum(np.log(2 * np.pi * variance)) / 2
        found[:, c] -= np.sum((numbers - mean) ** 2 / variance, axis=1) / 2
        true, false = np.array(model.log_true[c]), np.array(model.log_false[c])
        found[:, c] += np.sum(np.where(indicators == 1, true, false), axis=1)
    return found
