"""A fitted model as data: what describes it and what predictions need. Numbers and names only.

Rule to keep: everything here is in the raw scale of the features unless it says otherwise, and
nothing here is a row.
"""

from typing import Literal as OneOf

import msgspec

from podsql.engine.training.survival import Curve, LogRank
from podsql.engine.training.tails import normal_two_sided, student_two_sided
from podsql.planner.fragment import Activation, Loss

INTERCEPT = "(intercept)"
"""The name of the constant among a model's terms."""

Link = OneOf["identity", "logit", "log", "hazard"]
"""How the response follows from the linear predictor: as it is, 1/(1+exp(-eta)), exp(eta), or
exp(eta) as the hazard beside a row at the features' means."""


class Coefficients(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="coefficients/1", kw_only=True
):
    """A linear predictor: ``at_centre + sum(slopes[j] * (x[j] - centre[j]))``."""

    link: Link
    names: tuple[str, ...]
    """Of ``estimates``: ``(intercept)`` first (a Cox model has none), then the features'."""
    estimates: tuple[float, ...]
    covariance: tuple[float, ...]
    """Of the estimates, row by row. With a penalty: how far the penalised estimate spreads. Empty: not
    known, as of a model with noise."""
    dispersion: float
    freedom: float | None
    """Residual degrees of freedom where the dispersion is estimated (Student's t), else None."""
    penalty: float
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    at_centre: float
    """The linear predictor of a row at ``centre``."""

    @property
    def slopes(self) -> tuple[float, ...]:
        """One estimate for each feature."""
        return self.estimates[len(self.estimates) - len(self.centre) :]


class Centres(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="centres/1", kw_only=True
):
    """Clusters: a row is of the nearest centre, in units of ``scale``; the lowest number of ties."""

    centres: tuple[tuple[float, ...], ...]
    sizes: tuple[int, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]


class Components(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="components/1", kw_only=True
):
    """Principal components: ``sum(loadings[c][j] * (x[j] - centre[j]) / scale[j])``."""

    loadings: tuple[tuple[float, ...], ...]
    variances: tuple[float, ...]
    """Of every kept component, largest first."""
    shares: tuple[float, ...]
    """Of the whole variance."""
    correlation: tuple[float, ...]
    """Of the features, row by row."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]


class Classes(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="classes/1", kw_only=True
):
    """Naive Bayes: a row's joint log-probability with class ``c`` is ``log_prior[c]`` and, of every
    number, its normal log-density, of every indicator, ``log_true`` or ``log_false``."""

    classes: tuple[str, ...]
    sizes: tuple[int, ...]
    log_prior: tuple[float, ...]
    numbers: tuple[int, ...]
    """Places of the features that are numbers; ``means`` and ``variances`` are of these."""
    means: tuple[tuple[float, ...], ...]
    variances: tuple[tuple[float, ...], ...]
    indicators: tuple[int, ...]
    log_true: tuple[tuple[float, ...], ...]
    log_false: tuple[tuple[float, ...], ...]
    """0 for the levels of a column: what a row is not says nothing beside what it is."""


class Network(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="network/1", kw_only=True
):
    """Layers of weighted sums, an activation between them (``planner/training/local_steps.py`` tells the
    order of ``weights``) over ``(x[j] - centre[j]) / scale[j]``. The output of squared errors is
    ``aim[0] + aim[1] * z``."""

    sizes: tuple[int, ...]
    """Features, units of each hidden layer, outputs."""
    activation: Activation
    loss: Loss
    weights: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    aim: tuple[float, float]


class Curves(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="curves/1", kw_only=True):
    """Survival by bin of time: a curve for each arm. It foretells nothing of a row."""

    edges: tuple[float, ...]
    """Where bins begin, and the horizon."""
    curves: tuple[Curve, ...]
    log_rank: LogRank | None
    """None: there is nothing to compare."""


Parameters = Coefficients | Centres | Components | Classes | Network | Curves


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="fitted/1", kw_only=True):
    """A model that is done. ``metrics`` are numbers by name, ``trace`` the objective of each round."""

    method: str
    terms: tuple[str, ...]
    targets: tuple[str, ...]
    n: int
    dropped: int
    rounds: int
    parameters: Parameters
    metrics: dict[str, float]
    trace: tuple[float, ...] = ()
    provenance: dict[str, str] = {}


class Estimate(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True
):
    """One row of what describes a model. None: it has no such number."""

    term: str
    estimate: float
    std_error: float | None = None
    statistic: float | None = None
    p_value: float | None = None


def estimates(fitted: Fitted) -> tuple[Estimate, ...]:
    """The terms of a linear predictor with standard errors, z or t, and two-sided p-values.

    Under a penalty there is no test: the estimate is drawn to 0 by choice. Without a covariance there
    are no errors either.
    """
    model = fitted.parameters
    if not isinstance(model, Coefficients):
        return ()
    pairs = zip(model.names, model.estimates, strict=True)
    if not model.covariance:
        return tuple(Estimate(term=name, estimate=value) for name, value in pairs)
    found, size = [], len(model.estimates)
    for place, (name, value) in enumerate(pairs):
        spread = max(model.covariance[place * size + place], 0.0) ** 0.5
        if model.penalty or not spread:
            found.append(Estimate(term=name, estimate=value, std_error=spread))
            continue
        ratio = value / spread
        p = normal_two_sided(ratio) if model.freedom is None else None
        if model.freedom:
            p = student_two_sided(ratio, model.freedom)
        found.append(
            Estimate(term=name, estimate=value, std_error=spread, statistic=ratio, p_value=p)
        )
    return tuple(found)


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Fitted] = msgspec.json.Decoder(Fitted)


def encode_fitted(fitted: Fitted) -> bytes:
    """The model as JSON; every number survives to the last bit."""
    return _ENCODER.encode(fitted)


def decode_fitted(data: bytes) -> Fitted:
    """Read a model; msgspec.ValidationError on anything that is not exactly one."""
    return _DECODER.decode(data)
