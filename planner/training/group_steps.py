"""Rounds whose sums are of groups of rows: of clusters, which the state makes, or of known classes.

``kmeans``    ``state``: the coordinates of each centre in turn. A row is of the nearest centre, the
first one of ties. ``n{c}``: rows; ``s{c}_{j}``: sums of ``a{j+1}``; ``inertia``: squared distances.
``classes``   every target is the indicator of a class, and every row is of one. ``n{c}``: rows;
``s{c}_{j}``, ``q{c}_{j}``: sums of ``a{j+1}`` and of its square.

Rule to keep: a group that the state makes has its indicator among ``weights``; a class is a condition
of the design, and so judged with it.
"""

from podsql.planner.fragment import ModelStep
from podsql.planner.training.written import Weight, Written, number, placed, wrong_state


def kmeans(step: ModelStep, rows: str) -> Written:
    """A round of Lloyd's algorithm."""
    size = len(step.features)
    if not size or not step.state or len(step.state) % size:
        raise wrong_state("one number for every feature and centre")
    centres = [step.state[low : low + size] for low in range(0, len(step.state), size)]
    distances = ", ".join(
        " + ".join(
            f"(a{j + 1} - {number(at)}) * (a{j + 1} - {number(at)})" for j, at in enumerate(centre)
        )
        + f" AS d{c}"
        for c, centre in enumerate(centres)
    )
    many = range(len(centres))
    # an operand of CASE is compared in order: the first of equal distances is taken
    nearest = " ".join(f"WHEN d{c} THEN {c}" for c in many)
    relation = (
        f"SELECT *, CASE distance {nearest} END AS g FROM"
        f" (SELECT *, least({', '.join(f'd{c}' for c in many)}) AS distance FROM"
        f" (SELECT *, {distances} FROM (SELECT *, {placed(step)} FROM {rows})))"
    )
    within = [f"CASE WHEN g = {c} THEN {{}} ELSE 0.0::DOUBLE END" for c in many]
    sums = [(f"n{c}", f"sum({one.format('1.0::DOUBLE')})") for c, one in enumerate(within)]
    sums += [
        (f"s{c}_{j}", f"sum({one.format(f'a{j + 1}')})")
        for c, one in enumerate(within)
        for j in range(size)
    ]
    return Written(
        relation=relation,
        sums=(*sums, ("inertia", "sum(distance)")),
        weights=(Weight(sql="1.0::DOUBLE"),),
        group="g",
        groups=len(centres),
        alone=("distance",),
        valid="g IS NOT NULL",
    )


def classes(step: ModelStep, rows: str) -> Written:
    """Moments of every feature within every class."""
    many = [f"y{c}" for c in range(len(step.targets))]
    if not many or step.state:
        raise wrong_state("the indicators of the classes, and no coefficients")
    sums = [(f"n{c}", f"sum({one})") for c, one in enumerate(many)]
    for c, one in enumerate(many):
        for j in range(len(step.features)):
            column = f"a{j + 1}"
            sums.append((f"s{c}_{j}", f"sum({one} * {column})"))
            sums.append((f"q{c}_{j}", f"sum({one} * {column} * {column})"))
    known = " AND ".join(f"{one} IN (0, 1)" for one in many)
    return Written(
        relation=f"SELECT *, {placed(step)} FROM {rows}",
        sums=tuple(sums),
        valid=f"{known} AND {' + '.join(many)} = 1",
    )
