"""The models that a statement may name, their options, and how a fit of one begins.

Rule to keep: an option that is not known, or not of its range, is OPTION with the known ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import msgspec

from podsql.engine.training.fitting import Design, Fitting
from podsql.engine.training.glm import Glm, GlmState
from podsql.errors import Error, error
from podsql.planner.fragment import Family

Value = float | int | bool
Options = Mapping[str, Value]
State = GlmState
"""Every kind of checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What an option means. ``default`` None: it must be given."""

    name: str
    default: Value | None
    meaning: str
    least: float = 0.0
    above: bool = False
    """``least`` itself is not allowed."""
    most: float = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One kind of model. ``targets``: how many columns it predicts, least and most."""

    name: str
    meaning: str
    options: tuple[Option, ...]
    targets: tuple[int, int]
    begin: Callable[[Design, Options, tuple[float, ...]], Any]


def models() -> tuple[Model, ...]:
    """Every kind, in the order in which they are shown."""
    return tuple(_MODELS.values())


def model(name: str) -> Model:
    """The kind ``name``; OPTION with the known ones."""
    if name not in _MODELS:
        raise error(
            "OPTION", f"no kind of model is called {name!r}", hint=f"known: {', '.join(_MODELS)}"
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
    return Fitting(kind.begin(design, checked(kind, options or {}), start))


def checked(kind: Model, options: Options) -> dict[str, Value]:
    """Every option of ``kind`` with its value; OPTION for an unknown or a wrong one."""
    known = {option.name: option for option in kind.options}
    for name in options:
        if name not in known:
            raise error(
                "OPTION",
                f"{kind.name} has no option {name!r}",
                hint=f"known: {', '.join(known)}" if known else "it has none",
            )
    found: dict[str, Value] = {}
    for option in kind.options:
        value = options.get(option.name, option.default)
        if value is None:
            raise error("OPTION", f"{kind.name} needs the option {option.name!r}")
        found[option.name] = _of_range(kind, option, value)
    return found


def encode_snapshot(state: State) -> bytes:
    """A checkpoint's bytes; every number survives to the last bit."""
    return msgspec.msgpack.encode(state)


def decode_snapshot(data: bytes) -> State:
    """Read a checkpoint; msgspec.ValidationError on anything that is not exactly one."""
    return msgspec.msgpack.decode(data, type=State)


def _of_range(kind: Model, option: Option, value: Value) -> Value:
    if isinstance(option.default, bool):
        if isinstance(value, bool):
            return value
        raise _wrong(kind, option, "true or false")
    whole = isinstance(option.default, int) or option.default is None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise _wrong(kind, option, "a number")
    if whole and value != int(value):
        raise _wrong(kind, option, "a whole number")
    low = value <= option.least if option.above else value < option.least
    if low or value > option.most:
        bound = "above" if option.above else "at least"
        raise _wrong(kind, option, f"{bound} {option.least:g}, at most {option.most:g}")
    return int(value) if whole else float(value)


def _wrong(kind: Model, option: Option, wanted: str) -> Error:
    return error(
        "OPTION",
        f"the option {option.name!r} of {kind.name} is not {wanted}",
        hint=f"{option.name}: {option.meaning}",
    )


_L2: Final = Option(name="l2", default=0.0, meaning="penalty on the squared slopes, halved")
_TOLERANCE: Final = Option(
    name="tolerance",
    default=1e-8,
    meaning="relative fall of the deviance below which the rounds end",
    above=True,
    most=0.1,
)


def _rounds(default: int) -> Option:
    return Option(
        name="rounds", default=default, meaning="most rounds in all", least=1, most=10_000
    )


def _glm(name: str, family: Family) -> Callable[[Design, Options, tuple[float, ...]], Glm]:
    def build(design: Design, options: Options, start: tuple[float, ...]) -> Glm:
        if start and len(start) != len(design.features) + 1:
            raise error("MODEL_STATE", "the model to begin at has other columns")
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


_SCORED: Final = (_L2, _TOLERANCE, _rounds(40))
_ALL: Final = (
    Model(
        name="linear_regression",
        meaning="least squares",
        options=(),
        targets=(1, 1),
        begin=_glm("linear_regression", "gaussian"),
    ),
    Model(
        name="ridge_regression",
        meaning="least squares with a penalty",
        options=(Option(name="l2", default=1.0, meaning=_L2.meaning, above=True),),
        targets=(1, 1),
        begin=_glm("ridge_regression", "gaussian"),
    ),
    Model(
        name="logistic_regression",
        meaning="a target of 0 and 1; logit link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("logistic_regression", "binomial"),
    ),
    Model(
        name="poisson_regression",
        meaning="counts; log link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("poisson_regression", "poisson"),
    ),
    Model(
        name="gamma_regression",
        meaning="targets above 0 whose spread grows with their mean; log link",
        options=_SCORED,
        targets=(1, 1),
        begin=_glm("gamma_regression", "gamma"),
    ),
)
_MODELS: Final = {one.name: one for one in _ALL}
