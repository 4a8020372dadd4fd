"""What describes a fitted model: one row a number, by the name of its term."""

from collections.abc import Iterator

from podsql.engine.training.fitted import (
    Centres,
    Classes,
    Components,
    Estimate,
    Fitted,
    Network,
    estimates,
)
from podsql.engine.training.network_predicting import kernels


def described(fitted: Fitted) -> tuple[Estimate, ...]:
    """Coefficients with their tests; of other kinds centres, loadings or class parameters."""
    match fitted.parameters:
        case Centres() as model:
            return tuple(_centres(model, fitted.terms))
        case Components() as model:
            return tuple(_components(model, fitted.terms))
        case Classes() as model:
            return tuple(_classes(model, fitted.terms))
        case Network() as model:
            return tuple(_weights(model, fitted.terms))
        case _:
            return estimates(fitted)


def _centres(model: Centres, terms: tuple[str, ...]) -> Iterator[Estimate]:
    for number, (centre, size) in enumerate(zip(model.centres, model.sizes, strict=True)):
        yield Estimate(term=f"cluster {number}: n", estimate=float(size))
        for term, value in zip(terms, centre, strict=True):
            yield Estimate(term=f"cluster {number}: {term}", estimate=value)


def _components(model: Components, terms: tuple[str, ...]) -> Iterator[Estimate]:
    for number, loadings in enumerate(model.loadings, 1):
        yield Estimate(term=f"component {number}: variance", estimate=model.variances[number - 1])
        yield Estimate(term=f"component {number}: share", estimate=model.shares[number - 1])
        for term, value in zip(terms, loadings, strict=True):
            yield Estimate(term=f"component {number}: {term}", estimate=value)


def _classes(model: Classes, terms: tuple[str, ...]) -> Iterator[Estimate]:
    for number, name in enumerate(model.classes):
        yield Estimate(term=f"{name}: n", estimate=float(model.sizes[number]))
        for at, place in enumerate(model.numbers):
            yield Estimate(term=f"{name}: mean of {terms[place]}", estimate=model.means[number][at])
            yield Estimate(
                term=f"{name}: variance of {terms[place]}", estimate=model.variances[number][at]
            )
        for at, place in enumerate(model.indicators):
            yield Estimate(
                term=f"{name}: log probability of {terms[place]}",
                estimate=model.log_true[number][at],
            )


def _weights(model: Network, terms: tuple[str, ...]) -> Iterator[Estimate]:
    """Of each unit of each layer its constant, then what it makes of the layer before."""
    before = terms
    for layer, (kernel, biases) in enumerate(kernels(model), 1):
        for unit, (row, bias) in enumerate(zip(kernel.tolist(), biases.tolist(), strict=True), 1):
            yield Estimate(term=f"layer {layer}, unit {unit}: (intercept)", estimate=bias)
            for term, weight in zip(before, row, strict=True):
                yield Estimate(term=f"layer {layer}, unit {unit}: {term}", estimate=weight)
        before = tuple(f"unit {unit + 1}" for unit in range(len(biases)))
