"""The one schema of every benchmark: name, value, unit, reference, ratio."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. ``reference`` is the same figure of what it is compared with, or the goal."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    against: str = ""
    """What the reference is: a measured peer, or ``goal``."""

    @property
    def ratio(self) -> float | None:
        """value / reference."""
        return None if not self.reference else self.value / self.reference

    def as_dict(self) -> dict[str, object]:
        """As JSON prints it."""
        return {**asdict(self), "ratio": self.ratio}


def percentile(samples: Sequence[float], percent: int) -> float:
    """The ``percent``-th percentile of at least two samples."""
    return quantiles(samples, n=100, method="inclusive")[percent - 1]


def table(rows: Iterable[Row]) -> str:
    """Plain text, one figure a line."""
    lines = [f"{'name':<58}{'value':>12} {'unit':<10}{'reference':>12}{'ratio':>8}  against"]
    for row in rows:
        reference = "" if row.reference is None else f"{row.reference:,.2f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            f"{row.name:<58}{row.value:>12,.2f} {row.unit:<10}{reference:>12}{ratio:>8}  {row.against}"
        )
    return "\n".join(lines)
