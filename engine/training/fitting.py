"""A fit in rounds: what the pods are asked next, and what their sums make of it. No I/O, no clock.

Every round is one ``ModelStep`` (``planner/training/steps.py``) over the same rows of all pods; the
sums come back added over the pods. A method is a set of pure functions over a frozen state, so the
state is the checkpoint: a fit that is restored from it goes on bit for bit.
Rule to keep: a result is of all rows that the first round counted, or it is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from podsql.engine.training.fitted import Fitted
from podsql.errors import error
from podsql.planner.fragment import Family, Feature

Sums = Mapping[str, float]
"""The outputs of a round by name, added over the pods: ``n``, ``dropped``, then the family's."""


class Round(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a ``ModelStep`` holds beside its source and its columns."""

    family: Family
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    state: tuple[float, ...] = ()
    number: int = 0
    """Of rounds with noise: which one of their series it is, from 0."""


class Progress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far a fit is: rounds taken, what falls (deviance, inertia), the largest last change."""

    rounds: int
    objective: float | None = None
    change: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The columns of a model, in the order of the ``ModelStep``."""

    features: tuple[Feature, ...]
    targets: tuple[Feature, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    """Places of features that are the indicators of all levels of one column."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(feature.name for feature in self.features)


S = TypeVar("S", bound=msgspec.Struct)


class Method(Protocol[S]):
    """A way to fit: pure functions over the frozen state ``S``."""

    def begin(self) -> S:
        """The state before any round."""
        ...

    def ask(self, state: S) -> Round | None:
        """What the pods are asked next; None when the fit is done."""
        ...

    def advance(self, state: S, sums: Sums) -> S:
        """The state after a round; an error says why there can be no result."""
        ...

    def progress(self, state: S) -> Progress:
        """How far the fit is."""
        ...

    def fitted(self, state: S) -> Fitted | None:
        """The model, once the fit is done."""
        ...


class Fitting(Generic[S]):
    """One fit: ask ``next_round``, ``take`` its sums, until it is None; then ``result``."""

    def __init__(self, method: Method[S], state: S | None = None) -> None:
        self._method = method
        self._state = method.begin() if state is None else state

    def next_round(self) -> Round | None:
        """What the pods are asked next (the same until its sums are taken); None: finished."""
        return self._method.ask(self._state)

    def take(self, sums: Sums) -> None:
        """Take the sums of ``next_round``; after an error the fit stands where it stood."""
        if self.next_round() is None:
            raise error("MODEL_STATE", "the fit is finished: there is no round to take")
        self._state = self._method.advance(self._state, sums)

    @property
    def progress(self) -> Progress:
        """How far the fit is."""
        return self._method.progress(self._state)

    def result(self) -> Fitted:
        """The fitted model; MODEL_STATE before the last round."""
        fitted = self._method.fitted(self._state)
        if fitted is None:
            raise error("MODEL_STATE", "the fit is not finished", hint="take its next round")
        return fitted

    def snapshot(self) -> S:
        """The whole state, frozen."""
        return self._state

    def restore(self, snapshot: S) -> None:
        """Go on from ``snapshot``, which must be of a fit of the same method and columns."""
        if type(snapshot) is not type(self._method.begin()):
            raise error("MODEL_STATE", "the checkpoint is of another kind of model")
        self._state = snapshot
