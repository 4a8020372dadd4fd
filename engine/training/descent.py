"""Local steps of a network in torch: stochastic gradient descent over one pod's rows, by a seed.

One thread and a generator of its own: the same weights, rows and seed give the same bits. It matches a
plain loop over ``torch.nn.Sequential`` and ``torch.optim.SGD``; with ``proximal``, the local problem of
FedProx (Li et al. 2020, arXiv 1812.06127). Rule to keep: torch is loaded here and nowhere else, by
``load`` where files will be closed afterwards, or at the first step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from podsql.errors import error
from podsql.planner.fragment import Feature, TorchStep
from podsql.planner.training.local_steps import MODULE, layers, weights_of

if TYPE_CHECKING:
    import torch

Batchwise = npt.NDArray[np.float32]
"""Rows by columns."""


def load() -> None:
    """Load torch, and all that it loads when it is first used."""
    columns = (Feature("", ""),)
    for loss in ("squared", "softmax", "logistic"):
        step = TorchStep(
            module=MODULE,
            source="",
            state=b"",
            features=columns,
            targets=columns * 2 if loss == "softmax" else columns,
            hidden=(2,),
            activation="tanh" if loss == "logistic" else "relu",
            loss=loss,
            batch=1,
        )
        rows = np.eye(2, len(step.targets), dtype=np.float32)
        state = np.zeros(weights_of(step), np.float32).tobytes()
        descend(replace(step, state=state), rows[:, :1], rows, seed=0)


def descend(step: TorchStep, x: Batchwise, y: Batchwise, *, seed: int) -> tuple[float, bytes]:
    """The mean loss of the weights that were sent, and the weights after the local steps.

    Args:
        step: the network, its weights, how to step.
        x: rows by features, in the scale of the rounds.
        y: rows by targets.
        seed: of the order of rows.
    """
    import torch

    torch.set_num_threads(1)  # more would add in another order
    rows, aims = torch.from_numpy(x), torch.from_numpy(y)
    given = _tensors(step)
    weights = [one.clone().requires_grad_() for one in given]
    with torch.no_grad():
        loss = float(_loss(step, _forward(step, weights, rows), aims))
    order = torch.Generator().manual_seed(seed)
    many = len(rows)
    size = step.batch if 0 < step.batch < many else many
    for _ in range(step.epochs):
        places = None if size == many else torch.randperm(many, generator=order)
        for first in range(0, many, size):
            part = slice(None) if places is None else places[first : first + size]
            _take(step, weights, given, rows[part], aims[part])
    found = torch.cat([one.detach().reshape(-1) for one in weights]).numpy().astype("<f4")
    if not np.isfinite(found).all() or not np.isfinite(loss):
        raise error("OVERFLOW", "the local steps end in no finite number")
    return loss, found.tobytes()


def _take(
    step: TorchStep,
    weights: Sequence["torch.Tensor"],
    given: Sequence["torch.Tensor"],
    rows: "torch.Tensor",
    aims: "torch.Tensor",
) -> None:
    """One step down the gradient."""
    import torch

    loss = _loss(step, _forward(step, weights, rows), aims)
    slopes = torch.autograd.grad(loss, list(weights))
    with torch.no_grad():
        for one, slope, first in zip(weights, slopes, given, strict=True):
            pull = slope
            if step.decay and one.dim() == 2:
                pull = pull.add(one, alpha=step.decay)
            if step.proximal:
                pull = pull.add(one - first, alpha=step.proximal)
            one.add_(pull, alpha=-step.rate)


def _forward(
    step: TorchStep, weights: Sequence["torch.Tensor"], rows: "torch.Tensor"
) -> "torch.Tensor":
    import torch

    last = len(weights) - 2
    for place in range(0, len(weights), 2):
        rows = torch.nn.functional.linear(rows, weights[place], weights[place + 1])
        if place < last:
            rows = torch.relu(rows) if step.activation == "relu" else torch.tanh(rows)
    return rows


def _loss(step: TorchStep, found: "torch.Tensor", aims: "torch.Tensor") -> "torch.Tensor":
    from torch.nn import functional

    if step.loss == "squared":
        return functional.mse_loss(found, aims)
    if step.loss == "logistic":
        return functional.binary_cross_entropy_with_logits(found, aims)
    return functional.cross_entropy(found, aims.argmax(1))


def _tensors(step: TorchStep) -> list["torch.Tensor"]:
    """Kernel and biases of each layer."""
    import torch

    flat: Any = np.frombuffer(step.state, "<f4").astype(np.float32)
    found, at = [], 0
    for inputs, outputs in layers(step):
        for shape in ((outputs, inputs), (outputs,)):
            size = int(np.prod(shape))
            found.append(torch.from_numpy(flat[at : at + size].reshape(shape)))
            at += size
    return found
