"""A training job as it is kept: what was asked, how far it is, and one line for each step.

Rule to keep: a job holds what its rounds go on from and what a person may read of them; no line holds a
value. The parameters are the analyst's own and come back exactly as they were given.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from podsql.errors import error

State = Literal["running", "waiting", "finished", "failed", "cancelled"]
ENDED: Final = frozenset({"finished", "failed", "cancelled"})
"""States that nothing changes any more."""
Event = Literal[
    "started", "round", "waiting", "back", "restarted", "resumed", "finished", "failed", "cancelled"
]
_TYPES: Final[dict[str, type]] = {
    kind.__name__: kind
    for kind in (
        bool, int, str, Decimal, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID
    )
}  # fmt: skip
"""Types of parameters that JSON keeps exactly; floats and NULL are written by hand."""


class Parameter(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One ``?``: the name of its type, and its JSON."""

    type: str
    text: str


class Line(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A step of a job. ``at``: ms since the epoch; ``seconds``: what the round took; ``n``: its rows."""

    job: str
    model: str
    at: int
    event: Event
    round: int = 0
    n: int | None = None
    objective: float | None = None
    """What falls: deviance, inertia."""
    change: float | None = None
    """The largest change of the last round."""
    seconds: float | None = None
    pods: tuple[str, ...] = ()
    note: str = ""
    """A code and names of pods."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One TRAIN MODEL. Times in ms since the epoch; ``timeout`` in seconds."""

    id: str
    model: str
    family: str
    statement: str
    parameters: tuple[Parameter, ...]
    timeout: float
    purpose: str
    project: str
    federation: str
    state: State
    pods: tuple[str, ...]
    columns: tuple[str, ...]
    """Names of the design's columns, features first."""
    start: tuple[float, ...]
    """Where the rounds began, if FROM MODEL said so."""
    checkpoint: bytes = b""
    """The fit after its last round (``engine/training/registry``)."""
    rounds: int = 0
    data_versions: dict[str, str] = {}
    started: int
    ended: int | None = None
    error: str = ""
    modeller: str = ""
    """Who works on it, if not this analyst: the record then says what was last heard."""

    @property
    def over(self) -> bool:
        """Whether it is in a state that nothing changes any more."""
        return self.state in ENDED


def kept_parameters(values: Sequence[object]) -> tuple[Parameter, ...]:
    """Parameters as they are written down; PARAMETERS for a type that no statement takes."""
    return tuple(map(_kept, values))


def given_parameters(kept: Sequence[Parameter]) -> tuple[object, ...]:
    """The parameters as they were given."""
    return tuple(map(_given, kept))


def _kept(value: object) -> Parameter:
    if value is None:
        return Parameter("None", "")
    if isinstance(value, float):
        return Parameter("float", value.hex())
    for name, kind in _TYPES.items():
        if type(value) is kind:
            return Parameter(name, msgspec.json.encode(value).decode())
    raise error("PARAMETERS", f"a parameter of type {type(value).__name__} cannot be kept in a job")


def _given(kept: Parameter) -> object:
    if kept.type == "None":
        return None
    if kept.type == "float":
        return float.fromhex(kept.text)
    return msgspec.json.decode(kept.text, type=_TYPES[kept.type])
