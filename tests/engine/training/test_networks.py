"""Local steps and merges against plain torch: loops of ``nn.Sequential`` and ``optim.SGD``, ``optim.Adam``."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from podsql.engine.training.descent import descend
from podsql.engine.training.network_options import network_options
from podsql.engine.training.networks import first_weights
from podsql.engine.training.strategies import Server, Update, merged
from podsql.engine.training.torch_there import require_torch
from podsql.errors import Error
from podsql.planner.fragment import Feature, TorchStep
from podsql.planner.training.local_steps import MODULE, require_step, weights_of

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
LOSSES = {
    "squared": torch.nn.functional.mse_loss,
    "logistic": torch.nn.functional.binary_cross_entropy_with_logits,
    "softmax": lambda found, aim: torch.nn.functional.cross_entropy(found, aim.argmax(1)),
}


def made(hidden=(5, 4), loss="logistic", **changes):
    """A step with three features and weights drawn by a seed."""
    many = 3 if loss == "softmax" else 1
    step = TorchStep(
        module=MODULE,
        source="",
        state=b"",
        features=(Feature("", ""),) * 3,
        targets=(Feature("", "", True),) * many,
        centre=(0.0,) * 3,
        scale=(1.0,) * 3,
        hidden=hidden,
        loss=loss,
        batch=16,
        epochs=2,
        **changes,
    )
    return replace(step, state=first_weights((3, *hidden, many), seed=4))


def rows(step, count=75, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    if step.loss == "softmax":
        return x, np.eye(3, dtype=np.float32)[rng.integers(0, 3, count)]
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=count)
    return x, (y > 0 if step.loss == "logistic" else y).astype(np.float32)[:, None]


def sequential(step):
    """The same network as torch's own modules."""
    sizes = [len(step.features), *step.hidden, len(step.targets)]
    parts = []
    for inputs, outputs in pairwise(sizes):
        parts += [torch.nn.Linear(inputs, outputs), ACTIVATIONS[step.activation]()]
    net = torch.nn.Sequential(*parts[:-1])
    flat = torch.from_numpy(np.frombuffer(step.state, "<f4").copy())
    torch.nn.utils.vector_to_parameters(flat, net.parameters())
    return net


def by_torch(step, x, y, seed):
    """The plain loop: what leaves of the weights sent, and the weights after it."""
    net, loss = sequential(step), LOSSES[step.loss]
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    first = [one.detach().clone() for one in net.parameters()]
    before = loss(net(x), y).item()
    descent = torch.optim.SGD(
        [
            {"params": [one], "weight_decay": step.decay if one.dim() == 2 else 0}
            for one in net.parameters()
        ],
        lr=step.rate,
    )
    order = torch.Generator().manual_seed(seed)
    for _ in range(step.epochs):
        for part in torch.randperm(len(x), generator=order).split(step.batch):
            descent.zero_grad()
            far = sum(((a - b) ** 2).sum() for a, b in zip(net.parameters(), first, strict=True))
            (loss(net(x[part]), y[part]) + step.proximal / 2 * far).backward()
            descent.step()
    return before, torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("hidden", "changes", "exact"),
    [
        ((5, 4), {"activation": "relu"}, True),
        ((6,), {"activation": "tanh", "decay": 0.01}, True),
        ((), {}, True),
        ((5,), {"proximal": 0.3}, False),
    ],
)
def test_local_steps_are_those_of_a_plain_loop(loss, hidden, changes, exact):
    step = made(hidden, loss, **changes)
    require_step(step)
    x, y = rows(step)
    before, weights = by_torch(step, x, y, seed=9)
    found, data = descend(step, x, y, seed=9)
    assert found == pytest.approx(before, rel=1e-6)
    ours = np.frombuffer(data, "<f4")
    # the term of FedProx is a loss to autograd and a gradient to us
    assert (ours == weights).all() if exact else np.allclose(ours, weights, atol=1e-6)
    assert not np.array_equal(ours, np.frombuffer(step.state, "<f4"))
    assert descend(step, x, y, seed=9) == (found, data)
    assert descend(step, x, y, seed=10)[1] != data
    assert descend(replace(step, epochs=0), x, y, seed=9) == (found, step.state)


def test_one_step_over_all_rows_of_two_pods_is_that_of_the_pooled_rows():
    step = replace(made(), batch=0, epochs=1)
    x, y = rows(step)
    parts = [(x[:20], y[:20]), (x[20:], y[20:])]
    updates = tuple(
        Update(str(n), len(a), 0.0, descend(step, a, b, seed=0)[1])
        for n, (a, b) in enumerate(parts)
    )
    options = network_options("mlp", {})
    together = np.frombuffer(merged(Server(weights=step.state), updates, options).weights, "<f4")
    pooled = np.frombuffer(descend(step, x, y, seed=0)[1], "<f4")
    assert np.abs(together - pooled).max() < 1e-6
    # one pod: its own weights, to the last bit; a pod without rows moves nothing
    alone = merged(Server(weights=step.state), updates[1:], options).weights
    assert alone == updates[1].weights
    none = replace(updates[0], n=0)
    assert merged(Server(weights=step.state), (none, updates[1]), options).weights == alone


def drawn(count=5, size=6, seed=2):
    rng = np.random.default_rng(seed)
    at = rng.normal(size=size).astype("<f4")
    moved = [(at + rng.normal(size=size)).astype("<f4") for _ in range(count)]
    found = [Update(str(k), 10 * k + 10, 0.0, one.tobytes()) for k, one in enumerate(moved)]
    return at, np.array(moved, np.float64), tuple(found)


def run(at, rounds, options):
    server = Server(weights=at.tobytes())
    for updates in rounds:
        server = merged(server, updates, options)
    return np.frombuffer(server.weights, "<f4")


def test_fedadam_is_adam_on_the_pods_mean_change():
    options = network_options("mlp", {"strategy": "fedadam", "server_lr": 0.05})
    at, _, _ = drawn()
    weights = torch.from_numpy(at.astype(np.float64)).requires_grad_()
    adam = torch.optim.Adam([weights], lr=0.05, betas=(0.9, 0.99), eps=1e-3)
    server = Server(weights=at.tobytes())
    for seed in range(4):
        _, moved, updates = drawn(seed=seed)
        here = np.frombuffer(server.weights, "<f4").astype(np.float64)
        rows_of = [one.n for one in updates]
        weights.grad = torch.from_numpy(here - np.average(moved, axis=0, weights=rows_of))
        adam.step()
        server = merged(server, updates, options)
        assert np.allclose(
            np.frombuffer(server.weights, "<f4"), weights.detach().numpy(), atol=1e-6
        )


def test_other_strategies_are_what_their_papers_say():
    at, moved, updates = drawn()
    mean = np.average(moved, axis=0, weights=[one.n for one in updates])
    plain = run(at, [updates], network_options("mlp", {}))
    assert np.allclose(plain, mean, atol=1e-6)
    first = run(at, [updates], network_options("mlp", {"strategy": "fedavgm"}))
    assert (first == plain).all()  # without a past, its step of 1 is the mean
    heavy = network_options("mlp", {"strategy": "fedavgm", "momentum": 0.5, "server_lr": 2.0})
    twice = run(at, [updates, updates], heavy)
    half = at + 2 * (mean - at)
    assert np.allclose(twice, half + 2 * (0.5 * (mean - at) + mean - half), atol=1e-5)
    median = run(at, [updates], network_options("mlp", {"strategy": "median"}))
    assert np.allclose(median, np.median(moved, axis=0), atol=1e-6)
    trimmed = run(at, [updates], network_options("mlp", {"strategy": "trimmed_mean"}))
    assert np.allclose(trimmed, np.sort(moved, axis=0)[1:-1].mean(axis=0), atol=1e-6)
    yogi = run(at, [updates], network_options("mlp", {"strategy": "fedyogi", "server_lr": 0.1}))
    change = mean - at
    assert np.allclose(yogi, at + 0.1 * change / (np.abs(change) + 1e-3), atol=1e-6)
    with pytest.raises(Error) as caught:
        merged(
            Server(weights=at.tobytes()),
            updates[:2],
            network_options("mlp", {"strategy": "median"}),
        )
    assert caught.value.code == "TOO_FEW_PODS"
    huge = tuple(replace(one, weights=np.full(6, 3e38, "<f4").tobytes()) for one in updates)
    fast = network_options("mlp", {"strategy": "fedavgm", "server_lr": 1000.0})
    with pytest.raises(Error) as caught:
        merged(Server(weights=at.tobytes()), huge, fast)
    assert caught.value.code == "NOT_CONVERGED"


def test_odd_options_are_refused():
    for kind, given in [
        ("logistic_network", {"hidden": ("4",)}),
        ("mlp", {"hidden": ("0",)}),
        ("mlp", {"hidden": ()}),
        ("mlp", {"hidden": ("4",) * 9}),
        ("mlp", {"hidden": ("1e3",)}),
        ("mlp", {"rounds": 0}),
        ("mlp", {"rounds": 2.5}),
        ("mlp", {"lr": 0}),
        ("mlp", {"lr": "fast"}),
        ("mlp", {"lr": True}),
        ("mlp", {"strategy": "krum"}),
        ("mlp", {"proximal": 0.1}),
        ("mlp", {"strategy": "fedadam", "momentum": 0.5}),
        ("mlp", {"activation": "gelu"}),
        ("mlp", {"optimiser": "adam"}),
    ]:
        with pytest.raises(Error) as caught:
            network_options(kind, given)
        assert caught.value.code == "OPTION", given
    assert network_options("mlp", {"hidden": ("8", "4"), "batch": 0}).hidden == (8, 4)


def test_numbers_that_no_round_may_have_are_refused():
    step = made()
    assert weights_of(step) == 4 * 5 + 6 * 4 + 5
    nan = np.array([np.nan], "<f4").tobytes()
    for changes in (
        {"module": "pickle/1"},
        {"state": step.state[4:]},
        {"state": step.state[4:] + nan},
        {"state": step.state + nan[:1]},
        {"hidden": (0,)},
        {"hidden": (4096, 4096)},
        {"hidden": (1,) * 9},
        {"loss": "softmax"},
        {"targets": ()},
        {"epochs": -1},
        {"epochs": 10**6},
        {"batch": -1},
        {"rate": float("nan")},
        {"rate": 0.0},
        {"decay": -1.0},
        {"proximal": float("inf")},
        {"scale": (1.0, 0.0, 1.0)},
        {"centre": (0.0,)},
        {"aim": (0.0, 0.0)},
        {"seed": -1},
    ):
        with pytest.raises(Error) as caught:
            require_step(replace(step, **changes))
        assert caught.value.code == "MODEL_STATE", changes


def test_steps_that_end_in_no_number_are_an_error():
    step = made(loss="squared", rate=1e6)
    x, y = rows(step)
    with pytest.raises(Error) as caught:
        descend(replace(step, epochs=40), x, y, seed=0)
    assert caught.value.code == "OVERFLOW"


def test_a_pod_without_torch_says_so(monkeypatch):
    require_torch()
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(Error) as caught:
        require_torch()
    assert caught.value.code == "NOT_SUPPORTED"
    assert "podsql[train]" in caught.value.hint
