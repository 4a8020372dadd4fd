"""Options of networks: their kinds, defaults, and whether given ones are right.

Rule to keep: an option is taken only by the kinds and strategies that use it, so that none is ignored.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from podsql.errors import Error, error
from podsql.planner.fragment import Activation
from podsql.planner.training.local_steps import (
    MOST_EPOCHS,
    MOST_LAYERS,
    MOST_SEED,
    MOST_UNITS,
)

Strategy = Literal["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "median", "trimmed_mean"]
STRATEGIES: Final = Strategy.__args__  # type: ignore[attr-defined]
NETWORKS: Final = {
    "linear_network": "a number, by one layer without hidden units",
    "logistic_network": "a condition, or 0 and 1, by one layer without hidden units",
    "mlp": "a number, a condition or a category, by hidden layers",
}
"""Kinds of models that are trained by local steps, and what they foretell."""
MOST_ROUNDS: Final = 10_000
MOST_RATE: Final = 1000.0
_SERVERS: Final = {"fedavgm": 1.0, "fedadam": 0.01, "fedyogi": 0.01}
_WITH: Final[Mapping[str, tuple[str, ...]]] = {
    "proximal": ("fedprox",),
    "momentum": ("fedavgm",),
    "server_lr": tuple(_SERVERS),
    "trim": ("trimmed_mean",),
}
"""Options of single strategies."""


class NetworkOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``lr``, ``batch`` (0: all rows at once), ``epochs`` and ``l2`` are of the pods' steps."""

    hidden: tuple[int, ...] = ()
    activation: Activation = "relu"
    rounds: int = 20
    epochs: int = 1
    lr: float = 0.1
    batch: int = 64
    seed: int = 0
    l2: float = 0.0
    strategy: Strategy = "fedavg"
    proximal: float = 0.0
    momentum: float = 0.9
    server_lr: float = 1.0
    trim: float = 0.2
    patience: int = 0
    """Rounds without a smaller loss after which no more are asked; 0: all are."""
    tolerance: float = 1e-4
    """By which part a loss must be smaller than the least one to count."""


_READ: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "hidden": lambda name, value: _sizes(name, value),
    "activation": lambda name, value: _one_of(name, value, ("relu", "tanh")),
    "rounds": lambda name, value: _whole(name, value, 1, MOST_ROUNDS),
    "epochs": lambda name, value: _whole(name, value, 1, MOST_EPOCHS),
    "lr": lambda name, value: _number(name, value, 0, MOST_RATE, above=True),
    "batch": lambda name, value: _whole(name, value, 0, MOST_SEED),
    "seed": lambda name, value: _whole(name, value, 0, MOST_SEED),
    "l2": lambda name, value: _number(name, value, 0, MOST_RATE),
    "strategy": lambda name, value: _one_of(name, value, STRATEGIES),
    "proximal": lambda name, value: _number(name, value, 0, MOST_RATE),
    "momentum": lambda name, value: _number(name, value, 0, 0.9999),
    "server_lr": lambda name, value: _number(name, value, 0, MOST_RATE, above=True),
    "trim": lambda name, value: _number(name, value, 0, 0.4999),
    "patience": lambda name, value: _whole(name, value, 0, MOST_ROUNDS),
    "tolerance": lambda name, value: _number(name, value, 0, 1),
}


def network_options(kind: str, given: Mapping[str, Any]) -> NetworkOptions:
    """The options of a statement with the defaults of the rest; OPTION for a wrong one."""
    known = [name for name in _READ if kind == "mlp" or name not in ("hidden", "activation")]
    for name in given:
        if name not in known:
            raise error(
                "OPTION", f"{kind} has no option {name!r}", hint=f"known: {', '.join(known)}"
            )
    found = {name: _READ[name](name, value) for name, value in given.items()}
    strategy = found.get("strategy", "fedavg")
    for name, strategies in _WITH.items():
        if name in found and strategy not in strategies:
            wanted = " or ".join(map(repr, strategies))
            raise error("OPTION", f"option {name!r} goes with strategy = {wanted}")
    if kind == "mlp":
        found.setdefault("hidden", (16,))
    if strategy == "fedprox":
        found.setdefault("proximal", 0.01)
    found.setdefault("server_lr", _SERVERS.get(strategy, 1.0))
    return NetworkOptions(**found)


def _sizes(name: str, value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, tuple) else (value,)
    texts = [str(one) for one in listed]
    fine = all(one.isdigit() and 0 < int(one) <= MOST_UNITS for one in texts if len(one) < 9)
    if not texts or len(texts) > MOST_LAYERS or not fine or any(len(one) >= 9 for one in texts):
        raise _wrong(name, f"sizes of at most {MOST_LAYERS} layers, each 1 to {MOST_UNITS}: [16]")
    return tuple(map(int, texts))


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value.lower() not in known:
        raise _wrong(name, f"one of {', '.join(map(repr, known))}")
    return value.lower()


def _whole(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"a whole number, {least} to {most}")
    return value


def _number(name: str, value: object, least: float, most: float, *, above: bool = False) -> float:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not fine or not least <= value <= most or (above and value == least):  # type: ignore[operator]
        raise _wrong(name, f"a number {'above' if above else 'from'} {least:g}, at most {most:g}")
    return float(value)  # type: ignore[arg-type]


def _wrong(name: str, wanted: str) -> Error:
    return error("OPTION", f"option {name!r} takes {wanted}")
