"""A network by federated averaging, as a fit in rounds: moments, local steps at the pods, a last look.

The pods' columns are taken by the federation's means and deviations, so a learning rate means the same
whatever the units are. Each round sends the weights and merges what the pods send back
(``strategies.py``); the last one asks only for the loss. No torch is needed here.
Rule to keep: the state between two rounds is all that the next one depends on, and seeds are in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import fsum

import msgspec
import numpy as np

from podsql.engine.training.fitted import INTERCEPT, Coefficients, Fitted, Network
from podsql.engine.training.fitting import Design, Progress, Round, Sums
from podsql.engine.training.moments import (
    Moments,
    ask_moments,
    counts,
    known,
    refuse_constants,
    take_moments,
)
from podsql.engine.training.network_options import NetworkOptions
from podsql.engine.training.strategies import Server, Update, merged
from podsql.errors import error
from podsql.planner.fragment import Feature, Loss, TorchStep
from podsql.planner.training.local_steps import MODULE, MOST_WEIGHTS, weights_of


class LocalRound(Round, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A round of local steps: ``step`` but for the columns and their source, which a design has."""

    step: TorchStep | None = None


class Gathered(dict[str, float]):
    """What the pods bring to such a round: ``n`` and ``dropped`` of all of them, and each one's update."""

    def __init__(self, totals: Mapping[str, float], updates: tuple[Update, ...]) -> None:
        super().__init__(totals)
        self.updates = updates


class NetworkState(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="network/1", kw_only=True
):
    """A fit between two rounds. ``trace``: the loss of the weights at the start of each local round."""

    rounds: int = 0
    moments: Moments | None = None
    aim: tuple[float, float] = (0.0, 1.0)
    weights: bytes = b""
    first: bytes = b""
    second: bytes = b""
    steps: int = 0
    best: float | None = None
    stale: int = 0
    """Rounds since the loss was last smaller."""
    change: float | None = None
    trace: tuple[float, ...] = ()
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaged:
    """How to fit one."""

    method: str
    design: Design
    loss: Loss
    options: NetworkOptions

    def begin(self) -> NetworkState:
        """The state before any round."""
        return NetworkState()

    def ask(self, state: NetworkState) -> Round | None:
        """Moments, then local steps, then the loss of the weights that they end in."""
        if state.fitted is not None:
            return None
        first = ask_moments(state.moments)
        if first is not None:
            return first
        moments, options = known(state.moments), self.options
        step = TorchStep(
            module=MODULE,
            source="",
            state=state.weights,
            features=self.design.features,
            targets=self.design.targets,
            centre=moments.mean,
            scale=moments.deviation,
            aim=state.aim,
            hidden=options.hidden,
            activation=options.activation,
            loss=self.loss,
            epochs=0 if self._over(state) else options.epochs,
            batch=options.batch,
            rate=options.lr,
            decay=options.l2,
            proximal=options.proximal,
            seed=options.seed,
            number=state.steps,
        )
        return LocalRound(family="moments", step=step)

    def advance(self, state: NetworkState, sums: Sums) -> NetworkState:
        """One round further."""
        state = msgspec.structs.replace(state, rounds=state.rounds + 1)
        if ask_moments(state.moments) is not None:
            return self._begun(state, sums)
        if not isinstance(sums, Gathered):
            raise error("MODEL_STATE", "a round of a network has an update of each pod")
        n, dropped = counts(sums, state.moments)
        loss = fsum(one.n * one.loss for one in sums.updates) / n
        if self._over(state):
            return msgspec.structs.replace(
                state, fitted=self._fit(state, loss, dropped), trace=(*state.trace, loss)
            )
        before = Server(
            weights=state.weights, first=state.first, second=state.second, steps=state.steps
        )
        after = merged(before, sums.updates, self.options)
        least = state.best
        better = least is None or loss < least - self.options.tolerance * abs(least)
        moved = np.frombuffer(after.weights, "<f4") - np.frombuffer(state.weights, "<f4")
        return msgspec.structs.replace(
            state,
            weights=after.weights,
            first=after.first,
            second=after.second,
            steps=after.steps,
            best=loss if better else least,
            stale=0 if better else state.stale + 1,
            change=float(np.abs(moved).max()),
            trace=(*state.trace, loss),
        )

    def progress(self, state: NetworkState) -> Progress:
        """Rounds, the last loss that is known, the largest move of a weight."""
        objective = state.trace[-1] if state.trace else None
        return Progress(rounds=state.rounds, objective=objective, change=state.change)

    def fitted(self, state: NetworkState) -> Fitted | None:
        """The model, once the fit is done."""
        return state.fitted

    def _over(self, state: NetworkState) -> bool:
        """Whether no more steps are taken."""
        patience = self.options.patience
        return state.steps >= self.options.rounds or bool(patience and state.stale >= patience)

    def _begun(self, state: NetworkState, sums: Sums) -> NetworkState:
        """The moments, and the first weights once they stand."""
        moments = take_moments(state.moments, sums, self.design)
        if not moments.settled:
            return msgspec.structs.replace(state, moments=moments)
        refuse_constants(moments, self.design)
        aim = (0.0, 1.0)
        if self.loss == "squared":
            place = len(self.design.features)
            mean = sums[f"s{place}"] / moments.n
            variance = sums[f"q{place}"] / moments.n - mean * mean
            aim = (mean, variance**0.5 if variance > 0 else 1.0)
        return msgspec.structs.replace(
            state, moments=moments, aim=aim, weights=first_weights(self._sizes, self.options.seed)
        )

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (len(self.design.features), *self.options.hidden, len(self.design.targets))

    def _fit(self, state: NetworkState, loss: float, dropped: int) -> Fitted:
        moments = known(state.moments)
        weights = tuple(np.frombuffer(state.weights, "<f4").astype(np.float64).tolist())
        return Fitted(
            method=self.method,
            terms=self.design.terms,
            targets=tuple(one.name for one in self.design.targets),
            n=moments.n,
            dropped=dropped,
            rounds=state.rounds,
            parameters=self._network(weights, state)
            if self.options.hidden
            else self._line(weights, state),
            metrics={"loss": loss},
            trace=(*state.trace, loss),
        )

    def _network(self, weights: tuple[float, ...], state: NetworkState) -> Network:
        moments = known(state.moments)
        return Network(
            sizes=self._sizes,
            activation=self.options.activation,
            loss=self.loss,
            weights=weights,
            centre=moments.mean,
            scale=moments.deviation,
            aim=state.aim,
        )

    def _line(self, weights: tuple[float, ...], state: NetworkState) -> Coefficients:
        """One layer is a linear predictor, in the units of the columns."""
        moments, (mean, spread) = known(state.moments), state.aim
        *kernel, bias = weights
        slopes = [
            one / scale * spread for one, scale in zip(kernel, moments.deviation, strict=True)
        ]
        at_centre = bias * spread + mean
        constant = at_centre - fsum(
            one * centre for one, centre in zip(slopes, moments.mean, strict=True)
        )
        return Coefficients(
            link="logit" if self.loss == "logistic" else "identity",
            names=(INTERCEPT, *self.design.terms),
            estimates=(constant, *slopes),
            covariance=(),
            dispersion=1.0,
            freedom=None,
            penalty=self.options.l2,
            centre=moments.mean,
            scale=moments.deviation,
            at_centre=at_centre,
        )


def loss_of(kind: str, targets: tuple[Feature, ...]) -> Loss:
    """What a kind of network makes smaller; STATEMENT if it cannot foretell these."""
    if len(targets) == 1 and kind != "logistic_network":
        return "logistic" if targets[0].indicator and kind == "mlp" else "squared"
    if len(targets) == 1:
        return "logistic"
    if kind == "mlp" and len(targets) > 1 and all(one.indicator for one in targets):
        return "softmax"
    wanted = "one column, or one category" if kind == "mlp" else "one column"
    raise error("STATEMENT", f"{kind} foretells {wanted}")


def require_size(design: Design, options: NetworkOptions) -> None:
    """OPTION for a network of more weights than a round can carry."""
    step = TorchStep(
        module=MODULE, source="", state=b"", features=design.features, targets=design.targets,
        hidden=options.hidden,
    )  # fmt: skip
    if weights_of(step) > MOST_WEIGHTS:
        raise error(
            "OPTION",
            f"the network has {weights_of(step)} weights, and at most {MOST_WEIGHTS} are sent",
            hint="fewer or smaller hidden layers",
        )


def first_weights(sizes: tuple[int, ...], seed: int) -> bytes:
    """Where training begins: without hidden layers 0, else within one over the root of a layer's inputs
    (He et al. 2015, as torch's Linear), by a seeded generator."""
    if len(sizes) == 2:
        return bytes(4 * (sizes[0] + 1) * sizes[1])
    draw, found = np.random.Generator(np.random.PCG64(seed)), []
    for inputs, outputs in pairwise(sizes):
        many = (inputs + 1) * outputs
        found.append((2 * draw.random(many) - 1) / inputs**0.5)
    return np.concatenate(found).astype("<f4").tobytes()
