"""What a network says of rows: numpy over features, and the same as expressions of DuckDB.

Rule to keep: both are of 64-bit numbers and by the same formulas; NULL in a feature is NULL in every
output; a network whose expression would be too long is refused, never cut.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from podsql.engine.training.fitted import Network
from podsql.engine.training.information import Array
from podsql.errors import error
from podsql.planner.training.written import number

MOST_TEXT: Final = 20_000
"""Characters of what an output is made of: every unit is written out where it is used, planning takes a
second for some 4,000, and a pod takes statements of 64 KiB."""


def network_outputs(model: Network) -> tuple[str, ...]:
    """Names of what a network foretells, in order."""
    if model.loss == "softmax":
        return (*(f"probability_{c + 1}" for c in range(model.sizes[-1])), "class")
    return ("linear", "response")


def network_predicted(model: Network, x: Array) -> Mapping[str, Any]:
    """Of rows by features, every output by name."""
    z = (x - np.array(model.centre)) / np.array(model.scale)
    found = kernels(model)
    for place, (kernel, biases) in enumerate(found):
        z = z @ kernel.T + biases
        if place < len(found) - 1:
            z = np.maximum(z, 0.0) if model.activation == "relu" else np.tanh(z)
    if model.loss == "softmax":
        share = np.exp(z - z.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        named: dict[str, Any] = {f"probability_{c + 1}": share[:, c] for c in range(len(share.T))}
        return named | {"class": np.argmax(z, axis=1) + 1}
    linear = model.aim[0] + model.aim[1] * z[:, 0]
    if model.loss == "squared":
        return {"linear": linear, "response": linear}
    with np.errstate(over="ignore"):
        return {"linear": linear, "response": 1 / (1 + np.exp(-linear))}


def network_sql(model: Network, x: Sequence[str]) -> Mapping[str, str]:
    """Every output as an expression over those of the features; NOT_SUPPORTED if one is too long."""
    known = f"({' + '.join(x)}) IS NOT NULL"
    units = [f"({one} - {number(centre)})" for one, centre in zip(x, model.centre, strict=True)]
    layers = kernels(model)
    layers[0] = (layers[0][0] / np.array(model.scale), layers[0][1])
    *hidden, (kernel, biases) = layers
    for inner, constants in hidden:
        name = "greatest(0.0::DOUBLE, {})" if model.activation == "relu" else "tanh({})"
        units = [
            name.format(_added(units, row, bias))
            for row, bias in zip(inner, constants, strict=True)
        ]
    found = _named(model, units, kernel, biases)
    return {name: f"CASE WHEN {known} THEN {one} END" for name, one in found.items()}


def _named(model: Network, units: Sequence[str], kernel: Array, biases: Array) -> Mapping[str, str]:
    if model.loss != "softmax":
        score = _added(units, kernel[0], biases[0])
        linear = f"({number(model.aim[0])} + {number(model.aim[1])} * {score})"
        logistic = f"(1 / (1 + exp(-{linear})))"
        return {"linear": linear, "response": linear if model.loss == "squared" else logistic}
    many = range(len(biases))
    # how far class b is above class c: what is before the last layer is written once
    above = [
        [_added(units, kernel[b] - kernel[c], biases[b] - biases[c]) for b in many if b != c]
        for c in many
    ]
    _require_short(sum(map(len, above[0])))
    shares = [f"(1 / (1 + {' + '.join(f'exp({one})' for one in others)}))" for others in above]
    scores = [_added(units, row, bias) for row, bias in zip(kernel, biases, strict=True)]
    places = " ".join(f"WHEN {one} THEN {c + 1}" for c, one in enumerate(scores))
    named = {f"probability_{c + 1}": one for c, one in enumerate(shares)}
    return named | {"class": f"(CASE greatest({', '.join(scores)}) {places} END)"}


def kernels(model: Network) -> list[tuple[Array, Array]]:
    """The kernel (outputs by inputs) and the biases of each layer."""
    flat, at, found = np.array(model.weights), 0, []
    for inputs, outputs in pairwise(model.sizes):
        middle, end = at + inputs * outputs, at + (inputs + 1) * outputs
        found.append((flat[at:middle].reshape(outputs, inputs), flat[middle:end]))
        at = end
    return found


def _added(units: Sequence[str], weights: Array, bias: float) -> str:
    _require_short(sum(map(len, units)))
    terms = [f"{number(w)} * {one}" for w, one in zip(weights.tolist(), units, strict=True)]
    return f"({' + '.join([number(float(bias)), *terms])})"


def _require_short(size: int) -> None:
    if size > MOST_TEXT:
        raise error(
            "NOT_SUPPORTED",
            "the network is too large to be written as an expression of SQL",
            hint="EXPORT MODEL to safetensors and predict outside; or one hidden layer, or smaller ones",
        )
