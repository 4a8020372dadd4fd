"""``EXPLAIN TRAIN MODEL``: the columns, the rounds, what leaves each pod, and what its policy says.

Rule to keep: pods are asked for offers and for what their policies would do; no row is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from msgspec.structs import replace as with_fields

from podsql.analyst.dry_run import ask_policies, ask_stage
from podsql.analyst.statement import Statement
from podsql.analyst.training.curves import Planned
from podsql.analyst.training.fitting import Prepared, numbers_of
from podsql.analyst.training.networks import explained_network, is_network
from podsql.analyst.training.noisy import Noisy, priced
from podsql.analyst.training.rounds import stages_of
from podsql.engine.training.fitting import Round
from podsql.engine.training.registry import Model, model
from podsql.engine.training.survival import KAPLAN_MEIER
from podsql.planner.explaining import explain_text
from podsql.planner.fragment import Family, ModelStep
from podsql.planner.plan import Stage
from podsql.planner.training.designing import Design, DesignColumn

_WEIGHED = "weighted products of the columns, the score, deviance, Pearson, likelihood"
_MEANING: Final[Mapping[Family, str]] = {
    "moments": "sums of each column and of its square",
    "gaussian": "products of the columns, the score, the squared residuals",
    "binomial": _WEIGHED,
    "poisson": _WEIGHED,
    "gamma": _WEIGHED,
    "cox": "information, score and partial likelihood of the pod's own risk sets",
    "products": "products of the columns",
    "kmeans": "rows, and sums of each column, of each cluster; squared distances",
    "classes": "rows, and sums of each column and of its square, of each class",
}


def explained(prepared: Prepared, statement: Statement) -> list[str]:
    """What a prepared TRAIN MODEL would do, line by line."""
    order, design = prepared.order, prepared.design
    if prepared.noisy is not None:
        return _noisy(prepared, prepared.noisy, statement)
    if is_network(order):
        return explained_network(order, design, _columns(design), prepared.bound, statement)
    kind = model(order.family)
    options = numbers_of(order)
    most = kind.most_rounds(options)
    later = f"{kind.fixed} rounds" if kind.fixed else f"at most {most - 1} rounds"
    lines = [
        f"{kind.name}: {kind.meaning}; at most {most} rounds, each of all pods at once",
        f"at {', '.join(design.pods)}",
        *_columns(design),
    ]
    if design.split is not None:
        lines.append(f"{design.split.tenths} tenths of the people are held back")
    moments = Round(family="moments")
    masked = prepared.masking is not None
    if any(column.level is not None for column in design.listed):
        lines += _round("first, once", _stages(design, moments, masked=masked, references=True))
    lines += _round("then, 1 or 2 rounds", _stages(design, moments, masked=masked))
    final = Round(family=kind.family, state=_state(kind, design, options.get("clusters", 0)))
    stages = _stages(design, final, masked=masked)
    lines += _round(f"then, {later}", stages)
    lines += [
        "final, at the analyst",
        "  the sums of all pods are added and fitted; no row is seen",
    ]
    lines.append("policy")
    for stage in stages:
        lines += map(_said, ask_stage(statement, stage, design.tables, prepared.bound))
    return lines


def explained_curves(planned: Planned) -> list[str]:
    """The same of curves: the plan of their SELECT."""
    plan, bound = planned.counting.bound()
    bins = len(planned.edges) - 1
    return [
        f"{KAPLAN_MEIER}: one SELECT; {bins} bins of time, the horizon {planned.edges[-1]:g}",
        *explain_text(plan, bound.catalog).splitlines(),
        "policy",
        *map(_said, ask_policies(planned.counting).to_pylist()),
    ]


def _said(row: Mapping[str, object]) -> str:
    why = f": {row['rule']}" if row["rule"] else ""
    units = f", at least {row['min_units']} units" if row["min_units"] else ""
    return f"  {row['pod']} {row['decision']}{why}{units} ({row['policy']})"


def _noisy(prepared: Prepared, noisy: Noisy, statement: Statement) -> list[str]:
    """Of a model whose sums leave with noise: what all its rounds cost together."""
    design, kind = prepared.design, noisy.kind
    (first, *_) = noisy.stages(design, Round(family=kind.family), "first")
    lines = [
        f"{kind.name} with noise; {noisy.rounds} rounds, each of all pods at once, whatever the data",
        f"at {', '.join(design.pods)}",
        *_columns(design),
        "first: products of the columns",
        "  gives away: noised",
        f"  leaves each pod, one row: {len(first.fields)} sums, each with noise",
    ]
    if noisy.rounds > 1:
        lines += [
            f"then, {noisy.rounds - 1} rounds: the score",
            "  gives away: noised",
            f"  leaves each pod, one row: {len(design.features) + 1} sums, each with noise",
        ]
    lines += [
        "final, at the analyst",
        "  the sums of all pods are added and fitted; no row is seen",
        "price, of all rounds together, before the first",
    ]
    said = priced(noisy, design, prepared.bound, statement)
    for pod, one in sorted(said.items()):
        epsilon, delta = noisy.promises[pod]
        price = "paid for before" if one.epsilon == 0 else f"costs {one.epsilon:g}"
        lines.append(
            f"  {pod} allow: epsilon {epsilon:g}, delta {delta:g}, {price}, left {one.epsilon_left:g},"
            f" noise {one.noise[0]:.3g} a sum ({one.policy})"
        )
    return lines


def _stages(design: Design, asked: Round, *, masked: bool, references: bool = False) -> list[Stage]:
    found = stages_of(design, asked, asked.family, references=references)
    return [replace(one, fragment=with_fields(_step(one), masked=masked)) for one in found]


def _step(stage: Stage) -> ModelStep:
    assert isinstance(stage.fragment, ModelStep)  # of such a round
    return stage.fragment


def _state(kind: Model, design: Design, clusters: float) -> tuple[float, ...]:
    """Numbers of the length that a round of ``kind`` has."""
    size = {"cox": 1, "kmeans": int(clusters)}.get(kind.family, 0)
    return (0.0,) * size * len(design.features)


def _columns(design: Design) -> Iterator[str]:
    for part in design.parts:
        where = f" at {', '.join(part.pods)}" if len(design.parts) > 1 else ""
        yield f"columns{where}, FROM {part.source.removeprefix('FROM ')}"
        split = len(design.features)
        for column, text in zip(design.features, part.texts, strict=False):
            yield f"  {_column(column)} = {text}"
        yield "predicts" if design.targets else "predicts nothing"
        for column, text in zip(design.targets, part.texts[split:], strict=False):
            yield f"  {_column(column)} = {text}"


def _column(column: DesignColumn) -> str:
    return f"{column.name} [{'1 or 0' if column.indicator else 'number'}]"


def _round(when: str, stages: Sequence[Stage]) -> list[str]:
    step, count = _step(stages[0]), len(stages[0].fields) - 2
    under = ", under masks that only the sum over all pods is without" if step.masked else ""
    return [
        f"{when}: {step.family}",
        f"  gives away: moments{' of all pods together' if step.masked else ''}",
        f"  leaves each pod, one row{under}: n, dropped and {count} sums: {_MEANING[step.family]}",
    ]
