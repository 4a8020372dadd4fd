"""Survival curves as a picture (SVG): a step curve for each arm, with its intervals, and the test.

Rule to keep: it is drawn from the answer of DESCRIBE MODEL, and so holds no more than it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from podsql.analyst.training.curves import TEST
from podsql.analyst.training.page import COLOURS, page, text

_WIDE, _HIGH, _MARGIN, _TOP, _LINE = 460, 300, 56, 48, 18
_WIDTH: Final = _MARGIN + _WIDE + 240


def draw_curves(answer: pa.Table) -> str:
    """The SVG of what DESCRIBE MODEL answers of survival curves."""
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for row in answer.to_pylist():
        arms.setdefault(row["arm"], []).append(row)
    (test,) = arms.pop(TEST, [None])
    last = max((step["time"] for steps in arms.values() for step in steps), default=0.0) or 1.0
    parts = [text(_MARGIN, _TOP - 20, "Survival by time", "head"), *_frame(last)]
    for place, (arm, steps) in enumerate(arms.items()):
        colour = COLOURS[place % len(COLOURS)]
        for bound in ("low", "high"):
            line = _steps(steps, bound, last)
            parts.append(f'<path fill="none" stroke="{colour}" stroke-dasharray="2 3" d="{line}"/>')
        line = _steps(steps, "survival", last)
        parts.append(f'<path class="curve" stroke="{colour}" d="{line}"/>')
        x, y = _MARGIN + _WIDE + 20, _TOP + 14 + place * _LINE
        parts.append(f'<path class="curve" stroke="{colour}" d="M{x} {y - 4}h16"/>')
        parts.append(text(x + 22, y, f"{arm or 'all'}: {steps[0]['at_risk']} at risk", "muted"))
    if test is not None:
        words = f"log-rank {test['statistic']:.3f}, df {test['df']}, p {test['p_value']:.3g}"
        parts.append(text(_MARGIN + _WIDE + 20, _TOP + 24 + len(arms) * _LINE, words, "muted"))
    return page(parts, _WIDTH, _TOP + _HIGH + 48, "survival")


def _steps(steps: Sequence[Mapping[str, Any]], name: str, last: float) -> str:
    """From 1 at time 0, a fall at the time of each step, on to the last time."""
    line = f"M{_MARGIN} {_TOP}"
    for step in steps:
        x = _MARGIN + step["time"] / last * _WIDE
        line += f"H{x:.2f}V{_TOP + (1 - step[name]) * _HIGH:.2f}"
    return f"{line}H{_MARGIN + _WIDE}"


def _frame(last: float) -> list[str]:
    return [
        f'<rect class="frame" x="{_MARGIN}" y="{_TOP}" width="{_WIDE}" height="{_HIGH}"/>',
        *(
            text(_MARGIN + at * _WIDE, _TOP + _HIGH + 18, f"{at * last:g}", "muted")
            for at in (0.0, 0.5, 1.0)
        ),
        *(
            text(_MARGIN - 30, _TOP + (1 - at) * _HIGH + 4, f"{at:g}", "muted")
            for at in (0.0, 0.5, 1.0)
        ),
    ]
