"""Where noise comes from: OpenDP's integer mechanism, or our own exact sampler by name.

Rule to keep: integers in, integers out; a value near the end of the range is refused, since a
saturated output would tell. OpenDP's float and threshold mechanisms are not used (its issues 2922,
2935).
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Literal, Protocol

from podsql.errors import error
from podsql.policy.noise.sampler import discrete_gaussian

LARGEST: Final = 1 << 62
"""Largest absolute value that may be noised."""
SMALLEST_SCALE: Final = Fraction(1, 10)
"""A smaller scale would be next to no noise at all."""

Name = Literal["opendp", "python"]


class NoiseBackend(Protocol):
    """Adds independent discrete Gaussian noise."""

    def gaussian(self, values: Sequence[int], scale: Fraction) -> list[int]:
        """``values`` (exact integers) plus noise of standard deviation ``scale`` (never less)."""


class OpenDpNoise:
    """OpenDP >= 0.16, ``make_gaussian`` over i64 vectors."""

    def gaussian(self, values: Sequence[int], scale: Fraction) -> list[int]:
        """See ``NoiseBackend``."""
        _require_fit(values, scale)
        if not values:
            return []
        drawn = _mechanism(_not_below(scale))(list(values))
        return [int(value) for value in drawn]


class PythonNoise:
    """The sampler of this package; some 20 µs a draw."""

    def gaussian(self, values: Sequence[int], scale: Fraction) -> list[int]:
        """See ``NoiseBackend``."""
        _require_fit(values, scale)
        variance = scale * scale
        return [value + discrete_gaussian(variance) for value in values]


def choose_backend(name: Name) -> NoiseBackend:
    """The backend of that name; CONFIG if OpenDP is wanted and not installed."""
    if name == "python":
        return PythonNoise()
    try:
        import opendp.measurements  # noqa: F401
    except ImportError:
        raise error(
            "CONFIG",
            "differential privacy needs OpenDP",
            hint="pip install 'podsql[dp]', or set dp.noise = 'python' in the policy",
        ) from None
    return OpenDpNoise()


@lru_cache(maxsize=256)
def _mechanism(scale: float) -> Callable[[list[int]], Any]:
    # Not opendp.prelude: it loads scikit-learn, pandas and polars wherever they are installed.
    from opendp.domains import atom_domain, vector_domain
    from opendp.measurements import make_gaussian
    from opendp.metrics import l2_distance
    from opendp.mod import enable_features

    enable_features("contrib")
    made: Callable[[list[int]], Any] = make_gaussian(
        vector_domain(atom_domain(T="i64")), l2_distance(T="f64"), scale=scale
    )
    return made


def _not_below(scale: Fraction) -> float:
    found = float(scale)
    return found if Fraction(found) >= scale else math.nextafter(found, math.inf)


def _require_fit(values: Sequence[int], scale: Fraction) -> None:
    if scale < SMALLEST_SCALE:
        raise error("POD_FAILED", "the noise of a release is too small to protect anybody")
    if any(abs(value) > LARGEST for value in values) or scale > LARGEST:
        raise error("OVERFLOW", "a value is too large to be released with noise")
