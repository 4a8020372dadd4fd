"""Rounds that say how well naive Bayes foretells classes: ``state`` is its numbers, and nothing is fitted.

Every target is the indicator of a class, and every row is of one. ``state``: for each class a constant, a slope of
each of ``a1``, … and one of each square: the log-probability of a row with that class.
``score_classes``   ``deviance``, ``deviance2``: sums of twice the log-loss and of its square; ``m{c}``: of
the probabilities of class c; ``strays``: rows that are of no class, or of several.
``hits``            a number of a class first. Rows by whether that is their likeliest class, the first one of
ties, and by whether they are of it, as ``ranks`` counts rows by bin and target.

Rule to keep: no sum of ``score_classes`` has a kink in the state; what has is counted by ``hits``, which the gate
judges as comparisons of the columns.
"""

from itertools import combinations
from typing import Final

from podsql.planner.fragment import ModelStep
from podsql.planner.training.written import Weight, Written, number, placed, wrong_state

MOST_CLASSES: Final = 8
"""Each pair of them has a weight of its own, which the gate judges in every cell."""


def score_classes(step: ModelStep, rows: str) -> Written:
    """How far classes lie from their probabilities."""
    many = range(_classes(step))
    shares = ", ".join(f"exp(l{c} - top) / total AS share{c}" for c in many)
    of_row = " + ".join(f"y{c} * (l{c} - top)" for c in many)
    relation = (
        f"SELECT *, {shares}, 2 * (ln(total) - ({of_row})) AS d FROM"
        f" (SELECT *, {' + '.join(f'exp(l{c} - top)' for c in many)} AS total FROM"
        f" (SELECT *, greatest({', '.join(f'l{c}' for c in many)}) AS top FROM"
        f" ({_predicted(step, step.state, rows)})))"
    )
    whole = " + ".join(f"y{c}" for c in many)
    sums = [("deviance", "sum(d)"), ("deviance2", "sum(d * d)")]
    sums += [(f"m{c}", f"sum(share{c})") for c in many]
    sums += [("strays", f"sum(abs({whole} - 1))")]
    spread = " + ".join(f"share{c} * (1 - share{c})" for c in many)
    return Written(
        relation=relation,
        sums=tuple(sums),
        # how the sums bend: second derivatives by the numbers of two classes
        weights=tuple(
            Weight(sql=f"share{c} * share{b}", pairs=True) for c, b in combinations(many, 2)
        ),
        alone=("d", "d * d", *(f"share{c}" for c in many)),
        mass=f"{number(len(many) / (len(many) - 1))} * ({spread})",
        valid=_one_of(step),
    )


def hits(step: ModelStep, rows: str) -> Written:
    """Rows that are taken for one class, and rows that are of it."""
    many = _classes(step, first=1)
    place = int(step.state[0])
    if place != step.state[0] or not 0 <= place < many:
        raise wrong_state("the number of a class")
    before = [f"l{place} > l{c}" for c in range(place)]
    after = [f"l{place} >= l{c}" for c in range(place + 1, many)]
    sums = [(f"{name}{k}", f"{name}s[{k + 1}]") for name in ("n", "p") for k in range(2)]
    return Written(
        relation=(
            f"SELECT *, CASE WHEN {' AND '.join([*before, *after])} THEN 1 ELSE 0 END AS bin,"
            f" y{place} AS y FROM ({_predicted(step, step.state[1:], rows)})"
        ),
        sums=tuple(sums),
        valid=_one_of(step),
        bins=2,
        half=1,
    )


def _classes(step: ModelStep, first: int = 0) -> int:
    many, size = len(step.targets), 1 + 2 * len(step.features)
    if not 2 <= many <= MOST_CLASSES or len(step.state) != first + many * size:
        raise wrong_state(
            f"the indicators of 2 to {MOST_CLASSES} classes; a constant and two slopes of each column for each"
        )
    return many


def _predicted(step: ModelStep, state: tuple[float, ...], rows: str) -> str:
    """The rows with ``l0``, …: the log-probability with each class."""
    many = range(len(step.features))
    terms = ["1.0::DOUBLE", *(f"a{j + 1}" for j in many), *(f"a{j + 1} * a{j + 1}" for j in many)]
    size = len(terms)
    written = [
        " + ".join(
            f"{number(one)} * {term}"
            for one, term in zip(state[c * size : (c + 1) * size], terms, strict=True)
        )
        for c in range(len(step.targets))
    ]
    named = ", ".join(f"{one} AS l{c}" for c, one in enumerate(written))
    return f"SELECT *, {named} FROM (SELECT *, {placed(step)} FROM {rows})"


def _one_of(step: ModelStep) -> str:
    many = [f"y{c}" for c in range(len(step.targets))]
    known = " AND ".join(f"{one} IN (0, 1)" for one in many)
    return f"{known} AND {' + '.join(many)} = 1"
