"""Evaluation of models that foretell no single target: clusters, components, classes, hazards.

Rule to keep: which rows are taken for a class is counted class by class, and a count that a pod keeps, or that
it joins with the others, is missing of that class and of the accuracy.
"""

from podsql.analyst.training.figures import allowed_figures, figures
from podsql.analyst.training.masked_rounds import MaskedRounds
from podsql.analyst.training.rounds import Rounds
from podsql.analyst.training.shelf import Kept
from podsql.analyst.training.terms import require_values
from podsql.engine.training.evaluating import Metric
from podsql.engine.training.evaluating_kinds import (
    Hits,
    hit_metrics,
    hits_round,
    metrics_of,
    round_of,
)
from podsql.engine.training.fitted import Classes
from podsql.engine.training.fitting import Round
from podsql.errors import error
from podsql.planner.training.class_steps import MOST_CLASSES

KINDS = ("kmeans", "pca", "naive_bayes", "cox_regression")


def kind_metrics(
    kept: Kept, asked: Rounds | MaskedRounds, *, pooled: str, drops: bool
) -> dict[str, list[Metric]]:
    """By pod (by none, under masks); ``pooled`` names all of them together."""
    fitted = kept.fitted
    classes = fitted.parameters.classes if isinstance(fitted.parameters, Classes) else ()
    if len(classes) > MOST_CLASSES:
        raise error("NOT_SUPPORTED", f"EVALUATE MODEL of more than {MOST_CLASSES} classes")
    wanted = round_of(fitted)
    by_pod, whole = figures(asked, wanted)
    require_values(whole, drops=drops)
    found = {pod: metrics_of(fitted, sums) for pod, sums in by_pod.items()}
    found[pooled] = metrics_of(fitted, whole)
    if not classes:
        return found
    if whole["strays"]:
        raise error("DATA", f"some rows are of no class of model {kept.name!r}, or of several")
    sizes = {pod: round(sums["n"]) for pod, sums in by_pod.items()} | {pooled: round(whole["n"])}
    taken = _hits(wanted, classes, asked, pooled)
    for name, metrics in found.items():
        metrics += hit_metrics(classes, taken.get(name, {}), sizes[name])
    return found


def _hits(
    wanted: Round, classes: tuple[str, ...], asked: Rounds | MaskedRounds, pooled: str
) -> dict[str, dict[str, Hits | None]]:
    """By pod, ``pooled`` among them, and by class."""
    found: dict[str, dict[str, Hits | None]] = {}
    for place, name in enumerate(classes):
        counted = allowed_figures(asked, hits_round(wanted, place))
        parts = {pod: Hits.of(sums) for pod, sums in counted.by_pod.items()}
        for pod, one in parts.items():
            found.setdefault(pod, {})[name] = one
        if counted.pooled is not None and None not in parts.values():
            found.setdefault(pooled, {})[name] = Hits.of(counted.pooled)
    return found
