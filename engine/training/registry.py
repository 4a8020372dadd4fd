"""The models that a statement may name, their options, and how a fit of one begins.

Rule to keep: a name or an option that a statement gives is checked here, once, before any round.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from podsql.engine.training.cox import Cox, CoxState
from podsql.engine.training.fitting import Design, Fitting
from podsql.engine.training.glm import Glm, GlmState
from podsql.engine.training.kmeans import Kmeans, KmeansState
from podsql.engine.training.moments import listed
from podsql.engine.training.naive_bayes import NaiveBayes, NaiveBayesState
from podsql.engine.training.network_options import NETWORKS
from podsql.engine.training.networks import NetworkState
from podsql.engine.training.noisy import NoisyState
from podsql.engine.training.options import Option, Options, checked
from podsql.engine.training.pca import Pca, PcaState
from podsql.engine.training.survival import KAPLAN_MEIER
from podsql.errors import error
from podsql.planner.fragment import Family

State = GlmState | CoxState | KmeansState | PcaState | NaiveBayesState | NoisyState | NetworkState
"""Every kind of checkpoint."""
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One kind of model. ``targets``: how many columns it predicts, least and most."""

    name: str
    meaning: str
    options: tuple[Option, ...]
    targets: tuple[int, int]
    begin: Callable[[Design, Options, tuple[float, ...]], Any]
    family: Family
    """Of the rounds after the moments."""
    fixed: int = 0
    """How many rounds these are; 0: until the estimate stands."""
    features: int = 0
    """Least number of features."""

    def most_rounds(self, options: Options) -> int:
        """Of all kinds together; one round of moments may have to be repeated."""
        if self.fixed:
            return 2 + self.fixed
        return int(checked(self.name, self.options, options)["rounds"])


def models() -> tuple[Model, ...]:
    """Every kind, in the order in which they are shown."""
    return tuple(_MODELS.values())


def model(name: str) -> Model:
    """The kind ``name``; OPTION with the known ones."""
    if name not in _MODELS:
        raise error(
            "OPTION",
            f"no kind of model is called {name!r}",
            hint=f"known: {', '.join((*_MODELS, *NETWORKS, KAPLAN_MEIER))}",
        )
    return _MODELS[name]


def begin(
    name: str,
    design: Design,
    options: Options | None = None,
    *,
    start: tuple[float, ...] = (),
) -> Fitting[Any]:
    """A fit before its first round.

    Args:
        name: the kind of model.
        design: its columns.
        options: by name; what is left out has its default.
        start: where to begin, in the raw scale: the estimates of an earlier model, or the centres of
            clusters one after the other.
    """
    kind = model(name)
    few, many = kind.targets
    if not few <= len(design.targets) <= many:
        wanted = f"{few}" if few == many else f"at least {few}"
        raise error("OPTION", f"{name} needs {wanted} target columns, not {len(design.targets)}")
    if len(design.features) < kind.features:
        raise error("OPTION", f"{name} needs a feature column")
    return Fitting(kind.begin(design, checked(name, kind.options, options or {}), start))


def encode_snapshot(state: State) -> bytes:
    """A checkpoint's bytes; every number survives to the last bit."""
    return _ENCODER.encode(state)


def decode_snapshot(data: bytes) -> State:
    """Read a checkpoint; msgspec.ValidationError on anything that is not exactly one."""
    return _DECODER.decode(data)


_L2: Final = Option(name="l2", default=0.0, meaning="penalty on the squared slopes, halved")
_TOLERANCE: Final = Option(
    name="tolerance",
    default=1e-8,
    meaning="relative fall of the deviance below which the rounds end",
    above=True,
    most=0.1,
)


_STANDARDIZE: Final = Option(
    name="standardize", default=True, meaning="every feature in its standard deviation"
)


def _rounds(default: int) -> Option:
    return Option(
        name="rounds", default=default, meaning="most rounds in all", least=1, most=10_000
    )


def _glm(name: str, family: Family) -> Callable[[Design, Options, tuple[float, ...]], Glm]:
    def build(design: Design, options: Options, start: tuple[float, ...]) -> Glm:
        _of_length(start, len(design.features) + 1)
        return Glm(
            method=name,
            family=family,
            design=design,
            l2=float(options.get("l2", 0.0)),
            tolerance=float(options.get("tolerance", 1e-8)),
            most_rounds=int(options.get("rounds", 10)),
            start=start,
        )

    return build


def _cox(design: Design, options: Options, start: tuple[float, ...]) -> Cox:
    _of_length(start, len(design.features))
    return Cox(
        method="cox_regression",
        design=design,
        l2=float(options["l2"]),
        tolerance=float(options["tolerance"]),
        most_rounds=int(options["rounds"]),
        start=start,
    )


def _kmeans(design: Design, options: Options, start: tuple[float, ...]) -> Kmeans:
    clusters = int(options["clusters"])
    _of_length(start, clusters * len(design.features))
    return Kmeans(
        method="kmeans",
        design=design,
        clusters=clusters,
        seed=int(options["seed"]),
        tolerance=float(options["tolerance"]),
        most_rounds=int(options["rounds"]),
        standardize=bool(options["standardize"]),
        start=start,
    )


def _pca(design: Design, options: Options, start: tuple[float, ...]) -> Pca:
    _of_length(start, 0)
    components = int(options["components"])
    if components > len(design.features):
        raise error("OPTION", f"pca has at most {len(design.features)} components here")
    return Pca(
        method="pca",
        design=design,
        components=components,
        standardize=bool(options["standardize"]),
    )


def _naive_bayes(design: Design, options: Options, start: tuple[float, ...]) -> NaiveBayes:
    _of_length(start, 0)
    loose = [
        design.terms[j] for one in design.groups for j in one if not design.features[j].indicator
    ]
    if loose:
        raise error("MODEL_STATE", f"levels of a column are indicators: {listed(loose)}")
    return NaiveBayes(
        method="naive_bayes",
        design=design,
        alpha=float(options["alpha"]),
        smoothing=float(options["smoothing"]),
    )


def _of_length(start: tuple[float, ...], wanted: int) -> None:
    if start and len(start) != wanted:
        raise error(
            "MODEL_STATE",
            f"the model to begin at has {len(start)} numbers, not {wanted}",
            hint="begin at a model of the same columns",
        )


_SCORED: Final = (_L2, _TOLERANCE, _rounds(40))
_ALL: Final = (
    Model(
        name="linear_regression",
        meaning="least squares",
        options=(),
        targets=(1, 1),
        begin=_glm("linear_regression", "gaussian"),
        family="gaussian",
        fixed=2,
    ),
    Model(
        name="ridge_regression",
        meaning="least squares with a penalty",
        options=(Option(name="l2", default=1.0, meaning=_L2.meaning, above=True),),
        targets=(1, 1),
        begin=_glm("ridge_regression", "gaussian"),
        family="gaussian",
        fixed=2,
    ),
    Model(
        name="logistic_regression",
        meaning="a target of 0 and 1; logit link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("logistic_regression", "binomial"),
        family="binomial",
    ),
    Model(
        name="poisson_regression",
        meaning="counts; log link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("poisson_regression", "poisson"),
        family="poisson",
    ),
    Model(
        name="gamma_regression",
        meaning="targets above 0 whose spread grows with their mean; log link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("gamma_regression", "gamma"),
        family="gamma",
    ),
    Model(
        name="cox_regression",
        meaning="times to an event; targets: time, event; every pod is a stratum",
        options=(_L2, replace(_TOLERANCE, default=1e-9), _rounds(40)),
        targets=(2, 2),
        features=1,
        begin=_cox,
        family="cox",
    ),
    Model(
        name="kmeans",
        meaning="clusters about their means",
        options=(
            Option(name="clusters", default=None, meaning="how many", least=1, most=1000),
            Option(name="seed", default=0, meaning="another start", most=1e6),
            Option(
                name="tolerance",
                default=1e-4,
                meaning="move of every centre, in standard deviations, below which the rounds end",
            ),
            _rounds(300),
            _STANDARDIZE,
        ),
        targets=(0, 0),
        features=1,
        begin=_kmeans,
        family="kmeans",
    ),
    Model(
        name="pca",
        meaning="principal components",
        options=(
            Option(name="components", default=0, meaning="how many are kept; 0: all"),
            _STANDARDIZE,
        ),
        targets=(0, 0),
        features=1,
        begin=_pca,
        family="products",
        fixed=1,
    ),
    Model(
        name="naive_bayes",
        meaning="classes; targets: the indicator of each",
        options=(
            Option(name="alpha", default=1.0, meaning="added to every count", above=True),
            Option(
                name="smoothing",
                default=1e-9,
                meaning="part of a feature's variance that is added to each class's",
                above=True,
            ),
        ),
        targets=(2, 1000),
        features=1,
        begin=_naive_bayes,
        family="classes",
        fixed=1,
    ),
)
_MODELS: Final = {one.name: one for one in _ALL}
