"""How the weights of several pods become the next ones: pure functions over numpy, in the pods' order.

``fedavg`` (McMahan et al. 2017, arXiv 1602.05629): the mean by rows. ``fedprox``: the same, of steps that
are drawn to the weights sent. ``fedavgm``, ``fedadam``, ``fedyogi`` (Reddi et al. 2021, arXiv 2003.00295):
the mean change of the pods is the gradient of a step at the analyst, with the bias correction of
torch's Adam. ``median`` and ``trimmed_mean`` (Yin et al. 2018, arXiv 1803.01498): weight by weight, every
pod counting once. Rule to keep: all arithmetic is in 64 bits, so that one pod's mean is its own weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from podsql.engine.training.information import Array
from podsql.engine.training.network_options import NetworkOptions
from podsql.errors import error

ROBUST = ("median", "trimmed_mean")
LEAST_ROBUST = 3
"""Of fewer pods a median tells nobody apart."""
_FLOOR = 1e-3
"""Added to the root of the second moment of fedadam and fedyogi (their paper's tau)."""
_FIRST, _SECOND = 0.9, 0.99
"""How much of the moments of fedadam and fedyogi stays (their paper's beta)."""


class Update(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one pod brings: its rows, the loss of the weights it was sent, its own weights."""

    pod: str
    n: int
    loss: float
    weights: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The analyst's side between rounds. ``first``, ``second``: moments, little-endian doubles."""

    weights: bytes
    first: bytes = b""
    second: bytes = b""
    steps: int = 0


def merged(server: Server, updates: Sequence[Update], options: NetworkOptions) -> Server:
    """The weights after a round; NOT_CONVERGED where they are no finite numbers."""
    at = _floats(server.weights)
    asked = [one for one in updates if one.n]
    with np.errstate(over="ignore", invalid="ignore"):
        change = _change(at, asked, options)
        step, first, second = _stepped(change, server, options)
        found = (at + step).astype("<f4")
    if not np.isfinite(found).all():
        raise error(
            "NOT_CONVERGED",
            "the weights of the network left the range of their type",
            hint="a smaller lr, or fewer epochs",
        )
    return Server(
        weights=found.tobytes(),
        first=first.tobytes(),
        second=second.tobytes(),
        steps=server.steps + 1,
    )


def _change(at: Array, updates: Sequence[Update], options: NetworkOptions) -> Array:
    """What the pods moved the weights by, together."""
    moved = [_floats(one.weights) - at for one in updates]
    if options.strategy not in ROBUST:
        total = sum(one.n for one in updates)
        found = np.zeros_like(at)
        for one, step in zip(updates, moved, strict=True):
            found += one.n * step
        return np.asarray(found / total, np.float64)
    if len(moved) < LEAST_ROBUST:
        raise error(
            "TOO_FEW_PODS",
            f"{options.strategy} needs {LEAST_ROBUST} pods that have rows, and there are {len(moved)}",
            hint="strategy = 'fedavg'",
        )
    ordered = np.sort(np.stack(moved), axis=0)
    cut = (
        (len(moved) - 1) // 2
        if options.strategy == "median"
        else min(int(options.trim * len(moved)), (len(moved) - 1) // 2)
    )
    return np.asarray(ordered[cut : len(moved) - cut].mean(axis=0), np.float64)


def _stepped(change: Array, server: Server, options: NetworkOptions) -> tuple[Array, Array, Array]:
    """The step of the analyst's own optimiser, and its moments."""
    none = np.zeros(0)
    first, second = (_doubles(one, len(change)) for one in (server.first, server.second))
    if options.strategy == "fedavgm":
        first = options.momentum * first + change
        return options.server_lr * first, first, none
    if options.strategy not in ("fedadam", "fedyogi"):
        return change, none, none
    first = _FIRST * first + (1 - _FIRST) * change
    square = change**2
    if options.strategy == "fedadam":
        second = _SECOND * second + (1 - _SECOND) * square
    else:
        second = second - (1 - _SECOND) * square * np.sign(second - square)
    steps = server.steps + 1
    mean = first / (1 - _FIRST**steps)
    spread = np.sqrt(second / (1 - _SECOND**steps))
    return options.server_lr * mean / (spread + _FLOOR), first, second


def _floats(data: bytes) -> Array:
    return np.frombuffer(data, "<f4").astype(np.float64)


def _doubles(data: bytes, many: int) -> Array:
    return np.frombuffer(data, "<f8").copy() if data else np.zeros(many)
