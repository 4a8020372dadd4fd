"""A round of a network: its sizes, what a pod's engine is handed for it, and what comes back.

The modules that pods know: ``dense/1``, layers of weighted sums (one for each size of ``hidden``, then one
for the outputs) with an activation between them. Its weights are those of the layers in order, of each
the kernel, row by row (an output's weights of all inputs), then the biases: 32-bit floats, as in a
``torch.nn.Sequential`` of ``Linear`` layers. The outputs are the target (squared errors), the
log-odds of a condition, or the scores of classes.
Rule to keep: an architecture is numbers of a closed list, checked here; no code and no pickle travels.
"""

from array import array
from hashlib import blake2b
from itertools import pairwise
from math import isfinite
from typing import Final

import msgspec
from msgspec.structs import replace

from podsql.errors import Error, error
from podsql.planner.fragment import Feature, Field, ModelStep, TorchStep

MODULE: Final = "dense/1"
MOST_LAYERS: Final = 8
MOST_UNITS: Final = 4096
"""Of one hidden layer."""
MOST_WEIGHTS: Final = 200_000
"""Of one network: a round travels in one message."""
MOST_EPOCHS: Final = 1000
MOST_SEED: Final = 2**63 - 1
LOCAL_FIELDS: Final = (
    Field("n", "BIGINT"),
    Field("dropped", "BIGINT"),
    Field("loss", "DOUBLE"),
    Field("weights", "BLOB"),
)
"""The output, one row: complete rows, the others, the mean loss of the weights that were sent, the
pod's own weights after its steps."""


class LocalWork(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a pod's engine does for a round, once the check beside it has passed.

    ``sql``: one SELECT of the complete rows, a DOUBLE a feature and then a target, in an order that is
    the same each time. ``seed``: of the pod's own order of rows. ``step``: without any SQL.
    """

    sql: str
    seed: int
    step: TorchStep


def layers(step: TorchStep) -> tuple[tuple[int, int], ...]:
    """Inputs and outputs of each layer."""
    sizes = (len(step.features), *step.hidden, len(step.targets))
    return tuple(pairwise(sizes))


def weights_of(step: TorchStep) -> int:
    """How many weights the network has."""
    return sum((inputs + 1) * outputs for inputs, outputs in layers(step))


def require_step(step: TorchStep) -> None:
    """MODEL_STATE for numbers that no round may have: sizes, options, weights that are not finite."""
    if step.module != MODULE:
        raise _wrong("the module is of the list")
    if len(step.hidden) > MOST_LAYERS or not all(0 < one <= MOST_UNITS for one in step.hidden):
        raise _wrong(f"at most {MOST_LAYERS} hidden layers of 1 to {MOST_UNITS} units")
    many = len(step.targets)
    if many < 1 or (many > 1) != (step.loss == "softmax"):
        raise _wrong("one target; of softmax the indicators of at least two classes")
    if weights_of(step) > MOST_WEIGHTS:
        raise _wrong(f"at most {MOST_WEIGHTS} weights")
    if not (0 <= step.epochs <= MOST_EPOCHS and 0 <= step.batch <= MOST_SEED):
        raise _wrong(f"0 to {MOST_EPOCHS} epochs, of batches of rows")
    if not (0 <= step.seed <= MOST_SEED and 0 <= step.number <= MOST_SEED):
        raise _wrong("seed and number are whole, and at least 0")
    numbers = (*step.centre, *step.scale, *step.aim, step.rate, step.decay, step.proximal)
    if not all(map(isfinite, numbers)) or not all(step.scale) or not step.aim[1]:
        raise _wrong("a number is not finite, or a scale is 0")
    if not 0 < step.rate <= 1e6 or step.decay < 0 or step.proximal < 0:
        raise _wrong("a rate above 0; decay and proximal at least 0")
    if len(step.centre) != len(step.features) or len(step.scale) != len(step.features):
        raise _wrong("centre and scale are one number for each feature")
    if not finite_weights(step.state, weights_of(step)):
        raise _wrong("as many finite weights as the network has")


def finite_weights(data: bytes, many: int) -> bool:
    """Whether these are ``many`` finite weights."""
    return len(data) == 4 * many and all(map(isfinite, array("f", data)))


def plain_step(step: TorchStep) -> ModelStep:
    """The round of sums that the design of a network is judged as: its first one, of moments."""
    return ModelStep(
        family="moments",
        source=step.source,
        features=step.features,
        targets=step.targets,
        centre=step.centre,
        scale=step.scale,
        literals=step.literals,
        split=step.split,
    )


def without_numbers(step: TorchStep) -> TorchStep:
    """The design and the network alone: what all rounds of one job have in common."""
    return replace(
        step, state=b"", centre=(), scale=(), aim=(0.0, 1.0), seed=0, number=0, epochs=1, rate=1.0
    )


def work_of(step: TorchStep, sql: str, pod: str) -> bytes:
    """``LocalWork`` for the engine of ``pod``, as bytes."""
    bare = replace(
        step,
        source="",
        literals=(),
        features=tuple(Feature("", "", one.indicator) for one in step.features),
        targets=tuple(Feature("", "", one.indicator) for one in step.targets),
        split=None,
    )
    return msgspec.msgpack.encode(LocalWork(sql=sql, seed=seed_at(step, pod), step=bare))


def read_work(data: bytes) -> LocalWork:
    """The work again."""
    return msgspec.msgpack.decode(data, type=LocalWork)


def seed_at(step: TorchStep, pod: str) -> int:
    """The seed of a pod's order of rows in a round: another one for each pod and round."""
    digest = blake2b(
        msgspec.msgpack.encode((step.seed, step.number, pod)), digest_size=8, person=b"ps-network"
    )
    return int.from_bytes(digest.digest(), "little") >> 1


def _wrong(wanted: str) -> Error:
    return error("MODEL_STATE", f"a round of a network takes {wanted}")
