"""The kinds of model that can be trained with noise, their options, and why others cannot.

Rule to keep: a kind is here only if what one privacy unit adds to each of its rounds is bounded by
public ranges, and the number of its rounds is known before the first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from podsql.engine.training.fitting import Design, Fitting
from podsql.engine.training.noisy import NoisyLinear, NoisyLogistic, Scale
from podsql.engine.training.options import Option, Options, checked
from podsql.errors import error

STEPS: Final = 20
_L2: Final = Option(name="l2", default=0.0, meaning="penalty on the squared slopes, halved")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyKind:
    """One kind of model. ``family``: of its rounds."""

    name: str
    options: tuple[Option, ...]
    family: Literal["gaussian", "binomial"]
    begin: Callable[[Design, Scale, Options], Any]

    def rounds(self, options: Options) -> int:
        """How many there are, whatever the data; OPTION for wrong options."""
        return 1 + int(checked(self.name, self.options, options).get("rounds", 0))


def noisy_kind(name: str) -> NoisyKind:
    """The kind ``name``, which is one of the registry's; NOT_SUPPORTED with the reason if it has none."""
    if name in _KINDS:
        return _KINDS[name]
    raise error(
        "NOT_SUPPORTED",
        f"{name} is not trained with noise: {_WHY_NOT.get(name, _NOT_BUILT)}",
        hint=f"with privacy = 'dp': {', '.join(_KINDS)}",
    )


def begin_noisy(name: str, design: Design, scale: Scale, options: Options) -> Fitting[Any]:
    """A fit before its first round."""
    kind = noisy_kind(name)
    return Fitting(kind.begin(design, scale, checked(name, kind.options, options)))


def _linear(name: str) -> Callable[[Design, Scale, Options], NoisyLinear]:
    def build(design: Design, scale: Scale, options: Options) -> NoisyLinear:
        l2 = float(options.get("l2", 0.0))
        return NoisyLinear(method=name, design=design, scale=scale, l2=l2)

    return build


def _logistic(design: Design, scale: Scale, options: Options) -> NoisyLogistic:
    return NoisyLogistic(
        method="logistic_regression",
        design=design,
        scale=scale,
        steps=int(options["rounds"]),
        l2=float(options["l2"]),
    )


_KINDS: Final = {
    one.name: one
    for one in (
        NoisyKind(
            name="linear_regression",
            options=(),
            family="gaussian",
            begin=_linear("linear_regression"),
        ),
        NoisyKind(
            name="ridge_regression",
            options=(Option(name="l2", default=1.0, meaning=_L2.meaning, above=True),),
            family="gaussian",
            begin=_linear("ridge_regression"),
        ),
        NoisyKind(
            name="logistic_regression",
            options=(
                _L2,
                Option(
                    name="rounds",
                    default=STEPS,
                    meaning="steps, over which the price is split",
                    least=1,
                    most=999,
                ),
            ),
            family="binomial",
            begin=_logistic,
        ),
    )
}
_UNBOUNDED: Final = "no public bound holds for what one person adds to its score"
_NOT_BUILT: Final = "nobody has bounded yet what one person adds to all of its rounds"
_WHY_NOT: Final = {
    "poisson_regression": _UNBOUNDED,
    "gamma_regression": _UNBOUNDED,
    "cox_regression": "a person is in the risk set of everybody whose event was earlier",
    "kmeans": "its rounds end when the data say so",
}
