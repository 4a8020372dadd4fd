"""An evaluation of logistic models as a picture (SVG): calibration and ROC curve, a row a model.

Rule to keep: both are drawn from the ``rate`` rows of the answer, and so hold no more than it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from podsql.analyst.training.evaluating import POOLED
from podsql.analyst.training.page import COLOURS, page, text
from podsql.errors import error

_SIDE, _MARGIN, _GAP, _TOP, _LINE = 260, 56, 72, 64, 18
_WIDTH: Final = _MARGIN + _SIDE + _GAP + _SIDE + 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One row of a calibration table."""

    value: float
    low: float
    high: float
    n: int
    predicted_low: float
    predicted_high: float

    @property
    def predicted(self) -> float:
        """The middle of what was predicted."""
        return (self.predicted_low + self.predicted_high) / 2


def draw_evaluation(answer: pa.Table) -> str:
    """The SVG of what EVALUATE MODEL answered; ARGUMENT if it holds no rates."""
    shown: dict[str, dict[str, list[Rate]]] = {}
    areas: dict[tuple[str, str], float | None] = {}
    wanted = {"model", "pod", "metric", "value", "predicted_low", "predicted_high"}
    rows = answer.to_pylist() if wanted <= set(answer.column_names) else []
    for row in rows:
        if row["metric"] == "rate":
            rates = shown.setdefault(row["model"], {}).setdefault(row["pod"], [])
            rates.append(Rate(**{name: row[name] for name in Rate.__annotations__}))
        elif row["metric"] == "auc":
            areas[row["model"], row["pod"]] = row["value"]
    if not shown:
        raise error(
            "ARGUMENT",
            "there are no rates to draw",
            hint="EVALUATE MODEL of a logistic model, where pods release counts by bin",
        )
    parts: list[str] = []
    height = _TOP - 40.0
    for model, pods in shown.items():
        parts += _model(model, pods, areas, height)
        height += _TOP + _SIDE + 52
    return page(parts, _WIDTH, height, "evaluation")


def roc(rates: Sequence[Rate]) -> list[tuple[float, float]]:
    """False and true positive rate at each edge between two rates, from the highest prediction down."""
    positives = [rate.value * rate.n for rate in rates]
    whole, others = sum(positives), sum(rate.n for rate in rates) - sum(positives)
    if not whole or not others:
        return []
    found, false, true = [(0.0, 0.0)], 0.0, 0.0
    for rate, ill in zip(reversed(rates), reversed(positives), strict=True):
        true, false = true + ill, false + rate.n - ill
        found.append((false / others, true / whole))
    return found


def _model(
    model: str,
    pods: dict[str, list[Rate]],
    areas: dict[tuple[str, str], float | None],
    top: float,
) -> list[str]:
    parts = [text(_MARGIN, top + 16, f"Model {model}", "head")]
    left, right, upper = _MARGIN, _MARGIN + _SIDE + _GAP, top + _TOP - 24
    for edge, title, names in (
        (left, "Calibration", ("predicted", "observed")),
        (right, "ROC", ("false positives", "true positives")),
    ):
        parts += _frame(edge, upper, title, names)
    # all pods together last, on top of the others
    for place, (pod, rates) in enumerate(pods.items()):
        look = (
            'class="{} pooled"'
            if pod == POOLED
            else f'class="{{}}" stroke="{COLOURS[place % len(COLOURS)]}"'
        )
        fill = "" if pod == POOLED else f' fill="{COLOURS[place % len(COLOURS)]}"'
        for rate in rates:
            x, y = left + rate.predicted * _SIDE, upper + (1 - rate.value) * _SIDE
            low, high = upper + (1 - rate.low) * _SIDE, upper + (1 - rate.high) * _SIDE
            parts.append(
                f'<path {look.format("curve")} d="M{x:.2f} {low:.2f}V{high:.2f}"/>'
                f'<circle {look.format("mark")}{fill} cx="{x:.2f}" cy="{y:.2f}" r="3"/>'
            )
        points = [(right + x * _SIDE, upper + (1 - y) * _SIDE) for x, y in roc(rates)]
        if points:
            line = "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
            parts.append(f'<path {look.format("curve")} d="M{line}"/>')
        area = areas.get((model, pod))
        label = pod if area is None else f"{pod}: AUC {area:.3f}"
        end, base = right + _SIDE + 20, upper + 14 + place * _LINE
        parts.append(f'<path {look.format("curve")} d="M{end:g} {base - 4:g}h16"/>')
        parts.append(text(end + 22, base, label, "muted"))
    return parts


def _frame(x: float, y: float, title: str, names: tuple[str, str]) -> list[str]:
    across, up = names
    return [
        f'<rect class="frame" x="{x:g}" y="{y:g}" width="{_SIDE}" height="{_SIDE}"/>',
        f'<path class="even" d="M{x:g} {y + _SIDE:g}l{_SIDE} {-_SIDE}"/>',
        text(x, y - 8, f"{title}: {up} by {across}", "muted"),
        *(text(x + at * _SIDE, y + _SIDE + 16, f"{at:g}", "muted") for at in (0.0, 0.5, 1.0)),
        *(text(x - 28, y + (1 - at) * _SIDE + 4, f"{at:g}", "muted") for at in (0.5, 1.0)),
    ]
