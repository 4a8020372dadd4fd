"""One round of a model with noise as SQL of exact integers, whatever rows, ranges and state are.

Over the relation ``complete``, which has ``x0``, … and ``y0``, … (numbers cut to the pod's bounds,
conditions 1 or 0): each column becomes a whole number of steps of ``1 / GRID``, from -1 to 1 of a
column's public range, 0 or 1 of a condition. Rule to keep: no entry of what a row adds is larger than
``UNIT``, so the number of columns alone bounds what a privacy unit can change.

``gaussian``  one round. ``h{i}_{j}``: sums of ``a{i} a{j}``, ``i <= j``; ``a0 = 1``, then the features, then
the target.
``binomial``  round 0: the same without the target, four times a bound of the information (Böhning &
Lindsay 1988). Later rounds, at the coefficients ``state``: ``u{j}``, the score, sums of
``(y - mu) a{j}``, where ``mu`` is the logistic of the linear predictor.
"""

from math import isfinite
from typing import Final

from podsql.planner.fragment import Field, NoisyStep
from podsql.planner.training.written import cut, number, wrong_state

GRID: Final = 1 << 15
"""Steps of a column in half of its range."""
UNIT: Final = GRID * GRID
"""What stands for 1 in the sums."""
MOST_ROUNDS: Final = 1000
MOST_STATE: Final = 1e6
"""Of a coefficient, in the scale of the rounds."""


def noisy_fields(step: NoisyStep) -> tuple[Field, ...]:
    """The outputs of a round; MODEL_STATE if it is none of its series."""
    return tuple(Field(name, "DOUBLE") for name, _ in noisy_sums(step))


def noisy_sums(step: NoisyStep) -> tuple[tuple[str, str], ...]:
    """Name and integer aggregate of every output, over the columns ``q0``, … and ``r`` of ``rounded_rows``."""
    require_round(step)
    size = columns_of(step)
    if step.number:
        entry = f"CAST(round(r * q{{}} * {GRID}) AS BIGINT)"
        return tuple((f"u{j}", f"sum({entry.format(j)})") for j in range(size))
    pairs = [(i, j) for i in range(size) for j in range(i, size)]
    return tuple((f"h{i}_{j}", f"sum(q{i} * q{j})") for i, j in pairs)


def columns_of(step: NoisyStep) -> int:
    """How many columns the sums of a round are of, the constant among them."""
    return 1 + len(step.features) + (len(step.targets) if step.family == "gaussian" else 0)


def require_round(step: NoisyStep) -> None:
    """MODEL_STATE for a round that no series has."""
    listed = len(step.features) + len(step.targets)
    if len(step.targets) != 1 or not step.features or len(step.ranges) not in (0, listed):
        raise wrong_state("features, one target, and a range of each")
    for low, high in step.ranges:
        if not (isfinite(low) and isfinite(high) and centred(low, high)[1] > 0):
            raise wrong_state("a range is not from a number to a larger one")
    fits = step.rounds == 1 if step.family == "gaussian" else 2 <= step.rounds <= MOST_ROUNDS
    if not fits or not 0 <= step.number < step.rounds or len(step.series) not in (0, 16):
        raise wrong_state("a round that the series does not have")
    if len(step.state) != (1 + len(step.features) if step.number else 0):
        raise wrong_state("a coefficient for every column of the design after the first round")
    if any(not abs(one) <= MOST_STATE for one in step.state):
        raise wrong_state("a coefficient is too large")


def grid_columns(step: NoisyStep) -> list[str]:
    """``q0``, ``q1``, … of a SELECT list over ``complete``: whole numbers of at most ``GRID``."""
    listed = (*step.features, *(step.targets if step.family == "gaussian" else ()))
    names = [f"x{place}" for place in range(len(step.features))] + ["y0"]
    found = [f"CAST({GRID} AS BIGINT) AS q0"]
    for place, (one, name) in enumerate(zip(listed, names, strict=False)):
        if one.indicator:
            value = f"CAST({name} AS BIGINT) * {GRID}"
        else:
            low, high = step.ranges[place]
            centre, half = centred(low, high)
            at = f"({name} - {number(centre)}) / {number(half)}"
            value = f"CAST(round(least(greatest({at}, -1), 1) * {GRID}) AS BIGINT)"
        found.append(f"{value} AS q{place + 1}")
    return found


def centred(low: float, high: float) -> tuple[float, float]:
    """The middle of a range, and half of its width."""
    return low / 2 + high / 2, high / 2 - low / 2


def residual(step: NoisyStep) -> str:
    """``r`` over ``q0``, … and ``y0``: the target less its mean, from -1 to 1."""
    eta = " + ".join(
        f"{number(one)} * (q{place} / {GRID}.0::DOUBLE)" for place, one in enumerate(step.state)
    )
    return f"least(greatest(y0, 0.0::DOUBLE), 1.0::DOUBLE) - 1 / (1 + exp(-({cut(eta)})))"
