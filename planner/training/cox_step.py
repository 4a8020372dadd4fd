"""A round of Cox's proportional hazards with the pod's rows as one stratum (Breslow's ties).

``cox``       targets: time and event (0 or 1); ``state``: a coefficient for each of ``a1``, …
``u{j}``, ``h{i}_{j}`` (``1 <= i <= j``): score and information of the log partial likelihood ``ll``;
``events``: how many. A row is at risk in its pod until its time, that included.

With ``r = exp(eta)`` and Breslow's cumulative hazard ``H``, the sums over risk sets turn into sums over
rows: the score is that of ``event - r H``, the information is ``r H a a'`` less the squares of the risk
sets' means at the events, so that only the means need windows.
Rule to keep: rows of one time are peers (RANGE, not ROWS), or ties depend on the order of the rows.
"""

from podsql.planner.fragment import ModelStep
from podsql.planner.training.written import (
    Weight,
    Written,
    cut,
    placed,
    predictor,
    wrong_state,
)


def cox(step: ModelStep, rows: str) -> Written:
    """Score, information and log partial likelihood at ``state``."""
    size = len(step.features)
    if len(step.targets) != 2 or not size or len(step.state) != size:
        raise wrong_state("time and event, and a coefficient for every feature")
    many = range(1, size + 1)
    eta = predictor(step.state, 1)
    later = "(ORDER BY y0 DESC RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    earlier = "(ORDER BY y0 RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    totals = ", ".join(f"sum(r * a{j}) OVER {later} AS t{j}" for j in many)
    means = ", ".join(f"t{j} / risk AS m{j}" for j in many)
    relation = (
        "SELECT *, r * hazard AS w, y1 * (eta - ln(risk)) AS ll FROM"
        f" (SELECT *, sum(y1 / risk) OVER {earlier} AS hazard, {means} FROM"
        f" (SELECT *, sum(r) OVER {later} AS risk, {totals} FROM"
        f" (SELECT *, exp({cut('eta')}) AS r FROM (SELECT *, {eta} AS eta FROM"
        f" (SELECT *, {placed(step)} FROM {rows})))))"
    )
    sums = [
        (f"h{i}_{j}", f"sum(w * a{i} * a{j} - y1 * m{i} * m{j})")
        for i in many
        for j in range(i, size + 1)
    ]
    sums += [(f"u{j}", f"sum((y1 - w) * a{j})") for j in many]
    return Written(
        relation=relation,
        sums=(*sums, ("ll", "sum(ll)"), ("events", "sum(y1)")),
        weights=(Weight(sql="w", pairs=True), Weight(sql="y1"), Weight(sql="abs(y1 - w)")),
        alone=("ll",),
        mass="greatest(y1, least(w, 1))",
        valid="y0 >= 0 AND y1 IN (0, 1)",
    )
