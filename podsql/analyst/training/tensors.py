"""A model as a safetensors file: its arrays of numbers as tensors, the rest as a JSON card in the header.

The format (safetensors 0.4 and later) is a length, a JSON header and the bytes of the arrays; reading it runs
nothing. Rule to keep: card and arrays together are the model to the last bit, and nothing else is in the file.
"""

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

SUFFIX: Final = ".safetensors"
CARD: Final = "podsql.model/1"
"""The key of the card among the header's metadata."""

Array = npt.NDArray[np.float64]


def write_tensors(card: dict[str, Any]) -> bytes:
    """The whole file of a model as plain values; every list of numbers of its parameters is a tensor."""
    parameters = dict(card["fitted"]["parameters"])
    arrays = {name: found for name in parameters if (found := _array(parameters[name])) is not None}
    for name in arrays:
        del parameters[name]
    rest = card | {"fitted": card["fitted"] | {"parameters": parameters}}
    return save(arrays, metadata={CARD: msgspec.json.encode(rest).decode()})


def read_tensors(data: bytes) -> dict[str, Any]:
    """The plain values again; ValueError if it is no such file."""
    try:
        size = int.from_bytes(data[:8], "little")
        header: dict[str, Any] = msgspec.json.decode(data[8 : 8 + size])
        card: dict[str, Any] = msgspec.json.decode(header["__metadata__"][CARD])
        for name, array in load(data).items():
            if array.dtype != np.float64:
                raise ValueError("not numbers of a model")
            card["fitted"]["parameters"][name] = array.tolist()
    except (SafetensorError, msgspec.MsgspecError, KeyError, TypeError, OverflowError) as fault:
        raise ValueError("not a model") from fault
    return card


def _array(value: object) -> Array | None:
    """Of a sequence of numbers, or of sequences of as many numbers; None: something else."""
    if not isinstance(value, list | tuple) or not value:
        return None
    rows = value if isinstance(value[0], list | tuple) else [value]
    if len({len(row) for row in rows}) != 1 or not rows[0]:
        return None
    if not all(isinstance(one, float) for row in rows for one in row):
        return None
    return np.array(value, np.float64)
