"""Where every fit starts: the mean and the standard deviation of each feature.

One round of ``moments``; a second one about the means, where a deviation is so small beside its mean
that the difference of squares says nothing. Later rounds are of features less ``mean`` by
``deviation``. Rule to keep: any centre and scale give the same model; they only decide how many digits
it has. So they need not be exact, and a column without spread must be found.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from podsql.engine.training.fitting import Design, Round, Sums
from podsql.errors import error

_LOST = 1e-8
"""A variance below this part of the squared mean has lost half of its digits."""
_CONSTANT = 1e-13
"""A deviation below this part of the mean is rounding."""


class Moments(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the first rounds say. ``sums`` are of the targets; ``settled``: no more round is needed."""

    n: int
    dropped: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    sums: tuple[float, ...]
    settled: bool


def ask_moments(moments: Moments | None) -> Round | None:
    """The round that is missing; None when there is none."""
    if moments is None:
        return Round(family="moments")
    if moments.settled:
        return None
    return Round(family="moments", centre=moments.mean, scale=(1.0,) * len(moments.mean))


def take_moments(moments: Moments | None, sums: Sums, design: Design) -> Moments:
    """The moments after a round of ``ask_moments``."""
    n, dropped = counts(sums, moments)
    features = len(design.features)
    total = vector(sums, "s", features) / n
    variance = np.maximum(vector(sums, "q", features) / n - total**2, 0.0)
    about = np.array(moments.mean) if moments else np.zeros(features)
    mean = about + total
    lost = moments is None and bool(np.any(variance <= _LOST * total**2))
    return Moments(
        n=n,
        dropped=dropped,
        mean=tuple(mean.tolist()),
        deviation=tuple(np.sqrt(variance).tolist()),
        sums=tuple(vector(sums, "s", len(design.targets), first=features).tolist()),
        settled=not lost,
    )


def constants(moments: Moments) -> tuple[int, ...]:
    """Places of the features that have one value in all rows."""
    pairs = zip(moments.mean, moments.deviation, strict=True)
    return tuple(
        place for place, (mean, deviation) in enumerate(pairs) if deviation <= _CONSTANT * abs(mean)
    )


def refuse_constants(moments: Moments, design: Design) -> None:
    """COLLINEAR with the names of the features that have one value in all rows."""
    found = [design.terms[place] for place in constants(moments)]
    if found:
        raise error(
            "COLLINEAR",
            f"no variation in {listed(found)}: one value in all {moments.n} rows",
            hint="leave it out" if len(found) == 1 else "leave them out",
        )


def counts(sums: Sums, moments: Moments | None) -> tuple[int, int]:
    """``n`` and ``dropped``; DATA where there is no row, or others than in the first round."""
    n, dropped = round(sums["n"]), round(sums["dropped"])
    if n < 1:
        raise error(
            "DATA",
            f"no row has a value in every column of the model ({dropped} rows lack one)",
            hint="leave out a column that is mostly NULL, or replace NULL with coalesce()",
        )
    if moments is not None and n != moments.n:
        raise error(
            "DATA",
            f"a round was of {n} rows, the first one of {moments.n}: the data or the pods changed",
            hint="train the model again",
        )
    return n, dropped


def vector(sums: Sums, name: str, size: int, first: int = 0) -> NDArray[np.float64]:
    """The sums ``name{first}``, …; DATA where one is not finite."""
    found = np.array([sums[f"{name}{first + place}"] for place in range(size)], dtype=np.float64)
    if not np.all(np.isfinite(found)):
        raise not_finite()
    return found


def known(moments: Moments | None) -> Moments:
    """The moments, which every later round comes after."""
    assert moments is not None
    return moments


def not_finite() -> Exception:
    """What is raised where sums have no number."""
    return error(
        "DATA",
        "the sums of a round are not finite: a column holds infinity, NaN or numbers too large",
        hint="leave such rows out in WHERE, or divide the column",
    )


def listed(names: list[str], most: int = 10) -> str:
    """Names for a message."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
